"""Every registered scan scheme, by the same tests: a new one gets them free."""

import numpy as np
import pytest

from simulate import InputError, ScanPath, ScanTiming, scan_path, schemes

LINES = {"lines", "line-hop", "raster"}
SHAPES = [(64, 64), (96, 50), (33, 71)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("ratio", [0.02, 0.1, 0.37, 1.0])
@pytest.mark.parametrize("scheme", schemes.names)
class TestEveryScheme:
    def test_the_ratio_is_met_and_reported(self, scheme, ratio, shape):
        if scheme in LINES and ratio * shape[0] < 0.5:
            pytest.skip("less than one line")
        path = scan_path(scheme, shape, ratio, rng=3)
        assert path.mask.shape == shape
        assert path.ratio == np.count_nonzero(path.mask) / path.mask.size
        pixels = path.mask.size
        allowed = {
            "bernoulli": 5 * np.sqrt(ratio * (1 - ratio) / pixels) + 1 / pixels,
            "spiral": 0.06 * ratio + 0.01,
            **dict.fromkeys(LINES, 0.5001 / shape[0]),
        }
        assert abs(path.ratio - ratio) <= allowed.get(scheme, 1 / pixels)

    def test_no_pixel_is_visited_twice(self, scheme, ratio, shape):
        if scheme in LINES and ratio * shape[0] < 0.5:
            pytest.skip("less than one line")
        path = scan_path(scheme, shape, ratio, rng=3)
        assert path.visits.max() == 1
        assert path.visits.sum() == path.n_positions

    def test_the_same_seed_gives_the_same_scan(self, scheme, ratio, shape):
        if scheme in LINES and ratio * shape[0] < 0.5:
            pytest.skip("less than one line")
        first, second = (scan_path(scheme, shape, ratio, rng=11) for _ in range(2))
        np.testing.assert_array_equal(first.rows, second.rows)
        np.testing.assert_array_equal(first.cols, second.cols)


@pytest.mark.parametrize("scheme", ["random", "bernoulli", "jittered-grid", "lines", "line-hop"])
def test_another_seed_gives_another_scan(scheme):
    assert not np.array_equal(
        scan_path(scheme, (64, 64), 0.2, rng=1).mask, scan_path(scheme, (64, 64), 0.2, rng=2).mask
    )


def test_full_ratio_is_every_pixel():
    for scheme in schemes.names:
        assert scan_path(scheme, (40, 60), 1.0, rng=0).mask.all(), scheme


def test_jittered_grid_covers_evenly():
    path = scan_path("jittered-grid", (128, 128), 0.1, rng=0)
    blocks = path.mask.reshape(8, 16, 8, 16).sum(axis=(1, 3))
    random = scan_path("random", (128, 128), 0.1, rng=0).mask.reshape(8, 16, 8, 16).sum(axis=(1, 3))
    assert blocks.var() < 0.5 * random.var()


def test_line_hop_moves_by_at_most_one_row_and_stays_in_its_band():
    path = scan_path("line-hop", (64, 200), 0.125, rng=0)
    rows = path.rows.reshape(8, 200)
    assert np.abs(np.diff(rows, axis=1)).max() <= 1
    assert (rows // 8 == np.arange(8)[:, None]).all()


def test_spiral_runs_outwards_without_jumps():
    path = scan_path("spiral", (101, 101), 0.2)
    radius = np.hypot(path.rows - 50.0, path.cols - 50.0)
    inside = radius < 45
    steps = np.hypot(np.diff(path.rows), np.diff(path.cols))[inside[1:] & inside[:-1]]
    assert steps.max() < 2
    assert np.polyfit(np.arange(inside.sum()), radius[inside] ** 2, 1)[0] > 0


def test_frame_time_is_dwell_settling_and_flyback():
    rows, cols = np.divmod(np.arange(64), 8)
    path = ScanPath(rows, cols, (8, 8), dwell_us=10, timing=ScanTiming(settling_us=2, flyback_us=50))
    assert path.frame_time_ms == pytest.approx((64 * 10 + 7 * 2 + 7 * 50) / 1000)
    serpentine = np.where(rows % 2, 7 - cols, cols)
    path = ScanPath(rows, serpentine, (8, 8), dwell_us=10, timing=ScanTiming(settling_us=2, flyback_us=50))
    assert path.frame_time_ms == pytest.approx(0.64)


def test_dose_is_current_times_time_over_area():
    path = scan_path("raster", (100, 100), dwell_us=10)
    # 1 pA for 10 us on each of 1 nm x 1 nm: 62.4 electrons on 100 square angstroms.
    assert path.dose_e_per_A2(1.0, 1.0) == pytest.approx(1e-12 * 1e-5 / 1.602176634e-19 / 100)
    sparse = scan_path("random", (100, 100), 0.1, rng=0, dwell_us=10)
    assert sparse.dose_e_per_A2(1.0, 1.0) == pytest.approx(0.1 * path.dose_e_per_A2(1.0, 1.0))


@pytest.mark.parametrize("ratio", [0, -0.1, 1.01, float("nan"), float("inf"), "ten"])
def test_a_bad_ratio_is_refused(ratio):
    with pytest.raises(InputError, match="sampling ratio"):
        scan_path("random", (32, 32), ratio)


def test_a_misspelt_scheme_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'random'"):
        scan_path("randm", (32, 32), 0.1)


def test_a_line_scheme_says_what_it_can_reach():
    with pytest.raises(InputError, match=r"at least 0\.0312"):
        scan_path("lines", (32, 32), 0.001)


@pytest.mark.parametrize(
    "arguments",
    [
        {"rows": [0, 1], "cols": [0], "shape": (8, 8)},
        {"rows": [0, 8], "cols": [0, 0], "shape": (8, 8)},
        {"rows": [-1], "cols": [0], "shape": (8, 8)},
        {"rows": [0.5], "cols": [0], "shape": (8, 8)},
        {"rows": [], "cols": [], "shape": (8, 8)},
        {"rows": [0], "cols": [0], "shape": (1, 64)},
        {"rows": [0], "cols": [0], "shape": (8, 8), "dwell_us": 0},
    ],
)
def test_a_bad_path_is_refused(arguments):
    with pytest.raises(InputError):
        ScanPath(**arguments)
