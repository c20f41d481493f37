"""Counting electrons: Poisson's law, the detector's chain, dwell times visit by visit, and dose."""

from dataclasses import replace

import numpy as np
import pytest

from simulate import InputError, Measurement, ScanHardware, ScanPath, measure, scan_path
from simulate.detector import Detector
from simulate.distortions import Distortion
from simulate.dose import dose_e_per_A2, dwell_for_dose, electrons_for_dose, electrons_per_pixel
from simulate.hardware import HARDWARE

LEVELS = np.tile([0.2, 0.8], (96, 48))
RASTER = scan_path("raster", LEVELS.shape, dwell_us=2.0)
CURRENT_PA = 10.0
MEAN_E = float(electrons_per_pixel(CURRENT_PA, 2.0))
NOISY = Detector(efficiency=0.6, gain=20.0, offset=100.0, read_noise_e=1.5, dark_e_per_s=2e5)


def revisits(dwell_us, shape=(64, 64)):
    """Return a path that visits each pixel once for each of the given dwell times."""
    rows, cols = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    n = len(dwell_us)
    return ScanPath(np.tile(rows, n), np.tile(cols, n), shape, dwell_us=np.repeat(dwell_us, rows.size))


class TestByCurrent:
    def test_counts_are_poisson_of_current_dwell_and_efficiency(self):
        detector = Detector(efficiency=0.6)
        scan = measure(LEVELS, RASTER, beam_current_pA=CURRENT_PA, detector=detector, rng=0)
        for level in (0.2, 0.8):
            counts = scan.values[level == LEVELS]
            mean = level * MEAN_E * 0.6
            assert counts.mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / counts.size))
            assert counts.var() == pytest.approx(mean, rel=0.08)
            assert scan.noise_sigma(mean) == pytest.approx(np.sqrt(mean))
        np.testing.assert_array_equal(scan.values, np.round(scan.values))

    @pytest.mark.parametrize("digital", [False, True])
    def test_the_noise_model_knows_gain_offset_dark_and_read_noise(self, digital):
        detector = replace(NOISY, digital=digital, read_noise_e=0.02 if digital else 1.5, gain=2.0)
        scan = measure(LEVELS, RASTER, beam_current_pA=CURRENT_PA, detector=detector, rng=1)
        for level in (0.2, 0.8):
            values = scan.values[level == LEVELS]
            mean = 100 + 2 * (level * MEAN_E * 0.6 + 0.4)
            sigma = scan.noise_sigma(mean)
            assert values.mean() == pytest.approx(mean, abs=4 * sigma / np.sqrt(values.size))
            assert values.var() == pytest.approx(sigma**2, rel=0.08)
        assert scan.black_level == 100
        assert scan.read_noise**2 == pytest.approx((2 * detector.read_noise_e) ** 2 + digital / 12)

    def test_no_electron_gives_the_offset_and_the_read_noise(self):
        detector = Detector(gain=20.0, offset=100.0, read_noise_e=1.5)
        scan = measure(0 * LEVELS, RASTER, beam_current_pA=CURRENT_PA, detector=detector, rng=0)
        assert scan.values.mean() == pytest.approx(100, abs=4 * 30 / 96)
        assert scan.values.std() == pytest.approx(30, rel=0.04)

    def test_output_stops_at_saturation(self):
        free, stopped = (
            measure(LEVELS, RASTER, beam_current_pA=CURRENT_PA, detector=replace(NOISY, saturation=s), rng=0).values
            for s in (np.inf, 900.5)
        )
        assert (free > 900.5).any()
        np.testing.assert_array_equal(stopped, np.minimum(free, 900.5))

    def test_a_digital_output_is_whole_and_within_half_a_unit(self):
        analogue, digital = (
            measure(LEVELS, RASTER, beam_current_pA=CURRENT_PA, detector=replace(NOISY, digital=d), rng=0).values
            for d in (False, True)
        )
        np.testing.assert_array_equal(digital, np.round(digital))
        assert np.abs(digital - analogue).max() <= 0.5

    @pytest.mark.parametrize("dwell_us", [(4.0, 4.0, 4.0, 4.0), (1.0, 3.0, 12.0)])
    def test_visits_are_weighted_by_their_dwell(self, dwell_us):
        path = revisits(dwell_us)
        scan = measure(
            np.full((64, 64), 0.3), path, beam_current_pA=5.0, detector=replace(NOISY, dark_e_per_s=0), rng=0
        )
        mean = 100 + 20 * 0.6 * 0.3 * float(electrons_per_pixel(5.0, np.mean(dwell_us)))
        assert scan.exposure is not None
        np.testing.assert_allclose(scan.exposure, np.sum(dwell_us) / np.mean(dwell_us))
        variance = scan.noise_sigma(mean) ** 2 / scan.exposure[0, 0]
        assert scan.values.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance) / 64)
        assert scan.values.var() == pytest.approx(variance, rel=0.1)

    def test_the_dwell_map_is_seen_in_the_noise_not_in_the_mean(self):
        rows, cols = np.divmod(np.arange(64 * 64), 64)
        path = ScanPath(rows, cols, (64, 64), dwell_us=np.where(cols % 2, 1.0, 9.0))
        scan = measure(np.full((64, 64), 0.3), path, beam_current_pA=50.0, detector=Detector(read_noise_e=3), rng=0)
        short, long = scan.values[:, 1::2], scan.values[:, ::2]
        mean = 0.3 * float(electrons_per_pixel(50.0, 5.0))
        assert scan.exposure is not None
        for values, exposure in ((short, 0.2), (long, 1.8)):
            variance = scan.noise_sigma(mean) ** 2 / exposure
            assert values.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / values.size))
            assert values.var() == pytest.approx(variance, rel=0.12)
        np.testing.assert_allclose(scan.exposure, np.where(np.arange(64) % 2, 0.2, 1.8)[None].repeat(64, axis=0))

    def test_the_variance_of_read_noise_grows_with_the_dwell_and_falls_with_the_exposure(self):
        """Without electrons: r^2 T / mean T a visit, over the square of the exposure T / mean T."""
        path = ScanPath(*np.indices((64, 64)).reshape(2, -1), (64, 64), dwell_us=np.tile([0.2, 1.8], 32 * 64))
        detector = Detector(gain=2.0, read_noise_e=3.0)
        scan = measure(np.zeros((64, 64)), path, beam_current_pA=1.0, detector=detector, rng=0)
        for first, exposure in ((0, 0.2), (1, 1.8)):
            values = scan.values[:, first::2]
            assert values.var() == pytest.approx(2**2 * 9 / exposure, rel=0.1)
            assert values.var() == pytest.approx(scan.noise_sigma(0.0) ** 2 / exposure, rel=0.1)


