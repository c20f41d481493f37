"""Noise models against sampled noise, the estimate of the noise against scenes of known noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cs_recon import reconstruct
from cs_recon.adapt_data import HeldOutScans
from cs_recon.batch import make_batch
from cs_recon.noise import estimate_noise, estimate_noise_unexposed
from cs_recon.noise_levels import with_noise
from cs_recon.noise_models import (
    batch_variance,
    generalised_anscombe,
    inverse_generalised_anscombe,
    noise_variance,
    precision_weights,
)
from simulate import InputError, Measurement, SceneConfig, make_scene, measure, scan_path

GAIN, BLACK = 2.5, 7.0


def draws(mean, spread, exposure=1.0, count=400_000):
    """Values of a pixel whose signal is `mean` electrons above black."""
    rng = np.random.default_rng(3)
    electrons = rng.poisson(mean * exposure, count) + rng.normal(0, spread * np.sqrt(exposure), count)
    return torch.from_numpy(electrons / (GAIN * exposure) + BLACK)


@pytest.mark.parametrize(("mean", "spread", "exposure"), [(3.0, 0.0, 1.0), (40.0, 2.0, 1.0), (40.0, 2.0, 4.0)])
def test_the_variance_is_that_of_sampled_noise(mean, spread, exposure):
    values = draws(mean, spread, exposure)
    variance = noise_variance(torch.tensor(mean / GAIN + BLACK), GAIN, BLACK, spread / GAIN, exposure)
    assert float(variance) == pytest.approx(float(values.var()), rel=0.01)
    if exposure == 1:
        scan = Measurement(np.eye(8), np.eye(8) >= 0, None, GAIN, BLACK, spread / GAIN)
        assert float(variance) == pytest.approx(scan.noise_sigma(mean / GAIN + BLACK) ** 2, rel=1e-6)


@pytest.mark.parametrize(("mean", "spread"), [(6.0, 0.0), (20.0, 0.0), (500.0, 0.0), (2.0, 3.0), (100.0, 3.0)])
def test_stabilised_noise_has_variance_one(mean, spread):
    assert float(generalised_anscombe(draws(mean, spread), GAIN, BLACK, spread / GAIN).var()) == pytest.approx(
        1, abs=0.06
    )


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("mean", [0.5, 2.0, 20.0, 990.0, 1010.0, 3000.0])
def test_the_inverse_is_unbiased(mean, spread):
    """The inverse of the mean of the stabilised values is the mean of the values, also at few counts."""
    stabilised = generalised_anscombe(draws(mean, spread), GAIN, BLACK, spread / GAIN).mean()
    signal = inverse_generalised_anscombe(stabilised, GAIN, BLACK, spread / GAIN)
    sampling_error = 4 * np.sqrt((mean + spread**2) / 400_000)
    assert float((signal - BLACK) * GAIN) == pytest.approx(mean, abs=sampling_error)


def test_the_inverse_rises_and_has_no_seam():
    stabilised = torch.linspace(0, 80, 20_001, dtype=torch.float64)
    signal = inverse_generalised_anscombe(stabilised, 1.0, 0.0, 0.5)
    steps = signal.diff()
    assert steps.min() >= 0
    assert (steps[-5000:] - stabilised[-5000:] / 2 * 0.004).abs().max() < 2e-3
    assert signal[0] == 0


def test_weights_are_one_on_average_and_fall_with_the_variance():
    mask = torch.ones((2, 1, 8, 8))
    mask[:, :, ::2] = 0
    variance = torch.rand((2, 1, 8, 8)) + 0.1
    weights = precision_weights(mask, variance)
    torch.testing.assert_close((mask * weights).sum(dim=(1, 2, 3)), mask.sum(dim=(1, 2, 3)))
    ratio = weights * variance
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    torch.testing.assert_close(precision_weights(mask, 0 * variance), torch.ones_like(mask))


def test_the_variance_of_a_batch_is_that_of_its_scans():
    rng = np.random.default_rng(0)
    frame, exposure = rng.uniform(1, 2, (9, 11)), rng.uniform(1, 3, (9, 11))
    mask = rng.random((9, 11)) < 0.5
    counted = Measurement(frame, mask, counts_per_unit=4.0, read_noise=0.1, exposure=exposure)
    batch = make_batch([counted, Measurement(frame, mask)], multiple=4)
    signal = batch.normalise(torch.from_numpy(frame)[None, None])
    variance = batch_variance([counted, Measurement(frame, mask)], batch, signal)
    expected = counted.noise_sigma(frame) ** 2 / exposure
    found = variance[0, 0, :9, :11].double().numpy() * float(batch.scale[0]) ** 2
    np.testing.assert_allclose(found[mask], expected[mask], rtol=1e-5)
    torch.testing.assert_close(variance[1], batch.sigma[1] ** 2)


@pytest.mark.parametrize("bad", [(0.0, 0.0, 0.0), (1.0, np.nan, 0.0), (1.0, 0.0, -1.0)])
def test_bad_noise_parameters(bad):
    with pytest.raises(InputError, match="expected"):
        generalised_anscombe(torch.ones(3), *bad)


@pytest.mark.parametrize("ratio", [0.05, 0.1])
def test_structure_is_no_noise(ratio):
    """Noise-free structured frames: the differences of neighbours must not be taken for noise."""
    scene = make_scene(SceneConfig(shape=(128, 128), n_particles=8, diameter_nm=16), rng=1).frame
    scan = measure(scene, scan_path("random", scene.shape, ratio, rng=0))
    assert 0 <= estimate_noise(scan) < 0.03 * scene.std()


def test_noise_over_a_smooth_frame_is_found_at_sparse_sampling():
    """A wave of amplitude 1 over 60 pixels; neighbours at 2 % are 4 pixels apart and differ by structure."""
    rows, cols = np.indices((256, 256)) * 2 * np.pi / 60
    frame = np.sin(rows) * np.sin(cols)
    for sigma in (0.0, 0.1):
        noisy = frame + np.random.default_rng(0).normal(0, sigma, frame.shape)
        scan = measure(noisy, scan_path("random", frame.shape, 0.02, rng=0))
        assert estimate_noise(scan) == pytest.approx(sigma, abs=0.05)


def test_the_estimate_follows_the_unit():
    scene = make_scene(SceneConfig(shape=(128, 128), n_particles=8, diameter_nm=16), rng=1).frame
    scan = measure(scene, scan_path("random", scene.shape, 0.1, rng=0), peak_counts=20, rng=0)
    base = estimate_noise(scan)
    # Inverted, counts are spread over their steps by other random numbers.
    for scale, offset, within in ((1e6, 0.0, 1e-6), (1e-6, 3e-5, 1e-6), (-1.0, 0.0, 0.05)):
        other = estimate_noise(Measurement(scan.values * scale + offset, scan.mask))
        assert other == pytest.approx(abs(scale) * base, rel=within)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_a_few_samples_give_a_finite_estimate(count):
    mask = np.zeros((16, 16), bool)
    mask[3, :count] = True
    assert 0 <= estimate_noise(Measurement(np.indices((16, 16))[1] * 1.0, mask)) < 10


class TestUnknownNoiseWithExposures:
    """The scatter of the samples is that of their own exposures, whatever unit those are in."""

    SCAN = measure(
        make_scene(SceneConfig(shape=(48, 48), n_particles=8, diameter_nm=6), rng=1).frame,
        scan_path("random", (48, 48), 0.3, rng=0), peak_counts=30, rng=0,
    )  # fmt: skip

    def told(self, exposure):
        return replace(self.SCAN, counts_per_unit=None, read_noise=0.0, exposure=exposure)

    def adapting(self, scan):
        return np.where(scan.mask, HeldOutScans([scan], crop=32, multiple=16, share=0.2, seed=0).noise[0], 0)

    def test_the_unit_of_exposure_does_not_matter(self):
        plain, longer = self.told(None), self.told(np.full((48, 48), 10.0))
        for make in (lambda scan: make_batch([scan]).sigma, self.adapting):
            np.testing.assert_allclose(make(longer), make(plain), rtol=1e-6)
        for method in ("cls", "iht"):
            one, other = (reconstruct(scan, method, device="cpu").image for scan in (plain, longer))
            np.testing.assert_allclose(other, one, rtol=1e-4)

    def test_short_exposures_are_noisier(self):
        exposure = np.where(np.arange(48) < 30, 1.0, 4.0) * np.ones((48, 1))
        scan = self.told(exposure)
        batch = make_batch([scan], multiple=1)
        signal = (batch.x0[0, 0].double() * batch.scale[0, 0] + batch.offset[0, 0]).numpy()
        expected = with_noise(scan).noise_sigma(signal) / np.sqrt(exposure)
        found = (batch.sigma[0, 0].double() * batch.scale[0, 0]).numpy()
        np.testing.assert_allclose(found[scan.mask], expected[scan.mask], rtol=1e-5)
        variance = batch_variance([scan], batch, batch.x0)
        np.testing.assert_allclose(variance, batch.sigma.square(), rtol=1e-5)


def test_a_parked_beam_does_not_make_all_other_samples_worthless():
    scan = TestUnknownNoiseWithExposures.SCAN
    first = np.unravel_index(np.flatnonzero(scan.mask)[0], scan.shape)
    exposure = np.ones(scan.shape)
    exposure[first] = 1e5
    parked = replace(scan, exposure=exposure)
    weights = make_batch([parked], multiple=1).scan.weights[0, 0].numpy()
    assert weights[first] == 1
    np.testing.assert_allclose(np.unique(weights[scan.mask]), [0.1, 1], rtol=1e-6)
    plain, found = (reconstruct(one, "iht", device="cpu").image for one in (scan, parked))
    assert np.sqrt(np.mean((plain - found) ** 2)) < 0.05 * np.ptp(plain)


@pytest.mark.parametrize("ratio", [1.0, 0.1])
@pytest.mark.parametrize("mean", [0.5, 1.0, 2.0, 3.0, 5.0, 30.0])
@pytest.mark.parametrize("unit", [1.0, 0.037])
def test_the_noise_of_counts_does_not_jump_with_their_steps(mean, ratio, unit):
    """Flat Poisson frames whose counts are not told, as counted or scaled."""
    rng = np.random.default_rng(int(10 * mean))
    frame = unit * rng.poisson(mean, (256, 256))
    mask = rng.random((256, 256)) < ratio
    found = estimate_noise(Measurement(frame, mask)) / (unit * mean**0.5)
    assert found == pytest.approx(1, abs=0.2 if mean < 1 else 0.08)


@pytest.mark.parametrize("ratio", [1.0, 0.2])
@pytest.mark.parametrize("share", [0.1, 0.49, 0.51, 0.9])
def test_two_dwell_times_give_the_noise_of_exposure_1(share, ratio):
    rng = np.random.default_rng(0)
    exposure = np.where(rng.random((160, 160)) < share, 10.0, 1.0)
    values = np.sin(np.arange(160) / 9) + 1.5 * rng.normal(size=exposure.shape) / np.sqrt(exposure)
    scan = Measurement(values, rng.random(exposure.shape) < ratio, exposure=exposure)
    assert estimate_noise_unexposed(scan) == pytest.approx(1.5, rel=0.08)
