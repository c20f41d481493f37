"""The unrolled network is the classical solver until it learns, and stays well-behaved after."""

import numpy as np
import pytest
import torch

from cs_recon import load_unrolled, reconstruct
from cs_recon.batch import make_batch
from cs_recon.calibrate import coverage
from cs_recon.ista import ista, shrink
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from simulate import InputError, Measurement, SceneConfig, Support, make_scene, measure, random_config, scan_path

SMALL = UnrolledConfig(steps=3, widths=(8, 12), wavelet="sym4", levels=2)


@pytest.fixture
def batch():
    scans = []
    for seed in range(2):
        frame = make_scene(SceneConfig(shape=(45, 64), n_particles=6, diameter_nm=8), rng=seed).frame
        scans.append(measure(frame, scan_path("random", frame.shape, 0.2, rng=seed), peak_counts=20, rng=seed))
    return make_batch(scans, multiple=SMALL.multiple)


def test_an_untrained_network_is_k_solver_iterations_exactly(batch):
    torch.manual_seed(0)
    network = UnrolledISTA(SMALL)
    noise = batch.sigma.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    proxes = [shrink(network.wavelet, step.thresholds(noise)) for step in network.steps]
    solved = ista(batch.x0, lambda x: batch.scan.gradient(x, batch.y), proxes)
    with torch.inference_mode():
        assert torch.equal(network(batch).image, solved)


def test_every_threshold_has_its_own_storage():
    network = UnrolledISTA(SMALL)
    thresholds = [parameter for name, parameter in network.named_parameters() if "threshold" in name]
    assert len({parameter.data_ptr() for parameter in thresholds}) == len(thresholds) == SMALL.steps * 3


def test_every_parameter_learns(batch):
    torch.manual_seed(0)
    network = UnrolledISTA(SMALL)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):  # behind a zero layer, gradients arrive at the second step
        optimiser.zero_grad()
        out = network(batch)
        (out.image.square().mean() + out.log_sigma.square().mean()).backward()
        optimiser.step()
    without = [name for name, parameter in network.named_parameters() if not parameter.grad.abs().sum() > 0]
    # The refinement's features of every step but the last feed the next; all else feeds the image or sigma.
    assert without == []


def test_features_are_named_with_their_strides(batch):
    out = UnrolledISTA(SMALL)(batch)
    rows, cols = batch.y.shape[-2:]
    assert set(out.features) == {"last", "codes/2", "codes/4"}
    for features, stride in out.features.values():
        assert features.shape[-2:] == (rows // stride, cols // stride)


def test_shipped_weights_are_whole_and_small():
    network = load_unrolled()
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    assert not network.training


def test_a_hand_drawn_mask_works_without_retraining():
    frame = make_scene(
        SceneConfig(shape=(128, 128), n_particles=12, diameter_nm=12, support=Support(thickness_nm=100, texture=0.02)),
        rng=5,
    ).frame
    y, x = np.mgrid[:128, :128]
    drawn = (np.abs(np.sin(x / 9) * 40 + 64 - y) % 9 < 2) | (x % 13 == 0)
    result = reconstruct(Measurement(frame, drawn), "unrolled-ista")
    linear = reconstruct(Measurement(frame, drawn), "linear")
    error, baseline = (np.abs(image.image - frame)[~drawn].mean() for image in (result, linear))
    assert error < baseline


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_sigma_covers_nine_tenths_on_unseen_scenes(ratio):
    covered = []
    for seed in range(12):
        rng = np.random.default_rng(77_000 + seed)
        frame = make_scene(random_config(rng, (96, 96)), rng=rng).frame
        scan = measure(frame, scan_path("random", frame.shape, ratio, rng=rng), peak_counts=50, rng=rng)
        result = reconstruct(scan, "unrolled-ista")
        assert (result.sigma > 0).all()
        covered.append(coverage(frame, result.image, result.sigma))
    assert 0.8 < np.mean(covered) < 0.97


def test_weights_of_your_own_that_are_not_there():
    scan = Measurement(np.arange(64.0).reshape(8, 8), np.ones((8, 8), bool))
    with pytest.raises(InputError, match="no weights file"):
        reconstruct(scan, "unrolled-ista", weights="nowhere.safetensors")
