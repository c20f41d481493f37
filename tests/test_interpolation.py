"""Interpolators against brute force, and the width that held-out samples choose."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from cs_recon import reconstruct
from cs_recon.classical.interpolation import WIDTHS_PX, best_width, linear_image, natural_image, nearest_image
from simulate import InputError, Measurement, measure, scan_path


def sibson_by_definition(values, mask):
    """Average, for each pixel, the nearest samples' values over the pixels that are nearer to it than to a sample."""
    pixels = np.argwhere(np.ones_like(mask))
    samples = np.argwhere(mask)
    squared = ((pixels[:, None] - samples[None]) ** 2).sum(-1)
    # Where samples are equally near, the one that scipy finds.
    rows, cols = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    nearest, taken = squared.min(1), values[rows, cols].ravel()
    image = np.empty(mask.size)
    for q, place in enumerate(pixels):
        cell = (((pixels - place) ** 2).sum(1) < nearest) | (np.arange(mask.size) == q)
        image[q] = taken[cell].mean()
    return np.where(mask, values, image.reshape(mask.shape))


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.3])
def test_natural_neighbours_are_sibsons(ratio):
    rng = np.random.default_rng(0)
    mask = rng.random((23, 31)) < ratio
    mask[4, 7] = True
    values = rng.normal(1e3, 1, mask.shape) * mask
    expected = sibson_by_definition(values, mask)
    found = natural_image(values, mask)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    separate = np.zeros((23, 31), bool)
    separate[2, 3] = True
    np.testing.assert_allclose(natural_image(values, separate), values[2, 3])


def test_natural_neighbours_of_a_symmetric_pair():
    """Between two samples the value goes from one to the other, and is their mean in the middle."""
    mask = np.zeros((9, 21), bool)
    mask[4, [2, 18]] = True
    image = natural_image(np.where(mask, np.arange(21.0), 0), mask)
    middle = image[4, 2:19]
    assert (np.diff(middle) >= 0).all()
    np.testing.assert_allclose((image + image[:, ::-1]) / 2, 10, atol=2.0)
    np.testing.assert_allclose(middle[[0, -1]], [2, 18])


def test_natural_neighbours_follow_a_plane():
    plane = np.add.outer(0.2 * np.arange(64), -0.3 * np.arange(64))
    scan = measure(plane, scan_path("jittered-grid", plane.shape, 0.05, rng=0))
    error = (natural_image(scan.values, scan.mask) - plane)[12:-12, 12:-12]
    assert error.std() < 0.25
    assert error.std() < 0.5 * (nearest_image(scan.values, scan.mask) - plane)[12:-12, 12:-12].std()


@pytest.mark.parametrize("interpolate", [nearest_image, linear_image, natural_image])
def test_more_noise_is_smoothed_more(interpolate):
    frame = np.sin(np.arange(96) / 9)[:, None] * np.sin(np.arange(96) / 11)
    mask = scan_path("random", frame.shape, 0.3, rng=0).mask
    widths = [
        best_width(
            np.where(mask, frame + sd * np.random.default_rng(1).standard_normal(frame.shape), 0), mask, interpolate
        )
        for sd in (0.0, 0.3, 2.0)
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[2]
    assert set(widths) <= set(WIDTHS_PX)


def test_the_chosen_width_is_nearly_the_best():
    frame = np.sin(np.arange(96) / 9)[:, None] * np.sin(np.arange(96) / 11)
    noisy = frame + 0.5 * np.random.default_rng(2).standard_normal(frame.shape)
    scan = Measurement(noisy, scan_path("random", frame.shape, 0.3, rng=3).mask)
    errors = [np.mean((reconstruct(scan, "linear", smooth_px=w).image - frame) ** 2) for w in WIDTHS_PX]
    chosen = reconstruct(scan, "linear")
    assert chosen.info["smooth_px"] > 0
    assert np.mean((chosen.image - frame) ** 2) < 1.2 * min(errors)


def test_long_exposures_count_more():
    """Where one half of the scan is exposed long, the width is the one that suits it."""
    rng = np.random.default_rng(4)
    frame = np.sin(np.arange(64) / 2)[:, None] * np.ones(64)
    noise = np.where(np.arange(64) < 32, 0.02, 3.0)
    values = frame + noise * rng.standard_normal(frame.shape)
    mask = rng.random(frame.shape) < 0.4
    even = best_width(np.where(mask, values, 0), mask, linear_image)
    weighted = best_width(np.where(mask, values, 0), mask, linear_image, np.broadcast_to(noise**-2.0, frame.shape))
    assert weighted < even


def test_a_few_samples_are_kept():
    mask = np.zeros((16, 16), bool)
    mask[3, 4] = mask[9, 2] = True
    scan = Measurement(np.where(mask, np.arange(16.0), 0), mask)
    result = reconstruct(scan, "natural")
    assert result.info["smooth_px"] == 0
    np.testing.assert_allclose(result.image[mask], scan.samples)


@pytest.mark.parametrize("smooth_px", [-0.1, np.inf, "wide"])
def test_bad_widths(smooth_px):
    scan = measure(np.outer(np.arange(16.0), np.arange(16.0)), scan_path("random", (16, 16), 0.3, rng=0))
    with pytest.raises(InputError, match="smooth_px"):
        reconstruct(scan, "natural", smooth_px=smooth_px)
