"""Drift, line noise and fly-back: what is put in is found again in the scanned frame."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.registration import phase_cross_correlation

from simulate import InputError, Measurement, ScanHardware, ScanPath, measure, scan_path
from simulate.detector import Detector
from simulate.distortions import Distortion, displaced, flicker, line_numbers
from simulate.hardware import HARDWARE

IDEAL = HARDWARE["ideal"]
RAMP = np.broadcast_to(np.arange(100.0), (400, 100))  # the value is the column: a scan of it shows the shifts


def raster(shape, **options):
    return scan_path("raster", shape, hardware=IDEAL, **options)


def test_drift_is_recovered_by_cross_correlation_of_two_frames():
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(160, 160)), 3)
    once = raster((160, 160), dwell_us=1.0)
    velocity = np.array([120.0, -200.0])  # 3.1 and -5.1 px in a frame of 25.6 ms
    at = np.reshape(displaced(once.then(once), Distortion(drift_px_per_s=tuple(velocity))), (2, 2, 160, 160))
    window = np.outer(np.hanning(160), np.hanning(160))  # the frames' edges show different specimen
    first, second = (window * map_coordinates(texture, at[:, k], order=3, mode="nearest") for k in (0, 1))
    found, _, _ = phase_cross_correlation(first, second, upsample_factor=50, normalization=None)
    # `found` moves the second frame back onto the first: the specimen moved the other way.
    np.testing.assert_allclose(-found, velocity * 25.6e-3, atol=0.1)


def test_drift_follows_the_time_of_each_visit():
    path = scan_path("random", (64, 64), 0.2, rng=0, dwell_us=3.0, hardware=ScanHardware(lag_us=0, flyback_us=500))
    rows, cols = displaced(path, Distortion(drift_px_per_s=(40.0, 10.0)))
    middle_s = (path.starts_us + 1.5) * 1e-6
    np.testing.assert_allclose(path.rows - rows, 40 * middle_s, atol=1e-12)
    np.testing.assert_allclose(path.cols - cols, 10 * middle_s, atol=1e-12)


def test_a_measured_frame_reads_where_the_drift_took_it():
    path = raster(RAMP.shape, dwell_us=10.0)
    scan = measure(RAMP, path, distortion=Distortion(drift_px_per_s=(0.0, 5.0)))
    drift = 5 * (path.starts_us + 5).reshape(RAMP.shape) * 1e-6
    np.testing.assert_allclose(scan.values[:, 5:], (RAMP - drift)[:, 5:], atol=1e-9)
    assert (scan.mask == path.mask).all()


def test_a_random_walk_spreads_with_the_root_of_time():
    path = replace(raster((200, 200)), dwell_us=np.random.default_rng(0).uniform(1, 20, 200 * 200))
    rows, cols = displaced(path, Distortion(walk_px_per_sqrt_s=3.0), rng=1)
    root_s = np.sqrt(np.diff(path.starts_us) * 1e-6)
    for walk in (rows - path.rows, cols - path.cols):
        assert walk[0] == 0
        steps = np.diff(walk) / root_s
        assert steps.std() == pytest.approx(3, rel=0.02)
        assert np.corrcoef(steps[1:], steps[:-1])[0, 1] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("correlation", [0.0, 0.7, -0.4])
def test_line_noise_is_recovered_from_a_ramp(correlation):
    distortion = Distortion(line_jitter_px=0.5, line_correlation=correlation)
    scan = measure(RAMP, raster(RAMP.shape), distortion=distortion, rng=3)
    shifts = (scan.values - RAMP)[:, 5:-5]
    assert np.ptp(shifts, axis=1).max() < 1e-9
    line = shifts[:, 0]
    # The standard error of an autoregressive process's standard deviation, for 400 lines.
    error = 0.5 * np.sqrt((1 + correlation**2) / (1 - correlation**2) / (2 * 400))
    assert line.std() == pytest.approx(0.5, abs=3.5 * error)
    assert np.corrcoef(line[1:], line[:-1])[0, 1] == pytest.approx(correlation, abs=0.15)


def test_line_noise_is_as_strong_in_the_first_line_as_in_any():
    path = raster((8, 8))
    first = [displaced(path, Distortion(line_jitter_px=2.0, line_correlation=0.9), rng=s)[1][0] for s in range(1500)]
    assert np.std(first) == pytest.approx(2, rel=0.08)


def test_line_flicker_scales_whole_lines():
    scan = measure(RAMP, raster(RAMP.shape), distortion=Distortion(line_flicker=0.1), rng=0)
    factors = scan.values[:, 1:] / RAMP[:, 1:]
    assert np.ptp(factors, axis=1).max() < 1e-9
    assert factors[:, 0].mean() == pytest.approx(1, abs=4 * 0.1 / 20)
    assert factors[:, 0].std() == pytest.approx(0.1, rel=0.15)
    path = raster((8000, 8))
    strong = flicker(path, Distortion(line_flicker=0.5), rng=0)[::8]
    assert strong.min() > 0
    assert strong.mean() == pytest.approx(1, abs=0.03)
    assert strong.std() == pytest.approx(0.5, rel=0.08)


def test_line_flicker_scales_what_is_above_the_black_level():
    """A detector's offset does not flicker with the beam."""
    path, distortion = raster(RAMP.shape), Distortion(line_flicker=0.1)
    lifted = Measurement(RAMP + 100, np.ones(RAMP.shape, bool), black_level=100.0)
    plain, above = (measure(frame, path, distortion=distortion, rng=0).values for frame in (RAMP, lifted))
    np.testing.assert_allclose(above - 100, plain, atol=1e-9)


