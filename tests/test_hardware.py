"""What a scan costs in time and dose, and where its beam lands: closed forms."""

from dataclasses import replace

import numpy as np
import pytest

from simulate import InputError, ScanHardware, ScanPath, scan_path
from simulate.hardware import HARDWARE, hardware_by_name
from simulate.scan import ELEMENTARY_CHARGE_C

IDEAL = HARDWARE["ideal"]
E_PER_PA_US = 1e-18 / ELEMENTARY_CHARGE_C


def full(shape, *, serpentine=False, **options):
    rows, cols = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    return ScanPath(rows, np.where(rows % 2, shape[1] - 1 - cols, cols) if serpentine else cols, shape, **options)


def line(cols, **options):
    return ScanPath(np.zeros(len(cols), int), cols, (8, max(8, max(cols) + 1)), **options)


class TestTime:
    def test_a_raster_waits_for_its_flybacks_and_a_serpentine_does_not(self):
        hardware = ScanHardware(settling_us=2, flyback_us=50)
        assert full((8, 12), hardware=hardware).frame_time_ms == pytest.approx((96 * 10 + 7 * 50) / 1000)
        assert full((8, 12), serpentine=True, hardware=hardware).frame_time_ms == pytest.approx(0.96)

    def test_settling_rules_where_it_is_longer_than_the_flyback(self):
        assert full((8, 12), hardware=ScanHardware(settling_us=80, flyback_us=50)).moves_us.sum() == 7 * 80

    def test_the_wait_is_slewing_and_settling_by_distance(self):
        hardware = ScanHardware(lag_us=3.0, slew_px_per_us=20.0, tolerance_px=0.25)
        distance = np.array([0.0, 1.0, np.sqrt(2), 2.0, 30.0, 500.0])
        jump = distance[3:]
        expected = np.concatenate([np.zeros(3), jump / 20 + 3 * np.log(jump / 0.25)])
        np.testing.assert_allclose(hardware.wait_us(distance), expected)
        path = line([0, 1, 31, 33], hardware=hardware)
        np.testing.assert_allclose(path.moves_us, [0, 0, 1.5 + 3 * np.log(120), 0.1 + 3 * np.log(8)])

    def test_blanking_costs_time_at_each_jump(self):
        plain, blanking = (line([0, 1, 5, 9], hardware=ScanHardware(blanking_us=b)) for b in (0, 0.7))
        np.testing.assert_allclose(blanking.moves_us - plain.moves_us, [0, 0, 0.7, 0.7])
        open_beam = line([0, 1, 5, 9], hardware=ScanHardware(blanking_us=0.7, blanked=False))
        np.testing.assert_array_equal(open_beam.moves_us, plain.moves_us)

    def test_a_jump_back_is_a_flyback_only_to_a_later_row_over_half_the_frame(self):
        hardware = replace(IDEAL, flyback_us=50)
        path = ScanPath([0, 0, 1, 1, 0, 0, 1], [0, 7, 0, 7, 0, 7, 3], (8, 8), hardware=hardware)
        np.testing.assert_array_equal(path.moves_us, [0, 0, 50, 0, 0, 0, 0])

    def test_starts_are_the_dwells_and_moves_before(self):
        dwell = np.array([1.0, 2.0, 4.0])
        path = line([0, 5, 6], dwell_us=dwell, hardware=ScanHardware(settling_us=3))
        np.testing.assert_allclose(path.starts_us, [0, 4, 6])
        assert path.frame_time_ms == pytest.approx((path.starts_us[-1] + dwell[-1]) / 1000)

    def test_jumps_add_up_to_the_travel(self):
        path = ScanPath([0, 3, 3], [0, 4, 5], (8, 8))
        np.testing.assert_array_equal(path.jumps_px, [0, 5, 1])
        assert path.travel_px == 6