class TestAfterglow:
    # So much current that counting noise is below 1e-4 of the signal.
    BRIGHT_PA = 1e9

    def tail(self, hardware, n=12, dwell_us=2.0):
        frame = np.zeros((8, 16))
        frame[0, 0] = 1.0
        path = ScanPath(np.zeros(n, int), np.arange(n), (8, 16), dwell_us=dwell_us, hardware=hardware)
        detector = Detector(afterglow=0.3, afterglow_us=5.0)
        scan = measure(frame, path, beam_current_pA=self.BRIGHT_PA, detector=detector, rng=0)
        return scan.values[0, :n] / float(electrons_per_pixel(self.BRIGHT_PA, dwell_us))

    def test_one_bright_visit_leaves_an_exponential_tail(self):
        values, keep = self.tail(HARDWARE["ideal"]), np.exp(-2 / 5)
        stored = 0.3 * 5 / 2 * (1 - keep)
        assert values[0] == pytest.approx(1 - stored, rel=1e-4)
        np.testing.assert_allclose(values[1:], stored * (1 - keep) * keep ** np.arange(11), rtol=1e-4)

    def test_no_light_is_lost_without_pauses(self):
        assert self.tail(HARDWARE["ideal"], dwell_us=20.0).sum() == pytest.approx(1, rel=1e-4)

    def test_what_is_emitted_while_the_beam_moves_is_lost(self):
        frame = np.zeros((8, 32))
        frame[0, 0] = 1.0
        path = ScanPath([0, 0], [0, 20], (8, 32), dwell_us=2.0, hardware=ScanHardware(settling_us=7.0))
        detector = Detector(afterglow=0.3, afterglow_us=5.0)
        scan = measure(frame, path, beam_current_pA=self.BRIGHT_PA, detector=detector, rng=0)
        keep, after = np.exp(-2 / 5), np.exp(-7 / 5)
        expected = 0.3 * 5 / 2 * (1 - keep) * after * (1 - keep)
        assert scan.values[0, 20] / float(electrons_per_pixel(self.BRIGHT_PA, 2.0)) == pytest.approx(expected, rel=1e-4)

    def test_a_flat_frame_stays_flat(self):
        path = scan_path("raster", (8, 64), dwell_us=2.0, hardware=HARDWARE["ideal"])
        detector = Detector(afterglow=0.3, afterglow_us=5.0)
        scan = measure(np.full((8, 64), 0.5), path, beam_current_pA=self.BRIGHT_PA, detector=detector, rng=0)
        signal = scan.values.ravel()[60:] / float(electrons_per_pixel(self.BRIGHT_PA, 2.0))
        np.testing.assert_allclose(signal, 0.5, rtol=1e-4)


