"""The planner on studies whose law is known, without any network."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from segmentation.study.config import ScanChoice
from segmentation.study.costs import scan_costs_of
from segmentation.study.plan_figures import _name
from segmentation.study.plan_output import describe_plan, plan_record
from segmentation.study.planner import plan_from_rows
from segmentation.study.plans import Wish
from segmentation.study.response import fit_response
from segmentation.study.surface import SMOOTHING, MonotoneSurface
from segmentation.study.targets import METRICS, Target
from simulate import InputError, scan_path
from simulate.scan import electrons_per_us

SHAPE = (128, 128)
HOW = ScanChoice(beam_current_pA=20.0, hardware="conventional")
RATIOS, DOSES = (0.02, 0.05, 0.1, 0.2, 0.5), (5.0, 15.0, 50.0, 150.0, 500.0)
FULL = (0.1, 0.5, 3.0, 15.0, 80.0, 500.0)


def law(scheme, ratio, counts):
    """Return the expected F1: Poisson-disc scans are better than random ones, full scans pay for every pixel."""
    gain = {"random": 0.0, "poisson-disc": 0.35, "raster": -1.2}[scheme]
    return 0.95 / (1 + np.exp(-(1.1 * np.log(ratio * 20) + 0.8 * np.log(counts / 15) + gain + 1)))


def rows_of(scheme, ratio, counts, frames, rng, noise=0.03):
    shifts = {frame: np.random.default_rng([frame, 7]).normal(0, noise) for frame in frames}
    mean = law(scheme, ratio, counts)
    return [
        {
            "frame": f"scene-{frame}", "scheme": scheme, "ratio": ratio, "peak_counts": counts, "pairing": "",
            "recon": "r", "segmenter": "s", "mapping": "reconstruct", "error": "",
            "f1@0.5": mean + shifts[frame] + rng.normal(0, noise),
        }
        for frame in frames
    ]  # fmt: skip


def study(seed=0, frames=range(12), full=FULL, noise=0.03):
    rng = np.random.default_rng(seed)
    settings = [*product(("random", "poisson-disc"), RATIOS, DOSES), *(("raster", 1.0, counts) for counts in full)]
    return pd.DataFrame([row for setting in settings for row in rows_of(*setting, frames, rng, noise)])


def cheapest(target, least, max_time=math.inf):
    """Return the least true cost of any scan that truly reaches the target, by brute force."""
    best = math.inf
    rows = study()
    for scheme in ("random", "poisson-disc", "raster"):
        costs = scan_costs_of(scheme, rows[rows["scheme"] == scheme], HOW, SHAPE, 0.5)
        ratios = np.geomspace(0.02, 0.5, 120) if scheme != "raster" else np.ones(1)
        known = DOSES if scheme != "raster" else FULL
        ratio, counts = np.meshgrid(ratios, np.geomspace(min(known), max(known), 400))
        good = law(scheme, ratio, counts) >= target
        cost = (costs.dose if least == "dose" else costs.time_ms)(ratio, counts)
        good &= costs.time_ms(ratio, counts) <= max_time
        best = min(best, np.where(good, cost, np.inf).min())
    return best


def ask(rows, target, **wish):
    return plan_from_rows(rows, Wish((Target("f1", target),), **wish), HOW, SHAPE, pixel_size_nm=0.5)


@pytest.mark.parametrize("least", ["dose", "time"])
@pytest.mark.parametrize("target", [0.4, 0.6, 0.8])
def test_plans_reach_the_target_at_little_more_than_the_least_cost(target, least):
    for seed in range(4):
        found = ask(study(seed), target, least=least)
        assert found.reached
        assert law(found.best.scheme, found.best.ratio, found.best.peak_counts) > target - 0.03
        assert 0.75 < found.best.cost(least) / cheapest(target, least) < 1.5


def test_intervals_cover_one_further_frame_as_often_as_they_say():
    inside = total = 0
    for seed in range(10):
        found = ask(study(seed), 0.7)
        for choice in found.choices:
            expected = choice.expected["f1>0.7"]
            new = rows_of(choice.scheme, choice.ratio, choice.peak_counts, range(100, 140), np.random.default_rng(seed))
            values = np.clip([row["f1@0.5"] for row in new], 0, 1)
            inside += np.sum((values >= expected.frame_low) & (values <= expected.frame_high))
            total += len(values)
            assert expected.frame_low < expected.mean_low <= expected.mean <= expected.mean_high < expected.frame_high
    assert 0.88 < inside / total < 0.99


def test_budgets_are_kept_and_may_change_the_answer():
    rows = study()
    free = ask(rows, 0.7)
    limit = 0.5 * free.best.frame_time_ms
    hasty = ask(rows, 0.7, max_time_ms=limit)
    assert hasty.best.frame_time_ms <= limit
    assert hasty.best.dose >= free.best.dose
    assert hasty.best.dose < 1.5 * cheapest(0.7, "dose", limit)


def test_a_target_out_of_reach_is_said_to_be():
    found = ask(study(), 0.97)
    assert not found.reached
    assert found.choices == ()
    assert found.best.expected["f1>0.97"].mean == pytest.approx(0.93, abs=0.04)
    tight = ask(study(), 0.7, max_dose=0.4 * ask(study(), 0.7).best.dose)
    assert not tight.reached
    assert tight.best.probability < 0.5
    with pytest.raises(InputError, match="no scan of the study is within the budgets"):
        ask(study(), 0.7, max_dose=1e-6)


def test_fast_full_scans_are_chosen_where_they_are_cheaper():
    rows = study()
    rows.loc[rows["scheme"] == "raster", "f1@0.5"] = 0.9
    found = ask(rows, 0.8)
    assert found.best.full
    assert found.best.peak_counts == FULL[0]


def test_costs_that_differ_by_a_rounded_pixel_are_ties_which_the_better_figure_wins():
    rows = study(noise=1e-3)
    rows["f1@0.5"] = np.where(rows["scheme"] == "raster", 0.83, 0.99)
    rows.loc[rows["scheme"] == "poisson-disc", "f1@0.5"] = 0.6
    found = ask(rows, 0.5)
    assert [choice.scheme for choice in found.choices] == ["random", "raster", "poisson-disc"]
    random, raster, _ = found.choices
    assert raster.dose < random.dose < 1.02 * raster.dose
    told = describe_plan(found).splitlines()
    assert not told[0].startswith("Do not sub-sample")
    runners_up = [line for line in told if line.startswith("Runner-up")]
    assert "raster" in runners_up[0]
    assert ": f1 0.83 on average at " in runners_up[0]
    assert ": f1 0.6 on average at " in runners_up[1]
    slower = rows.assign(peak_counts=rows["peak_counts"].where(rows["scheme"] == "raster", 1.1 * rows["peak_counts"]))
    assert ask(slower, 0.5).best.full, "what costs a tenth more is no tie"


def test_a_least_cost_at_the_floor_of_the_study_is_said_to_be_no_minimum():
    rows = study(noise=1e-3).assign(**{"f1@0.5": 0.99})
    for least in ("dose", "time"):
        found = ask(rows, 0.5, least=least)
        told = describe_plan(found)
        assert told.count("(the least that was studied; less may do: try lower --ratios or --doses)") == 3
        assert "least by this way" not in told
        record = plan_record(found)
        assert record["best"]["at_floor"]
        assert all(one["at_floor"] for one in record["runners_up"])
    within = ask(study(), 0.7)
    assert not any(choice.at_floor for choice in within.choices)
    assert "the least that was studied" not in describe_plan(within)
    assert "least by this way, 90 %: " in describe_plan(within)
    best = replace(within.best, at_floor=True)
    assert f"90 %: {best.cost_low:.3g} or less to {best.cost_high:.3g} e-/Å²" in describe_plan(
        replace(within, choices=(best,))
    )


def test_several_targets_must_hold_at_once():
    rows = study()
    rows["recall@0.5"] = rows["f1@0.5"] - 0.1
    both = Wish((Target("f1", 0.7), Target("recall", 0.7)))
    found = plan_from_rows(rows, both, HOW, SHAPE, pixel_size_nm=0.5)
    alone = ask(rows, 0.8)
    assert found.best.dose == pytest.approx(alone.best.dose, rel=0.15)
    assert set(found.best.expected) == {"f1>0.7", "recall>0.7"}


def test_the_plan_itself_is_studied_and_rivals_only_where_the_answer_is_unsure():
    unsure = ask(study(noise=0.12, frames=range(5)), 0.7)
    scheme, ratio, counts = unsure.wanted[0]
    assert (scheme, ratio) == (unsure.best.scheme, pytest.approx(unsure.best.ratio, rel=0.01))
    assert counts == pytest.approx(unsure.best.peak_counts, rel=0.01)
    assert len(unsure.wanted) > 1, "a rival may be cheaper"
    extra = pd.DataFrame(rows_of(scheme, ratio, counts, range(5), np.random.default_rng(3), 0.12))
    again = ask(pd.concat([study(noise=0.12, frames=range(5)), extra]), 0.7)
    assert (scheme, ratio, counts) not in again.wanted
    sure = ask(study(noise=1e-4), 0.7)
    assert len(sure.wanted) == 1
    extra = pd.DataFrame(rows_of(*sure.wanted[0], range(12), np.random.default_rng(3), 1e-4))
    assert ask(pd.concat([study(noise=1e-4), extra]), 0.7).wanted == ()


def test_a_setting_is_studied_only_with_its_own_ratio_and_dose():
    """Each of them with another partner is no study of the two."""
    rows = study(noise=1e-4)
    scheme, ratio, counts = ask(rows, 0.7).wanted[0]
    apart = [(scheme, ratio, 500.0), (scheme, 0.5, counts)]
    extra = [row for one in apart for row in rows_of(*one, range(12), np.random.default_rng(3), 1e-4)]
    again = ask(pd.concat([rows, pd.DataFrame(extra)]), 0.7)
    assert again.wanted[:1] == ((scheme, float(f"{again.best.ratio:.3g}"), float(f"{again.best.peak_counts:.3g}")),)


def test_failed_cases_and_frames_without_particles_count_as_worst():
    rows = study()
    rows.loc[rows["scheme"] == "poisson-disc", "error"] = "InputError: nothing there"
    found = ask(rows, 0.7)
    assert found.failed == len(RATIOS) * len(DOSES) * 12
    assert "poisson-disc" not in {choice.scheme for choice in found.choices}
    empty = pd.DataFrame({"diameter_bias": [np.nan, -0.3, 5.0], "error": ["", "", ""]})
    np.testing.assert_allclose(METRICS["diameter_error"].values(empty), [1.0, 0.3, 1.0])


@pytest.mark.parametrize("scheme", ["random", "lissajous", "poisson-disc"])
def test_costs_between_ratios_are_those_of_the_paths(scheme):
    """Those that cross their own way visit pixels twice, which costs time and dose."""
    rows = study()
    how = replace(HOW, blanked=False)
    costs = scan_costs_of(scheme, rows[rows["scheme"] == "random"], how, SHAPE, 0.5)
    for ratio in (0.03, 0.07, 0.3, 0.4):
        path = scan_path(scheme, SHAPE, ratio, rng=9, dwell_us=float(costs.dwell_us(40)), hardware=how.scan_hardware)
        assert costs.time_ms(ratio, 40) == pytest.approx(path.frame_time_ms, rel=0.05)
        assert costs.dose(ratio, 40) == pytest.approx(path.dose_e_per_A2(20.0, 0.5), rel=0.05)
    blind = scan_costs_of("random", rows[rows["scheme"] == "random"], HOW, SHAPE, None)
    assert not blind.in_electrons
    assert blind.dose(0.25, 40) == pytest.approx(10.0, rel=1e-3)


def test_doses_below_the_shortest_dwell_cost_time_and_a_dimmer_beam():
    rows = study()
    costs = scan_costs_of("raster", rows[rows["scheme"] == "raster"], HOW, SHAPE, 0.5)
    shortest_us = HOW.scan_hardware.shortest_dwell_us
    counts = np.array([0.1, 0.5, 5.0, 50.0])
    times, doses = costs.time_ms(np.ones(4), counts), costs.dose(np.ones(4), counts)
    path = scan_path("raster", SHAPE, dwell_us=shortest_us, hardware=HOW.scan_hardware)
    assert times[:2] == pytest.approx(path.frame_time_ms)
    assert (np.diff(times[1:]) > 0).all()
    np.testing.assert_allclose(doses / counts, doses[-1] / 50.0)
    np.testing.assert_allclose(costs.current_pA(counts)[2:], 20.0)
    wanted_us = 0.5 / (electrons_per_us(20.0) * HOW.detected_share)
    assert costs.current_pA(0.5) == pytest.approx(20.0 * wanted_us / shortest_us)
    assert doses[1] == pytest.approx(path.dose_e_per_A2(float(costs.current_pA(0.5)), 0.5))


def test_surfaces_are_the_constrained_least_squares_ones():
    rng = np.random.default_rng(1)
    u, v = np.meshgrid([0.0, 1.0, 2.5, 3.0], [0.0, 0.5, 2.0], indexing="ij")
    surface = MonotoneSurface([0, 1, 2.5, 3], [0, 0.5, 2], u.ravel(), v.ravel(), rising=True)
    values = 0.1 * (u + v).ravel() + rng.normal(0, 0.3, u.size)
    found = surface.fit(values)
    steps, bends = surface._differences(), surface._bends()
    assert (steps @ found > -1e-9).all()
    assert np.isclose(steps @ found, 0, atol=1e-9).any(), "the constraints are at work"

    def loss(theta):
        return np.sum((theta - values) ** 2) + SMOOTHING * np.sum((bends @ theta) ** 2)

    rival = minimize(
        loss, np.full(u.size, values.mean()), method="SLSQP", tol=1e-12,
        constraints={"type": "ineq", "fun": lambda theta: steps @ theta}, options={"maxiter": 500},
    )  # fmt: skip
    np.testing.assert_allclose(found, rival.x, atol=1e-4)
    falling = MonotoneSurface([0, 1, 2.5, 3], [0, 0.5, 2], u.ravel(), v.ravel(), rising=False)
    np.testing.assert_allclose(falling.fit(-values), -found, atol=1e-9)


def test_surfaces_bridge_settings_without_data_and_stay_flat_beyond():
    u, v = np.array([0.0, 1.0, 2.0, 2.0]), np.array([0.0, 0.0, 0.0, 1.0])
    surface = MonotoneSurface([0, 1, 2], [0, 1], u, v, rising=True)
    knots = surface.fit([0.0, 0.2, 0.4, 0.6])
    assert 0.1 < (surface.weights([1.0], [1.0]) @ knots)[0] < 0.6
    np.testing.assert_allclose(surface.weights([9.0], [9.0]) @ knots, surface.weights([2.0], [1.0]) @ knots)


def test_a_response_without_spread_keeps_a_floor():
    response = fit_response(study(noise=0.0).query("scheme == 'random'"), METRICS["f1"])
    low, high = response.interval(0.1, 50)
    assert low[0] <= response.expected(0.1, 50)[0] <= high[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diameter_eror<0.02", "did you mean 'diameter_error'"),
        ("f1<0.9", "better the other way round"),
        ("diameter_error>0.02", "better the other way round"),
        ("f1>90", "out of range"),
        ("f1>", "expected a metric and a bound"),
        ("f1>nan", "expected a metric and a bound"),
        (3, "expected a metric and a bound"),
    ],
)
def test_targets_that_make_no_sense(text, message):
    with pytest.raises(InputError, match=message):
        Target.parse(text)


def test_targets_in_per_cent():
    assert Target.parse("f1 >= 90 %") == Target.parse("f1>0.9")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": range(3)}, "has 3 frames"),
        ({"counts": 0.0}, "no scans with noise"),
        ({"current": 0.0}, "no beam current"),
        ({"targets": ()}, "no target"),
        ({"least": "money"}, "expected 'dose' or 'time'"),
        ({"max_dose": -1.0}, "max_dose"),
        ({"confidence": 0.2}, "confidence"),
    ],
)
def test_what_cannot_be_planned_from(change, message):
    rows = study(frames=change.pop("frames", range(12)))
    if "counts" in change:
        rows["peak_counts"] = change.pop("counts")
    how = replace(HOW, beam_current_pA=change.pop("current", 20.0))
    with pytest.raises(InputError, match=message):
        plan_from_rows(rows, Wish(**{"targets": (Target("f1", 0.7),), **change}), how, SHAPE)


def test_the_mean_of_few_frames_is_known_as_well_as_is_said():
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shifts = rng.normal(0, 0.1, 4)
        rows = pd.DataFrame({
            "frame": np.repeat([f"f{k}" for k in range(4)], 2), "ratio": [0.1, 0.3] * 4, "peak_counts": 50.0,
            "f1@0.5": np.add.outer(shifts, [0.5, 0.7]).ravel() + rng.normal(0, 0.02, 8), "error": "",
        })  # fmt: skip
        low, high = np.quantile(fit_response(rows, METRICS["f1"], rng=seed).samples(0.1, 50.0), [0.05, 0.95])
        inside += low <= 0.5 <= high
    assert 48 <= inside <= 59


def test_sparse_rasters_and_full_scans_are_two_ways_without_extrapolation():
    """Full scans have far lower counts than any sparse raster: between the two nothing was studied."""
    rng = np.random.default_rng(0)
    settings = [*product(("raster",), RATIOS, DOSES), *(("raster", 1.0, counts) for counts in FULL)]
    rows = pd.DataFrame([row for setting in settings for row in rows_of(*setting, range(12), rng)])
    found = ask(rows.assign(**{"f1@0.5": 0.9}), 0.5)
    assert [way.full for way in found.ways] == [False, True]
    sparse, full = (way.grid() for way in found.ways)
    assert (sparse[0].max(), sparse[1].min()) == (max(RATIOS), min(DOSES))
    assert set(full[0]) == {1.0}
    assert {(choice.full, choice.ratio, choice.peak_counts) for choice in found.choices} == {
        (False, min(RATIOS), min(DOSES)), (True, 1.0, min(FULL))
    }  # fmt: skip
    assert [_name(way).split(":")[0] for way in found.ways] == ["raster", "fast full scan, denoised"]


def test_ratios_that_cannot_be_scanned_are_left_out_and_told_of():
    """Line schemes reach no less than one line; such cases fail, and the plan goes by the others."""
    rng = np.random.default_rng(0)
    lines = [
        row for setting in product(("random",), (0.003, *RATIOS), DOSES) for row in rows_of(*setting, range(12), rng)
    ]
    lines = pd.DataFrame(lines).assign(scheme="lines", recon="q")
    lines.loc[lines["ratio"] == 0.003, "error"] = "InputError: one line is more"
    found = ask(pd.concat([study(), lines]), 0.7)
    way = next(way for way in found.ways if way.way[0] == "lines")
    assert way.grid()[0].min() == 0.02
    (told,) = found.left_out
    assert told.startswith("lines at 0.3 %: ")
    assert f"Left out: {told}" in describe_plan(found)
    assert plan_record(found)["left_out"] == [told]
    with pytest.raises(InputError, match=r"no scan of the study can be made: lines at 0.3 %: .*one line"):
        ask(lines[lines["ratio"] == 0.003], 0.7)


def test_a_guided_scheme_of_which_every_case_failed_is_left_out():
    guided = study().query("scheme == 'random'").assign(
        scheme="adaptive", error="InputError: no sigma", frame_time_ms=np.nan, n_positions=np.nan, dwell_us=np.nan
    )  # fmt: skip
    found = ask(pd.concat([study(), guided]), 0.7)
    assert "adaptive" not in {way.way[0] for way in found.ways}
    assert found.left_out[0] == "adaptive at 2 %: all its cases failed, the first by InputError: no sigma"
    with pytest.raises(InputError) as refused:
        ask(pd.concat([study(), guided]), 0.7, max_dose=1e-6)
    told = str(refused.value)
    assert "within the budgets (1e-06 e-/Å²); expected at least" in told
    assert f"({len(guided)} cases failed, the first by InputError: no sigma)" in told
    assert "nan" not in told
    assert "inf " not in told
    with pytest.raises(InputError, match=r"no scan of the study can be made: .* the first by InputError: no sigma"):
        ask(guided, 0.7)


def test_the_search_has_no_points_that_are_studied_ones_but_for_rounding():
    rows = study()
    rows["ratio"] = rows["ratio"].replace({0.5: 0.3})
    for way in ask(rows, 0.7).ways:
        for axis, known in zip(way.grid(), way.settings.T, strict=True):
            points = np.unique(axis)
            assert set(known) <= set(points)
            assert (np.diff(np.log(points)) > 1e-6).all()