class TestDose:
    def test_dose_is_current_times_time_over_area(self):
        path = scan_path("raster", (100, 100), dwell_us=10)
        # 1 pA for 10 µs on each pixel of 1 nm x 1 nm: 62.4 electrons on 100 square ångström.
        assert path.dose_e_per_A2(1.0, 1.0) == pytest.approx(10 * E_PER_PA_US / 100)
        sparse = scan_path("random", (100, 100), 0.1, rng=0, dwell_us=10)
        assert sparse.dose_e_per_A2(1.0, 1.0) == pytest.approx(0.1 * path.dose_e_per_A2(1.0, 1.0))
        assert path.dose_e_per_A2(1.0, (0.5, 2.0)) == pytest.approx(path.dose_e_per_A2(1.0, 1.0))

    def test_each_visit_adds_its_dwell(self):
        dwell = np.array([1.0, 2.0, 4.0, 8.0])
        path = line([0, 1, 0, 2], dwell_us=dwell, hardware=IDEAL)
        assert path.dwell_map_us[0, :4].tolist() == [5, 2, 8, 0]
        assert path.visits[0, :4].tolist() == [2, 1, 1, 0]
        np.testing.assert_allclose(path.dose_e_per_pixel(3.0), 3 * E_PER_PA_US * path.dwell_map_us)
        assert path.electrons(3.0) == pytest.approx(45 * E_PER_PA_US)

    @pytest.mark.parametrize("blanked", [True, False])
    @pytest.mark.parametrize("scheme", ["random", "raster", "spiral", "line-hop"])
    def test_no_electron_is_lost(self, scheme, blanked):
        hardware = ScanHardware(lag_us=2, slew_px_per_us=5, blanked=blanked)
        path = scan_path(scheme, (48, 40), 0.3, rng=0, dwell_us=2.0, hardware=hardware)
        path = replace(path, dwell_us=np.random.default_rng(0).uniform(1, 9, path.n_positions))
        assert path.dose_e_per_pixel(5.0).sum() == pytest.approx(path.electrons(5.0))
        on_us = path.dwells_us.sum() + (0 if blanked else path.moves_us.sum())
        assert path.electrons(5.0) == pytest.approx(5 * E_PER_PA_US * on_us)

    def test_an_open_beam_leaves_its_trail_on_the_straight_way(self):
        hardware = ScanHardware(settling_us=6, blanked=False)
        path = ScanPath([0, 3], [0, 6], (8, 8), dwell_us=1.0, hardware=hardware)
        dose = path.dose_e_per_pixel(1 / E_PER_PA_US)
        assert (dose[0, 0], dose[3, 6]) == (pytest.approx(1), pytest.approx(1))
        np.testing.assert_allclose(dose[[1, 1, 2, 2, 3], [1, 2, 3, 4, 5]], 6 / 5)
        assert dose.sum() == pytest.approx(8)


class TestLanding:
    def test_no_lag_lands_where_it_was_sent(self):
        path = scan_path("random", (64, 64), 0.2, rng=0, hardware=IDEAL)
        rows, cols = path.landing()
        np.testing.assert_array_equal(rows, path.rows)
        np.testing.assert_array_equal(cols, path.cols)

    def test_a_single_jump_decays_to_its_target(self):
        hardware = ScanHardware(lag_us=4.0, settling_us=6.0)
        path = ScanPath([2, 7, 7], [1, 41, 42], (8, 64), dwell_us=np.array([5.0, 3.0, 2.0]), hardware=hardware)
        rows, cols = path.landing()
        assert (rows[0], cols[0]) == (2, 1)
        left = np.exp(-6 / 4)  # of the jump, when the dwell begins

        def mean(error, dwell):
            return error * 4 / dwell * (1 - np.exp(-dwell / 4))

        assert cols[1] == pytest.approx(41 - mean(40 * left, 3))
        assert rows[1] == pytest.approx(7 - mean(5 * left, 3))
        after = left * np.exp(-3 / 4)
        assert cols[2] == pytest.approx(42 - mean(40 * after + 1, 2))
        assert rows[2] == pytest.approx(7 - mean(5 * after, 2))

    def test_time_spent_slewing_does_not_settle(self):
        hardware = ScanHardware(lag_us=4.0, settling_us=6.0, slew_px_per_us=10.0)
        _, cols = line([0, 40], dwell_us=3.0, hardware=hardware).landing()
        assert cols[1] == pytest.approx(40 - 40 * np.exp(-2 / 4) * 4 / 3 * (1 - np.exp(-3 / 4)))

    @pytest.mark.parametrize("slew", [np.inf, 7.0])
    def test_the_wait_by_distance_leaves_the_tolerance(self, slew):
        hardware = ScanHardware(lag_us=2.0, tolerance_px=0.2, slew_px_per_us=slew)
        for distance in (2, 10, 500):
            _, cols = line([0, distance], dwell_us=1e-6, hardware=hardware).landing()
            assert distance - cols[1] == pytest.approx(0.2, rel=1e-5)

    def test_a_steady_sweep_trails_by_lag_over_dwell(self):
        _, cols = line(range(64), dwell_us=5.0, hardware=ScanHardware(lag_us=2.0)).landing()
        np.testing.assert_allclose(np.arange(40, 64) - cols[40:], 2 / 5, rtol=1e-9)

    def test_forward_and_backward_sweeps_differ_by_the_dead_band(self):
        there, back = np.arange(30), np.arange(28, -1, -1)
        path = line([*there, *back], hardware=replace(IDEAL, hysteresis_px=0.8))
        rows, cols = path.landing()
        np.testing.assert_array_equal(rows, 0)
        forward, backward = cols[:30], cols[30:]
        np.testing.assert_allclose(forward[1:], there[1:] - 0.4)
        np.testing.assert_allclose(backward, back + 0.4)

    def test_a_move_within_the_dead_band_moves_nothing(self):
        _, cols = line([5, 6, 5, 6], hardware=replace(IDEAL, hysteresis_px=2.5)).landing()
        np.testing.assert_array_equal(cols, 5)

    def test_hysteresis_and_lag_act_one_after_the_other(self):
        path = line(range(64), dwell_us=5.0, hardware=ScanHardware(lag_us=2.0, hysteresis_px=0.5))
        np.testing.assert_allclose(np.arange(40, 64) - path.landing()[1][40:], 0.25 + 0.4, rtol=1e-9)


