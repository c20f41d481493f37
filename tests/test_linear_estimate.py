"""The linear estimate against the dense solution of its normal equations, and the networks that start from it."""

from itertools import islice

import numpy as np
import pytest
import scipy.fft
import torch
from scipy.ndimage import gaussian_filter

from cs_recon.batch import make_batch
from cs_recon.inpainting import InpaintingConfig, InpaintingUNet
from cs_recon.ista import ista, shrink
from cs_recon.linear_estimate import CORNER, SMALLEST_VARIANCE, conjugate_gradients, linear_estimate
from cs_recon.metrics import psnr
from cs_recon.operator import MaskedScan
from cs_recon.transforms import dct2, idct2, laplacian_eigenvalues
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from simulate import InputError, SceneConfig, make_scene, measure, scan_path

SHAPE = (16, 24)


def scan_of(ratio=0.3, counts=20.0, seed=0, shape=SHAPE):
    frame = make_scene(SceneConfig(shape=shape, n_particles=2, diameter_nm=4), rng=seed).frame
    return frame, measure(frame, scan_path("random", shape, ratio, rng=seed), peak_counts=counts, rng=seed)


def cosine_matrix(shape):
    """Return the matrix (H W, H W) of the orthonormal cosine transform."""
    eye = np.eye(shape[0] * shape[1]).reshape(-1, *shape)
    return scipy.fft.dctn(eye, axes=(1, 2), norm="ortho").reshape(len(eye), -1).T


@pytest.mark.parametrize("counts", [20.0, None])
def test_it_is_the_posterior_mean_of_the_normal_equations(counts):
    _, scan = scan_of(counts=counts)
    batch = make_batch([scan], multiple=8)
    found = linear_estimate(batch, 400, noisy_iterations=400)[0, 0].numpy()
    transform = cosine_matrix(SHAPE)
    mu = laplacian_eigenvalues(batch.y.double()).numpy()
    power = (mu + CORNER**2) ** -2
    power /= power.mean()
    weights = (batch.scan.mask / (batch.sigma**2 + SMALLEST_VARIANCE))[0, 0].numpy().ravel().astype(float)
    system = np.diag(weights) + transform.T @ np.diag(1 / power.ravel()) @ transform
    expected = np.linalg.solve(system, weights * batch.y[0, 0].numpy().ravel().astype(float))
    np.testing.assert_allclose(found.ravel(), expected, atol=5e-3)


def test_the_iterates_carry_the_penaltys_gradient():
    _, scan = scan_of()
    batch = make_batch([scan], multiple=8)
    penalty = 0.3 * laplacian_eigenvalues(batch.y) ** 2 + 0.01
    for x, penalised in islice(conjugate_gradients(batch.scan, batch.y, penalty, batch.x0), 12):
        torch.testing.assert_close(penalised, idct2(dct2(x) * penalty), atol=1e-4, rtol=1e-3)


def test_a_full_mask_is_solved_in_one_step():
    y = torch.randn(1, 1, *SHAPE)
    penalty = laplacian_eigenvalues(y) ** 2
    x, _ = next(conjugate_gradients(MaskedScan(torch.ones_like(y)), y, penalty, torch.zeros_like(y)))
    torch.testing.assert_close(x, idct2(dct2(y) / (1 + penalty)), atol=1e-5, rtol=1e-4)


def test_scans_of_a_batch_do_not_mix():
    scans = [*(scan_of(seed=seed)[1] for seed in range(3)), scan_of(counts=None)[1]]
    together = linear_estimate(make_batch(scans, multiple=8))
    for index, scan in enumerate(scans):
        alone = linear_estimate(make_batch([scan], multiple=8))
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("counts", [None, 20.0])
def test_it_beats_the_first_guess_on_smooth_frames_and_keeps_exact_samples(counts):
    frame = gaussian_filter(np.random.default_rng(0).random((64, 64)), 5.0)
    frame = (frame - frame.min()).astype(np.float32) + 0.02
    path = scan_path("random", frame.shape, 0.3, rng=0)
    batch = make_batch([measure(frame, path, peak_counts=counts, rng=0)], multiple=8)
    image, start = (batch.denormalise(x)[0, 0].numpy() for x in (linear_estimate(batch), batch.x0))
    assert psnr(frame, image) > psnr(frame, start) + 3
    off = float((batch.scan.mask * (linear_estimate(batch) - batch.y)).square().sum() / batch.scan.mask.sum()) ** 0.5
    assert off < 0.02 if counts is None else off > 0.1


def test_fewer_iterations_are_spent_on_the_noisy_scans_of_a_batch_alone():
    noisy, exact = (scan_of(counts=counts)[1] for counts in (20.0, None))
    batch = make_batch([noisy, exact], multiple=8)
    full, fast = linear_estimate(batch), linear_estimate(batch, noisy_iterations=10)
    assert torch.equal(full[1], fast[1])
    assert torch.equal(fast[0], linear_estimate(batch, 10)[0])
    assert not torch.equal(full[0], fast[0])


def test_a_batch_computes_its_estimate_once_and_takes_it_along():
    batch = make_batch([scan_of()[1]], multiple=8)
    assert batch.smooth is None
    told = batch.with_smooth()
    assert told.with_smooth() is told
    assert torch.equal(told.to("cpu").smooth, linear_estimate(batch))


def test_an_untrained_network_that_starts_there_is_ista_from_there():
    torch.manual_seed(0)
    network = UnrolledISTA(UnrolledConfig(steps=3, widths=(8,), levels=2, start="smooth"))
    batch = make_batch([scan_of()[1]], multiple=8)
    proxes = [shrink(network.wavelet, step.thresholds(batch.noise)) for step in network.steps]
    *_, solved = ista(linear_estimate(batch), lambda x: batch.scan.gradient(x, batch.y), proxes)
    with torch.inference_mode():
        assert torch.equal(network(batch).image, solved)


def test_an_untrained_inpainting_network_returns_its_start():
    network = InpaintingUNet(InpaintingConfig(widths=(8, 8), units=1, start="smooth")).eval()
    batch = make_batch([scan_of()[1]], multiple=8)
    smooth = linear_estimate(batch)
    with torch.inference_mode():
        image = network(batch, before=batch.with_smooth()).image
    kept = torch.sigmoid(torch.tensor(-2.0)) * batch.scan.mask * (batch.y - smooth)
    torch.testing.assert_close(image, smooth + kept)


@pytest.mark.parametrize("config", [UnrolledConfig, InpaintingConfig])
def test_an_unknown_start_is_refused(config):
    with pytest.raises(InputError, match="did you mean 'smooth'"):
        config(start="smoth")
