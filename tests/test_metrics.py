"""Image scores and Fourier ring correlation against definitions, closed forms and brute force."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cs_recon.metrics import psnr, ssim
from cs_recon.resolution import AGAINST_TRUTH, BETWEEN_HALVES, frc, frc_resolution
from simulate import InputError


def white(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def low_pass(image, cutoff):
    """Keep the frequencies up to the cutoff (cycles per pixel) alone."""
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    return np.fft.ifft2(np.fft.fft2(image) * (frequency <= cutoff)).real


def test_psnr_is_its_formula_and_follows_the_unit():
    truth = np.array([[0.0, 2.0], [1.0, 1.0]])
    assert psnr(truth, truth) == np.inf
    assert psnr(truth, truth + 0.2) == pytest.approx(20)
    assert psnr(10 * truth, 10 * truth + 2) == pytest.approx(20)


def test_ssim_of_a_shift_is_its_luminance_term():
    """Where only the mean differs, SSIM is (2 a b + C1) / (a^2 + b^2 + C1) of the local means."""
    truth = np.full((32, 32), 4.0)
    truth[:, 16:] = 5.0
    image = truth + 3
    means = gaussian_filter(truth, 1.5, truncate=3.5)
    c1 = 0.01**2
    expected = (2 * means * (means + 3) + c1) / (means**2 + (means + 3) ** 2 + c1)
    assert ssim(truth, image) == pytest.approx(expected[5:-5, 5:-5].mean(), rel=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (9, 8), (11, 15), (16, 10)])
@pytest.mark.parametrize("window", [False, True])
def test_frc_against_a_loop_over_the_coefficients(shape, window):
    one, two = white(shape, 1), white(shape, 2)
    two += one
    taper = np.ones(shape)
    if window:
        taper = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in shape))
    spectra = [np.fft.fft2((image - image.mean()) * taper) for image in (one, two)]
    side = min(shape)
    sums = {ring: [0.0, 0.0, 0.0, 0, 0.0] for ring in range(1, side // 2 + 1)}
    for row in range(shape[0]):
        for col in range(shape[1]):
            fy = (row if row <= shape[0] // 2 else row - shape[0]) / shape[0]
            fx = (col if col <= shape[1] // 2 else col - shape[1]) / shape[1]
            radius = np.sqrt(fy**2 + fx**2)
            ring = int(np.rint(radius * side))
            if ring in sums:
                a, b = (spectrum[row, col] for spectrum in spectra)
                parts = ((a * np.conj(b)).real, abs(a) ** 2, abs(b) ** 2, 1, radius)
                sums[ring] = [total + part for total, part in zip(sums[ring], parts, strict=True)]
    curve = frc(one, two, window=window)
    np.testing.assert_allclose(curve.correlation, [c / np.sqrt(p * q) for c, p, q, _, _ in sums.values()], rtol=1e-9)
    np.testing.assert_array_equal(curve.members, [n for *_, n, _ in sums.values()])
    np.testing.assert_allclose(curve.frequency, [f / n for *_, n, f in sums.values()])


@pytest.mark.parametrize("period_px", [3.0, 5.0, 12.0])
def test_the_resolution_of_a_low_pass_filter_is_its_cutoff(period_px):
    truth = white((192, 192))
    found = frc_resolution(truth, low_pass(truth, 1 / period_px), window=False)
    assert 1 / found == pytest.approx(1 / period_px, abs=1 / 192)


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_white_noise_on_a_white_image_correlates_as_its_closed_form(noise):
    """Against the truth sqrt(S / (S + N)); between two noisy ones S / (S + N)."""
    truth = white((256, 256))
    one, two = (truth + noise * white((256, 256), seed) for seed in (1, 2))
    expected = 1 / (1 + noise**2)
    for curve, value in ((frc(truth, one), np.sqrt(expected)), (frc(one, two), expected)):
        mean = np.average(curve.correlation, weights=curve.members)
        assert mean == pytest.approx(value, abs=0.01)


def test_the_two_thresholds_mean_the_same_resolution():
    """At the frequency where two equally noisy images correlate by 1/7, their mean does by 1/2 with the truth."""
    assert np.sqrt(2 * BETWEEN_HALVES / (1 + BETWEEN_HALVES)) == pytest.approx(AGAINST_TRUTH)
    truth = gaussian_filter(white((512, 512)), 2.0)
    one, two = (truth + 0.05 * white((512, 512), seed) for seed in (1, 2))
    halves = frc_resolution(one, two, threshold=BETWEEN_HALVES)
    assert frc_resolution(truth, one + two) == pytest.approx(halves, rel=0.05)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_the_resolution_is_interpolated_between_two_rings(threshold):
    """Detail that fades over all frequencies, and two rings whose correlations lie on either side of the threshold."""
    truth = gaussian_filter(white((64, 64)), 1.0)
    noisy = truth + 0.1 * white((64, 64), 1)
    curve = frc(truth, noisy)
    after = int(np.argmax(curve.correlation < threshold))
    rings = [after, after - 1]
    crossing = np.interp(threshold, curve.correlation[rings], curve.frequency[rings])
    assert frc_resolution(truth, noisy, threshold=threshold) == pytest.approx(1 / crossing, rel=1e-9)


def test_resolution_at_its_ends():
    truth = white((64, 64))
    assert frc_resolution(truth, truth) == 2.0
    assert frc_resolution(truth, -truth) == np.inf
    assert frc_resolution(truth, 1e-6 * truth + 1e6) == pytest.approx(2.0, abs=0.01)


def test_the_windowed_correlation_does_not_see_the_borders_jump():
    """Two unrelated images on one ramp correlate along the axes through the jump alone."""
    ramp = np.linspace(0, 50, 96)[:, None]
    one, two = white((96, 96), 1) + ramp, white((96, 96), 2) + ramp
    fine = slice(20, None)
    assert np.abs(frc(one, two).correlation[fine]).max() < 0.2
    assert np.abs(frc(one, two, window=False).correlation[fine]).mean() > 0.3


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((np.ones((8, 9)), np.ones((8, 8))), "make them equal"),
        ((np.ones((8, 8)), np.eye(8)), "constant"),
        ((np.eye(8), np.where(np.eye(8) > 0, np.nan, 1)), "not finite"),
        ((np.eye(4), np.eye(4)), "at least 8"),
    ],
)
def test_bad_images(pair, message):
    with pytest.raises(InputError, match=message):
        frc(*pair)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, np.nan, "half-bit"])
def test_bad_thresholds(threshold):
    with pytest.raises(InputError, match="threshold"):
        frc_resolution(np.eye(8), np.eye(8), threshold=threshold)


def test_scores_refuse_what_they_cannot_compare():
    with pytest.raises(InputError, match="make them equal"):
        psnr(np.eye(8), np.eye(9))
    with pytest.raises(InputError, match="constant"):
        ssim(np.ones((8, 8)), np.ones((8, 8)))


def test_images_that_cannot_be_compared_are_refused():
    image = np.arange(64.0).reshape(8, 8)
    with pytest.raises(InputError, match="11 x 11"):
        ssim(image, image)
    with pytest.raises(InputError, match="NaN or infinite"):
        psnr(image, np.where(image == 5, np.nan, image))


@pytest.mark.parametrize("score", [psnr, ssim, frc])
def test_complex_images_are_refused(score):
    with pytest.raises(InputError, match="got the type complex128"):
        score(white((16, 16)), white((16, 16)) + 1j)