class TestThen:
    def test_it_goes_on_with_its_own_dwell_times(self):
        first, second = line([0, 1], dwell_us=2.0), line([5, 7], dwell_us=3.0)
        both = first.then(second)
        assert both.cols.tolist() == [0, 1, 5, 7]
        assert both.dwells_us.tolist() == [2, 2, 3, 3]
        jump = both.hardware.wait_us(np.array([4.0]))[0]
        assert both.frame_time_ms * 1000 == pytest.approx(
            (first.frame_time_ms + second.frame_time_ms) * 1000 + jump, rel=1e-12
        )
        assert np.ndim(first.then(first).dwell_us) == 0

    def test_another_frame_is_refused(self):
        with pytest.raises(InputError, match="expected the same frame"):
            full((8, 8)).then(full((8, 9)))


def test_the_callers_dwell_times_stay_their_own():
    dwell = np.array([1.0, 2.0])
    path = line([0, 1], dwell_us=dwell)
    dwell[:] = 9
    assert path.dwells_us.tolist() == [1, 2]


@pytest.mark.parametrize("name", HARDWARE)
def test_every_named_hardware_scans(name):
    path = scan_path("random", (32, 32), 0.2, rng=0, hardware=hardware_by_name(name))
    assert path.frame_time_ms >= path.dwells_us.sum() / 1000
    rows, cols = path.landing()
    assert min(rows.min(), cols.min()) >= 0
    assert max(rows.max(), cols.max()) <= 31
    assert np.median(np.hypot(rows - path.rows, cols - path.cols)) < 0.5


def test_a_misspelt_hardware_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'ideal'"):
        hardware_by_name("idael")


@pytest.mark.parametrize(
    "fields",
    [
        {"lag_us": -1},
        {"lag_us": float("nan")},
        {"lag_us": None},
        {"lag_us": "fast"},
        {"settling_us": -0.1},
        {"flyback_us": float("inf")},
        {"blanking_us": -1},
        {"shortest_dwell_us": -0.1},
        {"hysteresis_px": -1},
        {"slew_px_per_us": 0},
        {"slew_px_per_us": float("nan")},
        {"tolerance_px": 0},
        {"tolerance_px": None},
    ],
    ids=str,
)
def test_impossible_hardware_is_refused(fields):
    with pytest.raises(InputError, match=next(iter(fields))) as caught:
        ScanHardware(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dwell_us": 0}, "dwell time is 0"),
        ({"dwell_us": "long"}, "expected a number"),
        ({"dwell_us": [1.0]}, "one per visit"),
        ({"dwell_us": [[1.0, 2.0]]}, "one per visit"),
        ({"dwell_us": [1.0, -2.0]}, "above 0"),
        ({"dwell_us": [1.0, float("nan")]}, "finite"),
        ({"dwell_us": ["1", "2"]}, "expected real numbers"),
        ({"hardware": "slow"}, "expected a ScanHardware"),
    ],
    ids=str,
)
def test_a_bad_path_is_refused(options, message):
    with pytest.raises(InputError, match=message) as caught:
        ScanPath([0, 1], [0, 0], (8, 8), **options)
    assert "\n" not in str(caught.value)


def test_blanked_is_a_truth_value():
    with pytest.raises(InputError, match="expected True or False"):
        ScanHardware(blanked="false")


def test_a_dose_by_area_needs_the_pixel_size():
    with pytest.raises(InputError, match="pixel size is None"):
        ScanPath([0, 1], [0, 1], (8, 8)).dose_e_per_A2(20, None)
