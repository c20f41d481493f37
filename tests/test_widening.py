"""Sigma widened by the samples: right sigmas stay, and too narrow ones become what the errors are."""

import numpy as np
import pytest
import torch
from pretend_cuda import pretend_cuda

from cs_recon import reconstruct, widening
from cs_recon.batch import make_batch
from cs_recon.calibrate import coverage
from cs_recon.widening import unexplained_variance, widened
from simulate import Measurement, SceneConfig, Support, make_scene, measure, scan_path

SIDE = 256


def smoothed(contrast, believed, noise=0.5, ratio=1.0, seed=0):
    """A scan of independent pixels (standard deviation `contrast`), what who believes in `believed` makes of it."""
    rng = np.random.default_rng(seed)
    truth = contrast * rng.normal(size=(SIDE, SIDE))
    mask = rng.random((SIDE, SIDE)) < ratio
    values = truth + noise * rng.normal(size=truth.shape)
    batch = make_batch([Measurement(values, mask, read_noise=noise)])
    weight = believed**2 / (believed**2 + noise**2)
    image = torch.from_numpy(weight * values)[None, None]
    sigma = torch.full_like(image, noise * weight**0.5)
    normalised = (image - batch.offset) / batch.scale, sigma / batch.scale
    more = np.mean((truth - weight * values)[mask] ** 2) - noise**2 * weight
    return batch, *normalised, float(more) / float(batch.scale) ** 2


@pytest.mark.parametrize("ratio", [1.0, 0.3])
@pytest.mark.parametrize(("contrast", "believed"), [(0.5, 0.5), (0.5, 0.3), (0.5, 0.2), (1.0, 0.5), (3.0, 0.2)])
def test_what_is_missing_of_the_errors_is_found(contrast, believed, ratio):
    """By samples alone: to within what chance leaves of the mean of so many squares."""
    batch, image, sigma, missing = smoothed(contrast, believed, ratio=ratio)
    found = float(unexplained_variance(batch, image, sigma))
    chance = float(batch.noise) ** 2 * (2 / (ratio * SIDE**2)) ** 0.5
    assert found == pytest.approx(max(0.0, missing), rel=0.03, abs=4 * chance)
    assert found <= missing or missing < 4 * chance


def test_nothing_is_narrowed():
    batch, image, sigma, missing = smoothed(0.2, 0.5)
    assert missing < 0
    assert float(unexplained_variance(batch, image, sigma)) == 0


def test_chance_widens_little():
    """Of right sigmas on small scans, of which few samples tell."""
    shares = []
    for seed in range(20):
        batch, image, sigma, _ = smoothed(0.3, 0.3, ratio=0.01, seed=seed)
        shares.append(float(unexplained_variance(batch, image, sigma) / sigma.square().mean()))
    assert np.mean(np.array(shares) > 0.1) < 0.3


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3])
def test_a_right_sigma_stays_where_noise_is_next_to_nothing(share):
    """Samples are the truth then, and their distance from the image is its error, to no more than which sigma grows."""
    rng = np.random.default_rng(0)
    truth, error = rng.normal(size=(2, SIDE, SIDE))
    batch = make_batch([Measurement(truth, rng.random(truth.shape) < 0.3, read_noise=1e-6)])
    image = (torch.from_numpy(truth + 0.2 * error)[None, None] - batch.offset) / batch.scale
    sigma = torch.full_like(image, 0.2 * share) / batch.scale
    grown = widened(batch, image, sigma)[0] * batch.scale
    assert float(grown.mean()) == pytest.approx(0.2, rel=0.02)
    assert float(widened(batch, image, 2 * sigma / share)[0].mean() * batch.scale) == pytest.approx(0.4, rel=1e-6)


def test_one_pixel_of_no_certainty_spares_the_others():
    batch, image, sigma, _ = smoothed(0.5, 0.2, ratio=0.3)
    elsewhere, _ = widened(batch, image, sigma)
    row, col = np.argwhere(batch.scan.mask[0, 0].numpy() == 0)[0]
    sigma[..., row, col] = torch.inf
    for told in (True, False):
        found, _ = widened(batch, image, sigma, [told])
        assert torch.isinf(found[..., row, col]).all()
        assert torch.isfinite(found).sum() == found.numel() - 1
        if told:
            scanned = batch.scan.mask > 0
            torch.testing.assert_close(found[scanned], elsewhere[scanned], rtol=0, atol=0)


