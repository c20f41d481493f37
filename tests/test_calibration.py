"""The factors on a network's sigma: with them nine tenths of the pixels are held, noise told or not, widened or not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cs_recon import InputError, Measurement
from cs_recon.batch import make_batch
from cs_recon.calibrate import CASES, FACTORS, RATIOS, SigmaCalibration, calibrate_sigma
from cs_recon.networks import NetworkOutput
from cs_recon.training_data import Pair
from cs_recon.widening import widened

SIDE = 64
NOISE = 0.5
WEIGHT = 0.5
"""What a network that takes the contrast for as large as the noise leaves of a sample."""


def test_the_factor_between_ratios():
    calibration = SigmaCalibration((0.01, 0.1, 1.0), (3.0, 2.0, 1.0), (6.0, 4.0, 2.0), (2.0, 2.0, 2.0))
    assert calibration.at(0.1, "untold") == pytest.approx(2)
    assert calibration.at(10**-0.5, "untold") == pytest.approx(1.5)
    assert calibration.at(10**-0.5, "told") == pytest.approx(3)
    assert calibration.at(0.001, "untold") == 3
    again = SigmaCalibration.of(calibration.times(2).as_dict())
    assert [again.at(0.1, case) for case in CASES] == pytest.approx([4, 8, 4])


@pytest.mark.parametrize(
    "record",
    [
        3,
        {"ratios": [0.1]},
        {"ratios": [0.1], "untold": [1], "told": [1]},
        {"ratios": [0.1], **{key: [] for key in CASES}},
        {"ratios": [0], **{key: [1] for key in CASES}},
        {"ratios": [0.1, 1], **{key: [1, 1] for key in CASES}, "widened": [1]},
        {"ratios": [0.1], **{key: [1] for key in CASES}, "told": [float("inf")]},
    ],
)
def test_a_damaged_record(record):
    with pytest.raises(InputError, match="sigma calibration"):
        SigmaCalibration.of(record)


def white(rng, contrast, *, told):
    """A scan of independent pixels: what a network makes of them is known."""
    clean = contrast * rng.normal(size=(SIDE, SIDE))
    scan = Measurement(clean + NOISE * rng.normal(size=clean.shape), np.ones(clean.shape, bool), read_noise=NOISE)
    return Pair(scan if told else replace(scan, read_noise=0.0), clean)


def shrinking(factor):
    """A network that takes every frame's contrast for that of the noise, and tells its sigma `factor` times."""

    def run(batch):
        values = batch.y * batch.scale + batch.offset
        sigma = torch.full_like(batch.y, factor * NOISE * WEIGHT**0.5) / batch.scale.float()
        return NetworkOutput(((WEIGHT * values - batch.offset) / batch.scale).float(), sigma.log(), {})

    return run


def pairs_of(told, untold, seed=0, n=20):
    """Frames of these contrasts in turn, their noise told and not."""

    def pairs(_):
        rng = np.random.default_rng(seed)
        kinds = [(contrast, True) for contrast in told] + [(contrast, False) for contrast in untold]
        return [white(rng, contrast, told=known) for _ in range(n) for contrast, known in kinds]

    return pairs


def test_each_sort_of_scan_has_its_factors():
    """Errors are as large as told where the contrast is what the network believes, and larger where it is not."""
    more = 2.0
    errors = WEIGHT * (NOISE**2 + more**2) ** 0.5 / (NOISE * WEIGHT**0.5)
    for factor in (1 / 3, 2.0):
        found = calibrate_sigma(shrinking(factor), pairs_of([NOISE], [more]), multiple=1)
        np.testing.assert_allclose(found.told, 1 / factor, rtol=0.02)
        np.testing.assert_allclose(found.untold, errors / factor, rtol=0.02)


def test_what_widens_is_known_to_the_factors():
    """Frames of which some are unlike the others: nine tenths are held before, and after, and not by the other's."""
    contrasts = [NOISE, NOISE, 1.5]
    run = shrinking(0.8)
    found = calibrate_sigma(run, pairs_of(contrasts, []), multiple=1)
    assert found.widened[0] < 0.9 * found.told[0]
    shares = {(case, widen): [] for case in ("told", "widened") for widen in (False, True)}
    for pair in pairs_of(contrasts, [], seed=1)(1.0):
        batch = make_batch([pair.scan], multiple=1)
        out = run(batch)
        error = np.abs(batch.denormalise(out.image)[0, 0].numpy() - pair.clean) / float(batch.scale)
        for case, widen in shares:
            sigma = found.at(1.0, case) * out.log_sigma.exp()
            sigma = widened(batch, out.image, sigma)[0] if widen else sigma
            shares[case, widen].append(np.mean(error <= 1.6449 * sigma[0, 0].numpy()))
    means = {which: np.mean(each) for which, each in shares.items()}
    assert means["told", False] == pytest.approx(0.9, abs=0.005)
    assert means["widened", True] == pytest.approx(0.9, abs=0.005)
    assert means["told", True] > 0.92
    assert means["widened", False] < 0.88


def test_pairs_of_one_sort_serve_all():
    found = calibrate_sigma(shrinking(1.0), pairs_of([], [NOISE], n=4), multiple=1)
    assert found.told == found.untold
    found = calibrate_sigma(shrinking(1.0), pairs_of([NOISE], [], n=4), multiple=1)
    assert found.told == found.untold


def test_a_network_without_error_has_a_calibration_that_can_be_read():
    image = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    scan = Measurement(image, np.ones(image.shape, bool))

    def exact(batch):
        return NetworkOutput(batch.y, torch.zeros_like(batch.y), {})

    found = calibrate_sigma(exact, lambda _: [Pair(scan, image)], multiple=16)
    again = SigmaCalibration.of(found.as_dict())
    assert again.ratios == RATIOS
    for case in CASES:
        np.testing.assert_allclose(getattr(again, case), getattr(found, case), rtol=1e-4)
        assert all(FACTORS[0] <= factor < 1e-3 for factor in getattr(again, case))