class TestByPeakCounts:
    def test_counts_scale_with_each_visits_dwell(self):
        path = revisits((1.0, 3.0, 12.0))
        frame = np.full((64, 64), 2.0)
        frame[0, 0] = 4.0
        scan = measure(frame, path, peak_counts=30, read_noise_counts=2, rng=0)
        assert scan.exposure is not None
        np.testing.assert_allclose(scan.exposure, 3)
        assert scan.values[1:].mean() == pytest.approx(2, abs=4 * scan.noise_sigma(2.0) / np.sqrt(3) / 63)
        assert scan.values[1:].var() == pytest.approx(scan.noise_sigma(2.0) ** 2 / 3, rel=0.1)

    def test_a_longer_dwell_gives_less_noise(self):
        rows, cols = np.divmod(np.arange(64 * 64), 64)
        path = ScanPath(rows, cols, (64, 64), dwell_us=np.where(cols % 2, 1.0, 9.0))
        frame = np.full((64, 64), 2.0)
        frame[0, 0] = 4.0
        scan = measure(frame, path, peak_counts=200, rng=0)
        for columns, exposure in ((slice(1, None, 2), 0.2), (slice(2, None, 2), 1.8)):
            values = scan.values[:, columns]
            assert values.var() == pytest.approx(scan.noise_sigma(2.0) ** 2 / exposure, rel=0.12)

    def test_equal_dwell_times_are_no_exposure(self):
        path = revisits((0.1,))
        frame = np.add.outer(np.arange(64.0), np.arange(64.0))
        scan = measure(frame, path, peak_counts=30, rng=0)
        assert scan.exposure is None
        np.testing.assert_array_equal(
            scan.values, measure(frame, replace(path, dwell_us=7.0), peak_counts=30, rng=0).values
        )


class TestOfAMeasurement:
    """What a recorded full frame knows of itself stays with its sub-sampled version."""

    FULL = Measurement(
        np.random.default_rng(0).poisson(40.0, (32, 32)) + 100.0, np.ones((32, 32), bool), counts_per_unit=1.0,
        black_level=100.0, read_noise=2.0, exposure=np.add.outer(np.arange(32.0), np.ones(32)),
    )  # fmt: skip

    @pytest.mark.parametrize("scheme", ["random", "lissajous"])
    def test_its_noise_is_carried_and_no_value_gets_surer_by_being_read_twice(self, scheme):
        path = scan_path(scheme, (32, 32), 0.5, rng=0)
        scan = measure(self.FULL, path)
        assert (scan.counts_per_unit, scan.black_level, scan.read_noise) == (1.0, 100.0, 2.0)
        np.testing.assert_array_equal(scan.exposure, np.where(path.mask, self.FULL.exposure, 0))
        assert measure(replace(self.FULL, exposure=None), path).exposure is None
        np.testing.assert_array_equal(scan.samples, self.FULL.values[path.mask])

    def test_new_electrons_are_counted_from_its_black_level(self):
        path = scan_path("raster", (32, 32))
        scan = measure(self.FULL, path, peak_counts=50, rng=0)
        brightest = self.FULL.values.max()
        assert scan.counts_per_unit == pytest.approx(50 / (brightest - 100))
        assert (scan.black_level, scan.read_noise, scan.exposure) == (100.0, 0.0, None)
        residual = scan.values - self.FULL.values
        assert residual.var() == pytest.approx((brightest - 100) / 50 * (self.FULL.values.mean() - 100), rel=0.15)


@pytest.mark.parametrize("distortion", [Distortion(), Distortion(drift_px_per_s=(100.0, 50.0))])
def test_rounding_below_the_black_level_counts_nothing(distortion):
    """Interpolated and re-weighted, a plateau at the black level comes out some 1e-17 below it."""
    frame = np.full((16, 16), -0.3)
    frame[5:9, 5:9] = 1.0
    for seed in range(5):
        frame[0] = -0.3 * (1 + np.random.default_rng(seed).random(16))
        frame[2] = frame.min()
        scan = measure(frame, revisits((0.1, 0.7, 0.3), (16, 16)), peak_counts=20, distortion=distortion, rng=seed)
        assert scan.values.min() == pytest.approx(frame.min())