@pytest.fixture(scope="module")
def frames():
    """One frame as training draws them, and one with the noise of its own that micrographs have."""
    film = Support(thickness_nm=20, texture=0.02)
    scene = make_scene(SceneConfig(shape=(160, 176), n_particles=9, diameter_nm=12, support=film), rng=3)
    frame = scene.frame + 0.5 * scene.frame.max()
    noisy = np.clip(frame + 0.05 * frame.max() * np.random.default_rng(0).normal(size=frame.shape), 0, None)
    return frame, noisy


@pytest.fixture
def nothing_unexplained(monkeypatch):
    """Reconstruct as if samples never told of errors beyond sigma."""

    def told(scans, method):
        with monkeypatch.context() as patch:
            patch.setattr(widening, "unexplained_variance", lambda batch, image, sigma: batch.y.new_zeros(len(batch.y)))
            return reconstruct(scans, method)

    return told


@pytest.mark.parametrize("method", ["unrolled-ista", "inpainting"])
@pytest.mark.parametrize("ratio", [1.0, 0.4])
def test_intervals_hold_frames_that_no_training_saw(frames, nothing_unexplained, method, ratio):
    path = scan_path("raster", frames[0].shape) if ratio == 1 else scan_path("random", frames[0].shape, ratio, rng=0)
    scans = [measure(frame, path, peak_counts=40, rng=1) for frame in frames]
    before, after = nothing_unexplained(scans, method), reconstruct(scans, method)
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(two.image, one.image)
        assert (two.sigma >= 0.999 * one.sigma).all()
        times = np.mean(two.sigma.astype(float) ** 2) / np.mean(one.sigma.astype(float) ** 2)
        assert two.info["sigma_widened"] == pytest.approx(times**0.5, abs=2e-3)
        assert (one.info["sigma_widened"], one.widened_by) == (1, 0)
        assert one.own_sigma is one.sigma
        np.testing.assert_allclose(two.own_sigma, one.sigma, rtol=1e-4)
        np.testing.assert_allclose(np.hypot(one.sigma, two.widened_by), two.sigma, rtol=1e-6)
    assert coverage(frames[1], before[1].image, before[1].sigma) < 0.7
    assert coverage(frames[1], after[1].image, after[1].sigma) == pytest.approx(0.9, abs=0.04)
    assert coverage(frames[0], after[0].image, after[0].sigma) > 0.86
    with pretend_cuda():
        there = reconstruct(scans, method, device="cuda")
    for one, two in zip(after, there, strict=True):
        np.testing.assert_allclose(two.sigma, one.sigma, rtol=0.03)


def test_it_tells_how_much_sigma_grew_within_the_frame(frames, nothing_unexplained):
    """Frames are padded to multiples of 16, and what is beyond them is no part of it."""
    frame = frames[1][:131, :67]
    scan = measure(frame, scan_path("random", frame.shape, 0.4, rng=0), peak_counts=40, rng=1)
    (plain,), (told,) = nothing_unexplained([scan], "unrolled-ista"), reconstruct([scan])
    times = np.sqrt(np.mean(told.sigma.astype(float) ** 2) / np.mean(plain.sigma.astype(float) ** 2))
    assert told.info["sigma_widened"] == pytest.approx(times, abs=2e-3)
    assert times > 1.2


def test_noise_that_is_not_told_widens_nothing(frames, nothing_unexplained):
    told = measure(frames[1], scan_path("raster", frames[1].shape), peak_counts=40, rng=1)
    untold = Measurement(told.values, told.mask)
    plain, (one, two) = nothing_unexplained([told, untold], "unrolled-ista"), reconstruct([told, untold])
    assert (one.sigma > 1.5 * plain[0].sigma).mean() > 0.5
    np.testing.assert_allclose(two.sigma, plain[1].sigma, rtol=1e-6)
    assert one.info["sigma_widened"] > 1.5
    assert two.info["sigma_widened"] == 1
