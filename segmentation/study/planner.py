"""The planner: which scheme, sampling ratio and dwell time reach a target at the least dose or time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.study.costs import scan_costs_of
from segmentation.study.plans import DOSE, Choice, Expectation, Plan, WayFit, Wish
from segmentation.study.response import LEAST_FRAMES, Response, fit_response
from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from segmentation.study.config import ScanChoice
    from segmentation.study.costs import ScanCosts

WAY = ("scheme", "recon", "segmenter", "mapping")
SURE = 1.3
"""The cheapest cost is known well enough if its interval's ends differ by no more than this factor."""
NEAR = 1.1
"""Settings closer than this factor are the same to the planner."""
ASKED = 3
TIE = 1.02
"""Costs within this factor are the same: scans are of whole pixels, and the study does not know them any better."""


def plan_from_rows(
    rows: pd.DataFrame,
    wish: Wish,
    how: ScanChoice,
    shape: tuple[int, int],
    *,
    pixel_size_nm: float | None = None,
    rng: np.random.Generator | int = 0,
) -> Plan:
    """Return the cheapest acquisition that reaches the targets, by what a study has measured.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of a study with noise, on frames like the one that is to be scanned. Full scans beside which no sparse one
        stands are candidates too.
    wish : Wish
        Targets and budgets.
    how : ScanChoice
        Beam current, hardware and read noise of the study.
    shape : (int, int)
        Of the frame that will be scanned.
    pixel_size_nm : float, optional
        Its pixel size; without, doses are in electrons detected per pixel.
    rng : Generator or int
        Of the bootstrap.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If the study has fewer than 4 frames, none with noise, its doses differ by the beam current, none of its scans
        can be made, or none is within the budgets.

    Notes
    -----
    A choice is the cheapest point of a fine grid within the studied ratios and doses; there is no extrapolation. The
    figures of a frame depend on how many particles it has: they are predicted for frames of the study's size.
    """
    studied = _usable(rows, how)
    ways, left_out = [], []
    # Full scans have doses at which no sparse one was studied: together with sparse rasters, the grid would span both.
    for (*way, _), group in studied.assign(full=studied["ratio"] == 1).groupby([*WAY, "full"], sort=False):
        costs = scan_costs_of(way[0], group, how, shape, pixel_size_nm)
        left_out += [f"{way[0]} at {100 * ratio:.3g} %: {why}" for ratio, why in costs.left_out.items()]
        if costs.studied.size:
            ways.append(_fit_way(tuple(way), group, wish, costs, rng))
    left_out = tuple(dict.fromkeys(left_out))
    if not ways:
        raise InputError(f"no scan of the study can be made: {left_out[0]}; expected one at least: study others")
    found = [_search(way, wish) for way in ways]
    choices = _ranked([choice for choice, reached in found if choice is not None and reached], wish)
    near = [choice for choice, _ in found if choice is not None]
    if not near:
        raise InputError(_no_room(ways, wish, studied["error"]))
    nearest = max(near, key=lambda one: (one.probability, _margin(one, wish)))
    return Plan(
        wish, tuple(choices), None if choices else nearest, _wanted(choices or [nearest], ways),
        tuple(ways), failed=int((studied["error"] != "").sum()), left_out=left_out,
    )  # fmt: skip


def _usable(rows: pd.DataFrame, how: ScanChoice) -> Any:
    untyped: Any = rows
    studied = untyped[(untyped["pairing"] == "") & (untyped["peak_counts"] > 0)]
    if studied.empty:
        raise InputError("the study has no scans with noise; expected doses above 0 counts")
    check_frames(studied["frame"].nunique())
    check_beam_current(how)
    return studied


def check_frames(n_frames: int) -> None:
    """Raise `InputError` if a study has too few frames to know how much they differ."""
    if n_frames < LEAST_FRAMES:
        raise InputError(
            f"the study has {n_frames} frames; expected {LEAST_FRAMES} or more to know how much they differ: give it "
            "more (--frames), or more labelled images"
        )


def check_beam_current(how: ScanChoice) -> None:
    """Raise `InputError` if a study has no beam current, without which no dwell time follows from a dose."""
    if how.beam_current_pA == 0:
        raise InputError("the study has no beam current, so that its doses say nothing of dwell times; give it one")


def _fit_way(
    way: tuple[str, str, str, str], rows: Any, wish: Wish, costs: ScanCosts, rng: np.random.Generator | int
) -> WayFit:
    seed = rng if isinstance(rng, int) else int(rng.integers(2**31))
    responses = {str(target): fit_response(rows, target.kind, rng=seed) for target in wish.targets}
    feasible = rows[rows["ratio"].isin(costs.studied)]
    settings = np.unique(feasible[["ratio", "peak_counts"]].to_numpy(np.float64), axis=0)
    return WayFit(way, responses, costs, settings)