def test_dose_and_its_inverses():
    assert float(electrons_per_pixel(1.0, 1.0)) == pytest.approx(6.241509, rel=1e-6)
    path = replace(RASTER, dwell_us=3.0)
    electrons = electrons_per_pixel(7.0, 3.0)
    np.testing.assert_allclose(path.dose_e_per_pixel(7.0), electrons)
    assert float(dose_e_per_A2(electrons, (0.2, 0.5))) == pytest.approx(path.dose_e_per_A2(7.0, (0.2, 0.5)))
    doses = np.array([0.5, 20.0, 3000.0])
    np.testing.assert_allclose(dose_e_per_A2(electrons_for_dose(doses, 0.3), 0.3), doses)
    dwell = dwell_for_dose(doses, beam_current_pA=7.0, pixel_size_nm=0.3)
    np.testing.assert_allclose(dose_e_per_A2(electrons_per_pixel(7.0, dwell), 0.3), doses)


def test_same_seed_same_output():
    detector = replace(NOISY, afterglow=0.1)
    first, second, other = (
        measure(LEVELS, RASTER, beam_current_pA=CURRENT_PA, detector=detector, rng=seed).values for seed in (5, 5, 6)
    )
    assert first.tobytes() == second.tobytes()
    assert not np.array_equal(first, other)


def test_a_read_frame_brings_its_pixel_size_along():
    full = Measurement(LEVELS, np.ones(LEVELS.shape, bool), pixel_size_nm=0.7, name="grid")
    scan = measure(full, RASTER, beam_current_pA=CURRENT_PA, rng=0)
    assert (scan.pixel_size_nm, scan.name, scan.path) == (0.7, "grid", RASTER)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (LEVELS, {"beam_current_pA": 1.0, "peak_counts": 5}, "give one of them"),
        (LEVELS, {"detector": Detector()}, "needs beam_current_pA"),
        (LEVELS, {"detector": Detector(), "peak_counts": 5}, "needs beam_current_pA"),
        (LEVELS, {"beam_current_pA": 1.0, "read_noise_counts": 1}, "needs peak_counts"),
        (LEVELS, {"beam_current_pA": 0}, "beam current is 0"),
        (LEVELS, {"beam_current_pA": 1e20}, "are the beam current in pA"),
        (2 * LEVELS, {"beam_current_pA": 1.0}, "share of the beam"),
        (-LEVELS, {"beam_current_pA": 1.0}, "share of the beam"),
        (np.where(LEVELS > 0.5, np.nan, 0.2), {"beam_current_pA": 1.0}, "NaN or infinite"),
        (LEVELS.astype(str), {"beam_current_pA": 1.0}, "expected real numbers"),
        (LEVELS, {"beam_current_pA": 1e6, "detector": Detector(saturation=3)}, "all 9216 sampled values"),
    ],
)
def test_bad_input_is_one_clear_line(frame, options, message):
    with pytest.raises(InputError, match=message) as caught:
        measure(frame, RASTER, rng=0, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"efficiency": 0},
        {"efficiency": 1.1},
        {"gain": 0},
        {"gain": float("inf")},
        {"offset": float("nan")},
        {"read_noise_e": -1},
        {"dark_e_per_s": -1},
        {"saturation": 5, "offset": 5},
        {"saturation": float("nan")},
        {"afterglow": 1},
        {"afterglow": -0.1},
        {"afterglow_us": 0},
        {"gain": "high"},
    ],
    ids=str,
)
def test_impossible_detectors_are_refused(fields):
    with pytest.raises(InputError, match=next(iter(fields))):
        Detector(**fields)


@pytest.mark.parametrize(
    "call",
    [
        lambda: electrons_per_pixel(0, 1.0),
        lambda: electrons_per_pixel(1.0, [1.0, -1.0]),
        lambda: electrons_per_pixel(1.0, ["1"]),
        lambda: dose_e_per_A2(float("nan"), 1.0),
        lambda: dose_e_per_A2(5.0, None),
        lambda: electrons_for_dose([[1.0], [np.inf]], 1.0),
        lambda: dwell_for_dose(1.0, beam_current_pA=-1, pixel_size_nm=1.0),
        lambda: dwell_for_dose(1.0, beam_current_pA=1, pixel_size_nm=0),
    ],
)
def test_impossible_doses_are_refused(call):
    with pytest.raises(InputError):
        call()
