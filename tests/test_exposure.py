"""Dwell that differs by pixel: what one parked pixel must not decide, and what unequal counts are worth together."""

import numpy as np
import pytest

from cs_recon import Measurement, psnr, reconstruct
from cs_recon.motion import with_neighbours
from cs_recon.reconstruction import Reconstruction

ROWS, COLS = np.indices((40, 48))
FRAME = 10 + 3 * np.sin(COLS / 5) + 2 * np.cos(ROWS / 7) + 8.0 * ((ROWS - 13) ** 2 + (COLS - 24) ** 2 < 64)


@pytest.mark.parametrize("method", ["nearest", "linear", "natural", "biharmonic"])
def test_a_parked_pixel_does_not_choose_the_width_alone(method):
    rng = np.random.default_rng(1)
    mask = rng.random(FRAME.shape) < 0.35
    values = FRAME + 2.5 * rng.normal(size=FRAME.shape)
    plain = psnr(FRAME, reconstruct(Measurement(values, mask), method).image)
    for pixel in np.argwhere(mask)[::120]:
        exposure = np.ones(FRAME.shape)
        exposure[tuple(pixel)] = 1e5
        parked = reconstruct(Measurement(values, mask, exposure=exposure), method)
        assert psnr(FRAME, parked.image) > plain - 1


def test_a_full_scan_of_unequal_exposures_is_denoised_for_the_noise_it_has():
    rng = np.random.default_rng(0)
    everywhere = np.ones(FRAME.shape, bool)
    exposure = np.where(COLS % 2, 1.8, 0.2)
    values = rng.poisson(FRAME * 2 * exposure) / (2 * exposure)
    scans = [
        Measurement(values, everywhere, counts_per_unit=2, exposure=told)
        for told in (exposure, np.full(FRAME.shape, 1 / np.mean(1 / exposure)))
    ]
    unequal, alike = (reconstruct(scan, "full-scan").image for scan in scans)
    np.testing.assert_allclose(unequal, alike, rtol=1e-5)


def test_a_parked_pixel_does_not_leave_a_full_scan_noisy():
    rng = np.random.default_rng(0)
    everywhere = np.ones(FRAME.shape, bool)
    values = rng.poisson(FRAME * 2) / 2
    exposure = np.ones(FRAME.shape)
    exposure[5, 5] = 1e5
    plain, parked = (
        reconstruct(Measurement(values, everywhere, counts_per_unit=2, exposure=told), "full-scan").image
        for told in (None, exposure)
    )
    assert psnr(FRAME, parked) > psnr(FRAME, plain) - 0.5


def test_carried_samples_never_make_a_scan_that_cannot_be():
    """Exposures over nearly the whole range that a scan may have, and samples of less exposure carried along."""
    rng = np.random.default_rng(2)
    sigma = np.ones_like(FRAME, dtype=np.float32)
    image = Reconstruction(FRAME.astype(np.float32), sigma, "nearest")
    masks = [rng.random(FRAME.shape) < 0.4 for _ in range(2)]
    exposure = np.where(masks[0], 1.0, 0)
    exposure[tuple(np.argwhere(masks[0])[0])] = 9e5
    scans = [
        Measurement(FRAME, masks[0], exposure=exposure, read_noise=1.0),
        Measurement(FRAME, masks[1], read_noise=1.0),
    ]
    joined = with_neighbours(scans[0], image, [(scans[1], image)])
    assert joined.mask.sum() > masks[0].sum()
    np.testing.assert_allclose(joined.exposure.max(), 9e5, rtol=1e-5)
