"""What a measurement keeps, what it refuses, and that detection obeys Poisson's law."""

from dataclasses import replace

import numpy as np
import pytest

from simulate import InputError, Measurement, ScanPath, measure, scan_path
from simulate.measurement import join_measurements

FRAME = np.add.outer(np.arange(16.0), np.arange(12.0))
MASK = np.indices((16, 12)).sum(axis=0) % 3 == 0


def test_a_zero_is_a_count_like_any_other():
    values = FRAME.copy()
    values[MASK] = np.where(np.arange(MASK.sum()) % 2, 0.0, 5.0)
    scan = Measurement(values, MASK)
    assert scan.ratio == MASK.mean()
    np.testing.assert_array_equal(scan.mask, MASK)
    assert (scan.samples == 0).sum() == MASK.sum() // 2


def test_values_on_the_grid_and_in_a_list_are_the_same():
    on_grid, listed = Measurement(FRAME, MASK), Measurement(FRAME[MASK], MASK)
    np.testing.assert_array_equal(on_grid.values, listed.values)
    assert (on_grid.values[~MASK] == 0).all()


def test_values_outside_the_mask_are_never_read():
    values = np.where(MASK, FRAME, np.nan)
    np.testing.assert_array_equal(Measurement(values, MASK).values, Measurement(FRAME, MASK).values)


def test_the_callers_arrays_stay_their_own():
    mask = MASK.copy()
    scan = Measurement(FRAME, mask)
    mask[:] = False
    assert scan.mask.any()


@pytest.mark.parametrize(
    ("values", "mask", "options", "message"),
    [
        (FRAME, MASK[:, :-1], {}, "shape"),
        (FRAME, np.zeros_like(MASK), {}, "samples no pixel"),
        (np.where(MASK, np.nan, FRAME), MASK, {}, "NaN or infinite"),
        (np.where(MASK, np.inf, FRAME), MASK, {}, "NaN or infinite"),
        (np.ones_like(FRAME), MASK, {}, "expected a frame with contrast"),
        (FRAME[:1], MASK[:1], {}, "at least 8 x 8"),
        (FRAME.astype(complex), MASK, {}, "real numbers"),
        (FRAME, np.arange(FRAME.size).reshape(FRAME.shape), {}, "different values"),
        (FRAME, MASK, {"pixel_size_nm": 0}, "pixel size is 0"),
        (FRAME, MASK, {"pixel_size_nm": (1, 2, 3)}, "3 entries"),
        (FRAME, MASK, {"counts_per_unit": -1}, "counts_per_unit"),
        (FRAME, MASK, {"read_noise": -1}, "read_noise"),
        (FRAME, MASK, {"exposure": np.zeros_like(FRAME)}, "exposure"),
        (FRAME, MASK, {"black_level": "dark"}, "black_level is 'dark'; expected a finite number"),
        (FRAME, MASK, {"exposure": "long"}, "exposure: got the type"),
        (FRAME, MASK, {"exposure": np.ones((3, 3))}, "exposure has shape"),
        (FRAME, MASK, {"exposure": 1e-9 + np.indices(FRAME.shape)[0]}, "expected a range of at most 1e\\+06"),
    ],
)
def test_bad_input_is_one_clear_line(values, mask, options, message):
    with pytest.raises(InputError, match=message) as caught:
        Measurement(values, mask, **options)
    assert "\n" not in str(caught.value)


def test_counts_have_poisson_mean_and_variance():
    frame = np.tile([1.0, 4.0], (128, 64))
    scan = measure(frame, scan_path("raster", frame.shape), peak_counts=40, rng=0)
    for level in (1.0, 4.0):
        values = scan.values[frame == level]
        sigma = scan.noise_sigma(level)
        assert values.mean() == pytest.approx(level, abs=4 * sigma / np.sqrt(values.size))
        assert values.var() == pytest.approx(sigma**2, rel=0.08)
    np.testing.assert_allclose(scan.values * scan.counts_per_unit, np.round(scan.values * scan.counts_per_unit))


def test_read_noise_adds_its_variance():
    frame = np.tile([1.0, 4.0], (128, 64))
    scan = measure(frame, scan_path("raster", frame.shape), peak_counts=40, read_noise_counts=5, rng=0)
    values = scan.values[frame == 1.0]
    assert values.var() * scan.counts_per_unit**2 == pytest.approx(10 + 25, rel=0.08)
    assert scan.noise_sigma(1.0) ** 2 * scan.counts_per_unit**2 == pytest.approx(35)


def test_repeated_visits_are_averaged_and_weigh_more():
    frame = np.full((64, 64), 2.0)
    frame[0, 0] = 4.0
    rows, cols = np.divmod(np.arange(64 * 64), 64)
    path = ScanPath(np.tile(rows, 4), np.tile(cols, 4), frame.shape)
    scan = measure(frame, path, peak_counts=100, rng=0)
    assert scan.exposure is not None
    assert (scan.exposure == 4).all()
    assert scan.values[1:].var() == pytest.approx(scan.noise_sigma(2.0) ** 2 / 4, rel=0.1)