def _search(way: WayFit, wish: Wish) -> tuple[Choice | None, bool]:
    """Return the cheapest choice of a way that reaches the targets, and True; or what comes nearest, and False."""
    ratio, counts = way.grid()
    dose, time = way.costs.dose(ratio, counts), way.costs.time_ms(ratio, counts)
    floor = float((dose if wish.least == DOSE else time).min())
    affordable = (dose <= wish.max_dose) & (time <= wish.max_time_ms)
    if not affordable.any():
        return None, False
    ratio, counts, dose, time = (axis[affordable] for axis in (ratio, counts, dose, time))
    cost, other = (dose, time) if wish.least == DOSE else (time, dose)
    met = np.ones((1, ratio.size), dtype=bool)
    for target in wish.targets:
        met = met & target.met_by(way.responses[str(target)].samples(ratio, counts))
    probability = met.mean(axis=0)
    enough = probability >= wish.confidence
    least = np.where(met, cost, np.inf).min(axis=1)
    tail = (1 - wish.level) / 2
    bounds = [float(np.quantile(least, share, method="nearest")) for share in (tail, 1 - tail)]
    if enough.any():
        index = np.lexsort((other, np.where(enough, cost, np.inf)))[0]
    else:
        margins = [target.margin(way.responses[str(target)].expected(ratio, counts)) for target in wish.targets]
        index = np.lexsort((cost, -np.min(margins, axis=0), -probability))[0]
    expected = {
        name: _expectation(response, float(ratio[index]), float(counts[index]), wish.level)
        for name, response in way.responses.items()
    }
    choice = Choice(
        *way.way, float(ratio[index]), float(counts[index]), float(way.costs.dwell_us(counts[index])),
        float(way.costs.current_pA(counts[index])),
        float(dose[index]), float(time[index]), float(probability[index]), bounds[0], bounds[1],
        bounds[0] <= floor, expected,
    )  # fmt: skip
    return choice, bool(enough.any())


def _ranked(choices: Sequence[Choice], wish: Wish) -> list[Choice]:
    """Return choices by their cost, ties by how far they exceed the targets."""
    left = sorted(choices, key=lambda one: one.cost(wish.least))
    ranked = []
    while left:
        limit = TIE * left[0].cost(wish.least)
        tied = [one for one in left if one.cost(wish.least) <= limit]
        ranked += sorted(tied, key=lambda one: -_margin(one, wish))
        left = left[len(tied) :]
    return ranked


def _margin(choice: Choice, wish: Wish) -> float:
    return min(target.margin(choice.expected[str(target)].mean) for target in wish.targets)


def _expectation(response: Response, ratio: float, counts: float, level: float) -> Expectation:
    mean = float(response.expected(ratio, counts)[0])
    tail = (1 - level) / 2
    low, high = np.quantile(response.samples(ratio, counts)[:, 0], [tail, 1 - tail])
    frame_low, frame_high = response.interval(ratio, counts, level)
    return Expectation(mean, min(float(low), mean), max(float(high), mean), float(frame_low[0]), float(frame_high[0]))


def _wanted(choices: Sequence[Choice], ways: Sequence[WayFit]) -> tuple[tuple[str, float, float], ...]:
    """Return the settings to study next: the best one itself, and rivals whose costs are not known well."""
    by_way = {(*way.way, way.full): way for way in ways}
    asked = []
    for choice in choices[:ASKED]:
        way = by_way[choice.scheme, choice.recon, choice.segmenter, choice.mapping, choice.full]
        distances = np.abs(np.log(way.settings / [choice.ratio, choice.peak_counts])).max(axis=1)
        if distances.min() < np.log(NEAR):
            continue
        unsure = not choice.cost_high <= SURE * choice.cost_low
        # A rival that may be cheaper than the best is worth a closer look; one that surely is not, is none. Of the best
        # itself a surface between studied settings is no promise: it cuts corners where the figure bends.
        rival = choice.cost_low <= choices[0].cost_high
        setting = (choice.scheme, float(f"{choice.ratio:.3g}"), float(f"{choice.peak_counts:.3g}"))
        if (choice is choices[0] or (unsure and rival)) and setting not in asked:
            asked.append(setting)
    return tuple(asked)


def _no_room(ways: Sequence[WayFit], wish: Wish, errors: Iterable[str]) -> str:
    """Return why no scan of the study is within the budgets."""
    costs = [(way.costs.dose(*way.grid()).min(), way.costs.time_ms(*way.grid()).min()) for way in ways]
    dose, time = np.min(costs, axis=0)
    unit = ways[0].costs.dose_unit
    budgets = [f"{most:g} {name}" for most, name in ((wish.max_dose, unit), (wish.max_time_ms, "ms")) if most < np.inf]
    failed = [error for error in errors if error]
    told = f" ({len(failed)} cases failed, the first by {failed[0]})" if failed else ""
    return (
        f"no scan of the study is within the budgets ({' and '.join(budgets)}); expected at least {dose:.3g} {unit} "
        f"and {time:.3g} ms{told}: raise them, or study smaller ratios and doses"
    )
