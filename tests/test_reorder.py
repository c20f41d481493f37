"""Reordered scans visit the same pixels for the same time, on a shorter way."""

from itertools import pairwise

import numpy as np
import pytest

from simulate import InputError, ScanPath, scan_path
from simulate.kernels.hilbert import hilbert_index
from simulate.kernels.tour import nearest_first
from simulate.reorder import reorder

METHODS = ("hilbert", "serpentine", "nearest")
BOUND = 0.7124  # Beardwood, Halton and Hammersley's constant


def with_revisits():
    rng = np.random.default_rng(0)
    rows, cols = rng.integers(0, 37, 700), rng.integers(0, 90, 700)
    return ScanPath(rows, cols, (37, 90), dwell_us=rng.uniform(1, 9, 700), seed=0)


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    @pytest.mark.parametrize("shape", [(64, 64), (8, 300), (131, 50)], ids=str)
    @pytest.mark.parametrize("ratio", [0.002, 0.1, 1.0])
    def test_the_same_pixels_are_visited(self, method, ratio, shape):
        path = scan_path("random", shape, ratio, rng=1)
        got = reorder(path, method)
        np.testing.assert_array_equal(np.sort(got.flat), np.sort(path.flat))
        assert (got.shape, got.dwell_us, got.hardware) == (path.shape, path.dwell_us, path.hardware)
        assert got.scheme == f"random+{method}"

    def test_each_visit_keeps_its_dwell(self, method):
        path = with_revisits()
        got = reorder(path, method)
        pairs = [np.lexsort((p.dwells_us, p.flat)) for p in (path, got)]
        np.testing.assert_array_equal(path.flat[pairs[0]], got.flat[pairs[1]])
        np.testing.assert_array_equal(path.dwells_us[pairs[0]], got.dwells_us[pairs[1]])

    def test_the_way_is_near_the_bound_and_far_below_the_given_one(self, method):
        path = scan_path("random", (512, 512), 0.05, rng=0)
        bound = BOUND * np.sqrt(path.n_positions * 512 * 512)
        got = reorder(path, method)
        assert bound < got.travel_px < {"hilbert": 1.45, "serpentine": 1.38, "nearest": 1.32}[method] * bound
        assert got.travel_px < 0.2 * path.travel_px
        assert got.frame_time_ms < path.frame_time_ms

    def test_a_full_frame_is_left_without_a_jump(self, method):
        got = reorder(scan_path("raster", (64, 64)), method)
        assert got.travel_px == 64 * 64 - 1
        assert got.frame_time_ms == pytest.approx(got.dwells_us.sum() / 1000)

    def test_the_order_is_the_same_every_time(self, method):
        path = with_revisits()
        np.testing.assert_array_equal(reorder(path, method).dwells_us, reorder(path, method).dwells_us)

    def test_one_position_stays(self, method):
        got = reorder(ScanPath([3], [5], (8, 8)), method)
        assert (got.rows.tolist(), got.cols.tolist()) == ([3], [5])


@pytest.mark.parametrize("order", [1, 2, 5])
def test_the_hilbert_curve_passes_every_pixel_by_single_steps(order):
    side = 2**order
    rows, cols = np.divmod(np.arange(side * side), side)
    keys = hilbert_index(rows, cols, order)
    np.testing.assert_array_equal(np.sort(keys), np.arange(side * side))
    along = np.argsort(keys)
    assert (np.abs(np.diff(rows[along])) + np.abs(np.diff(cols[along])) == 1).all()
    assert (rows[along[0]], cols[along[0]], rows[along[-1]], cols[along[-1]]) == (0, 0, 0, side - 1)
    # A quarter of the curve lies in a quarter of the square: what makes near pixels near in time.
    for quarter in np.split(along, 4):
        assert np.ptp(rows[quarter]) == np.ptp(cols[quarter]) == side // 2 - 1


@pytest.mark.parametrize("cell", [1, 3, 50])
def test_nearest_goes_to_the_nearest_position_left(cell):
    rng = np.random.default_rng(1)
    rows, cols = rng.integers(0, 40, 150), rng.integers(0, 70, 150)
    order = nearest_first(rows, cols, 40, 70, cell)
    left = set(range(1, 150))
    for here, there in pairwise(order):
        squares = {k: (rows[k] - rows[here]) ** 2 + (cols[k] - cols[here]) ** 2 for k in left}
        assert squares[there] == min(squares.values())
        left.remove(there)
    assert order[0] == 0


def test_nearest_crosses_an_empty_frame():
    path = ScanPath([0, 500, 1, 501], [0, 700, 1, 701], (512, 800))
    assert reorder(path, "nearest").rows.tolist() == [0, 1, 500, 501]


def test_serpentine_keeps_full_lines():
    path = scan_path("lines", (64, 40), 0.25, rng=0)
    got = reorder(path, "serpentine")
    assert got.travel_px == 16 * 39 + np.ptp(path.rows)


@pytest.mark.parametrize("method", [["hilbert"], None, 1])
def test_an_order_is_a_name(method):
    with pytest.raises(InputError, match="unknown order"):
        reorder(scan_path("random", (16, 16), 0.1, rng=0), method)


def test_an_unknown_order_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'hilbert'"):
        reorder(scan_path("raster", (8, 8)), "hilbrt")