def test_a_negative_frame_counts_from_its_minimum():
    frame = FRAME - 10
    scan = measure(frame, scan_path("raster", frame.shape), peak_counts=1e6, rng=0)
    np.testing.assert_allclose(scan.values, frame, atol=0.2)
    assert scan.black_level == -10


def test_a_read_frame_brings_its_pixel_size_along():
    full = Measurement(FRAME, np.ones_like(MASK), pixel_size_nm=0.7, name="grid")
    scan = measure(full, scan_path("random", FRAME.shape, 0.5, rng=0))
    assert (scan.pixel_size_nm, scan.name) == (0.7, "grid")
    with pytest.raises(InputError, match="itself a sparse scan"):
        measure(scan, scan_path("random", FRAME.shape, 0.5, rng=0))


def test_same_seed_same_counts():
    path = scan_path("random", FRAME.shape, 0.5, rng=0)
    first, second = (measure(FRAME, path, peak_counts=9, rng=5).values for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, measure(FRAME, path, peak_counts=9, rng=6).values)


@pytest.mark.parametrize("options", [{"peak_counts": 0}, {"peak_counts": np.nan}, {"read_noise_counts": 3}])
def test_bad_doses_are_refused(options):
    with pytest.raises(InputError):
        measure(FRAME, scan_path("raster", FRAME.shape), **options)


def test_a_path_of_another_shape_is_refused():
    with pytest.raises(InputError, match="make them equal"):
        measure(FRAME, scan_path("raster", (16, 16)))


@pytest.mark.parametrize(
    ("values", "mask", "message"),
    [
        (FRAME, np.where(MASK, 1.0, np.nan), "mask holds NaN"),
        (FRAME, MASK.astype(complex), "mask: got the type complex128"),
        (np.ma.masked_array(FRAME, ~MASK), MASK, "masked array"),
        (FRAME * 1e35, MASK, "at most 1e\\+30"),
    ],
)
def test_ambiguous_masks_and_endless_values_are_refused(values, mask, message):
    with pytest.raises(InputError, match=message):
        Measurement(values, mask)


@pytest.mark.parametrize("seed", [-1, "x", 1.5])
def test_bad_seeds_are_refused(seed):
    for call in (
        lambda: scan_path("random", (16, 16), 0.5, rng=seed),
        lambda: measure(FRAME, scan_path("raster", FRAME.shape), peak_counts=5, rng=seed),
    ):
        with pytest.raises(InputError, match="seed is"):
            call()


def test_two_scans_of_one_frame_join_into_one():
    first, second = (ScanPath(*np.nonzero(part), FRAME.shape) for part in (MASK, ~MASK))
    parts = [measure(FRAME, path, peak_counts=30, rng=k) for k, path in enumerate((first, second))]
    joined = join_measurements(*parts, first.then(second))
    assert joined.mask.all()
    np.testing.assert_array_equal(joined.values[MASK], parts[0].samples)
    np.testing.assert_array_equal(joined.values[~MASK], parts[1].samples)
    np.testing.assert_array_equal(joined.path.rows, np.concatenate([first.rows, second.rows]))
    assert joined.counts_per_unit == parts[0].counts_per_unit


@pytest.mark.parametrize("told", [0, 1])
def test_joined_scans_keep_their_own_exposures(told):
    """The one that has none was exposed once."""
    paths = [ScanPath(*np.nonzero(part), FRAME.shape) for part in (MASK, ~MASK)]
    parts = [measure(FRAME, path) for path in paths]
    parts[told] = replace(parts[told], exposure=3.0 * parts[told].mask)
    joined = join_measurements(*parts, paths[0].then(paths[1]))
    np.testing.assert_array_equal(joined.exposure, np.where(parts[told].mask, 3.0, 1.0))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda: measure(FRAME, ScanPath(*np.nonzero(MASK), FRAME.shape), peak_counts=30, rng=1), "disjoint"),
        (lambda: measure(FRAME, ScanPath(*np.nonzero(~MASK), FRAME.shape), peak_counts=20, rng=1), "counts_per_unit"),
        (lambda: measure(FRAME, ScanPath(*np.nonzero(~MASK), FRAME.shape, 3.0), peak_counts=30, rng=1), "mean dwell"),
        (lambda: measure(FRAME[:, :-1], scan_path("raster", (16, 11)), peak_counts=30, rng=1), "different frames"),
    ],
)
def test_scans_that_do_not_belong_together_are_not_joined(second, message):
    path = ScanPath(*np.nonzero(MASK), FRAME.shape)
    with pytest.raises(InputError, match=message):
        join_measurements(measure(FRAME, path, peak_counts=30, rng=0), second(), path)


@pytest.mark.parametrize("which", ["values", "mask", "exposure"])
def test_ragged_lists_are_one_line(which):
    arguments = {"values": FRAME, "mask": MASK, "exposure": None, which: [[1.0, 2.0], [3.0]]}
    with pytest.raises(InputError, match=f"{which}: got lists of different lengths"):
        Measurement(**arguments)


def test_numbers_of_a_float32_frame_become_pythons():
    scan = Measurement(
        FRAME, MASK, black_level=np.float32(0.5), read_noise=np.float32(0.1), counts_per_unit=np.int64(3)
    )
    assert {type(one) for one in (scan.black_level, scan.read_noise, scan.counts_per_unit)} == {float}