def test_flyback_decays_along_each_line():
    hardware = ScanHardware(lag_us=0, flyback_us=70)
    path = scan_path("raster", (20, 60), dwell_us=3.0, hardware=hardware)
    rows, cols = displaced(path, Distortion(flyback_px=4.0, flyback_decay_us=25.0))
    np.testing.assert_array_equal(rows, path.rows)
    expected = 4 * np.exp(-3 * np.arange(60) / 25)
    np.testing.assert_allclose((cols - path.cols).reshape(20, 60), np.tile(expected, (20, 1)), atol=1e-12)


def test_amounts_add_up_on_the_landing():
    hardware = ScanHardware(lag_us=3.0, settling_us=2.0, hysteresis_px=0.3)
    path = scan_path("random", (40, 40), 0.3, rng=0, dwell_us=4.0, hardware=hardware)
    landing = path.landing()
    for got, lands in zip(displaced(path, Distortion()), landing, strict=True):
        np.testing.assert_array_equal(got, lands)
    drift, jitter = Distortion(drift_px_per_s=(50.0, 90.0)), Distortion(line_jitter_px=1.0, flyback_px=2.0)
    both = Distortion(drift_px_per_s=(50.0, 90.0), line_jitter_px=1.0, flyback_px=2.0)
    for k in (0, 1):
        parts = displaced(path, drift, rng=7)[k] + displaced(path, jitter, rng=7)[k] - landing[k]
        np.testing.assert_allclose(displaced(path, both, rng=7)[k], parts, atol=1e-9)


def test_lag_shifts_a_ramp_by_its_closed_form_in_both_ways_of_counting():
    frame = np.broadcast_to(np.arange(64.0) / 64, (16, 64))
    path = scan_path("raster", frame.shape, dwell_us=5.0, hardware=ScanHardware(lag_us=2.0, flyback_us=100))
    lagged = frame[:, 40:] - 0.4 / 64
    np.testing.assert_allclose(measure(frame, path, distortion=Distortion()).values[:, 40:], lagged, atol=1e-9)
    counted = measure(frame, path, peak_counts=1e12, distortion=Distortion(), rng=0)
    np.testing.assert_allclose(counted.values[:, 40:], lagged, atol=1e-4)
    detected = measure(frame, path, beam_current_pA=1e10, detector=Detector(), distortion=Distortion(), rng=0)
    np.testing.assert_allclose(detected.values[:, 40:] / 3.1207545e11, lagged, atol=1e-4)
    np.testing.assert_array_equal(measure(frame, path).values, frame)


def test_revisits_of_a_pixel_are_averaged_where_they_landed():
    path = ScanPath([0, 0, 0], [4, 5, 4], (8, 8), dwell_us=np.array([1.0, 2.0, 3.0]), hardware=IDEAL)
    frame = np.broadcast_to(np.arange(8.0), (8, 8))
    cols = displaced(path, Distortion(drift_px_per_s=(0.0, 1e5)))[1]
    scan = measure(frame, path, distortion=Distortion(drift_px_per_s=(0.0, 1e5)))
    assert scan.values[0, 4] == pytest.approx((cols[0] + 3 * cols[2]) / 4)


def test_lines_are_rows_of_rasters_and_serpentines_and_whole_hopping_lines():
    np.testing.assert_array_equal(line_numbers(raster((8, 9))), np.repeat(np.arange(8), 9))
    rows, cols = np.divmod(np.arange(72), 9)
    serpentine = ScanPath(rows, np.where(rows % 2, 8 - cols, cols), (8, 9))
    np.testing.assert_array_equal(line_numbers(serpentine), rows)
    hop = scan_path("line-hop", (64, 200), 0.125, rng=0)
    np.testing.assert_array_equal(line_numbers(hop), np.repeat(np.arange(8), 200))


def test_same_seed_same_places():
    path = raster((40, 40))
    distortion = Distortion(walk_px_per_sqrt_s=5.0, line_jitter_px=0.3, line_flicker=0.1)
    first, second, other = (measure(RAMP[:40, :40], path, distortion=distortion, rng=s).values for s in (1, 1, 2))
    assert first.tobytes() == second.tobytes()
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "fields",
    [
        {"drift_px_per_s": 3.0},
        {"drift_px_per_s": (1.0, float("nan"))},
        {"drift_px_per_s": (1.0, 2.0, 3.0)},
        {"walk_px_per_sqrt_s": -1},
        {"line_jitter_px": float("inf")},
        {"line_correlation": 1.0},
        {"line_correlation": -1.0},
        {"line_flicker": -0.1},
        {"flyback_px": float("nan")},
        {"flyback_decay_us": 0},
        {"line_jitter_px": "much"},
    ],
    ids=str,
)
def test_impossible_distortions_are_refused(fields):
    with pytest.raises(InputError, match=next(iter(fields))) as caught:
        Distortion(**fields)
    assert "\n" not in str(caught.value)
