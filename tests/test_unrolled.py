"""The unrolled network is the classical solver until it learns, and stays well-behaved after."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cs_recon import reconstruct
from cs_recon.batch import make_batch
from cs_recon.ista import ista, shrink
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from simulate import Measurement, SceneConfig, Support, make_scene, measure, scan_path

SMALL = UnrolledConfig(steps=3, widths=(8, 12), wavelet="sym4", levels=2, start="pyramid")


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
    proxes = [shrink(network.wavelet, step.thresholds(batch.noise)) for step in network.steps]
    solved = list(ista(batch.x0, lambda x: batch.scan.gradient(x, batch.y), proxes))
    with torch.inference_mode():
        assert torch.equal(network(batch).image, solved[-1])
        assert torch.equal(network(batch, 2).image, solved[1])


@pytest.mark.parametrize("options", [{"deep": 2}, {"finest": 2}, {"tied": True}, {"widths": (8,)}])
def test_variants_start_as_the_solver_too(batch, options):
    network = UnrolledISTA(replace(SMALL, **options))
    proxes = [shrink(network.wavelet, step.thresholds(batch.noise)) for step in network.steps]
    *_, solved = ista(batch.x0, lambda x: batch.scan.gradient(x, batch.y), proxes)
    with torch.inference_mode():
        assert torch.equal(network(batch).image, solved)


def test_tied_steps_share_the_refinement_and_nothing_else():
    untied, tied = (UnrolledISTA(replace(SMALL, steps=4, tied=flag)) for flag in (False, True))
    count = [sum(parameter.numel() for parameter in network.parameters()) for network in (untied, tied)]
    one = sum(parameter.numel() for parameter in untied.steps[1].refine.parameters())
    assert count[0] - count[1] == 2 * one
    assert len({step.step.data_ptr() for step in tied.steps}) == 4


def test_dwell_weighs_the_data_term():
    """A sample of four times the exposure pulls the first step four times as far."""
    values, exposure = np.zeros((16, 16)), np.ones((16, 16))
    values[4, 4] = values[8, 12] = 5.0
    exposure[4, 4] = 4.0
    scan = Measurement(values, np.ones((16, 16), bool), exposure=exposure, counts_per_unit=10)
    data = make_batch([scan])
    pull = data.scan.gradient(torch.zeros_like(data.y), data.y)[0, 0]
    assert float(pull[4, 4] / pull[8, 12]) == pytest.approx(4, rel=1e-5)
    assert float(data.sigma[0, 0, 8, 12] / data.sigma[0, 0, 4, 4]) == pytest.approx(2, rel=0.05)


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
