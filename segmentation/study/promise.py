"""Whether the planner keeps its promises: plans against brute force, on scenes that the study has not seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from segmentation.study.planner import WAY
from segmentation.study.planning import full_scans, plan
from segmentation.study.plans import DOSE, TIME, Wish
from segmentation.study.sweep import sweep

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from segmentation.study.config import StudyConfig
    from segmentation.study.plans import Choice
    from segmentation.study.targets import Target

HELD_OUT_FIRST = 10_000
"""Number of the first held-out scene: far from those of any study."""
FINER = 2
"""Brute force tries this many settings for each one of the study, along ratio and dose."""


@dataclass(frozen=True)
class Promise:
    """A plan and what held-out scenes say of it.

    Attributes
    ----------
    target, least, scan : str
        What was asked, and the planned scan.
    predicted, low, high : float
        Expected figure of one frame and its interval.
    measured : float
        Mean over the held-out scenes.
    covered : float
        Share of them within the interval.
    cost, brute_cost : float
        Cost of the plan, and of the cheapest setting whose mean over the held-out scenes reaches the target.
    steady_cost : float
        Cost of the cheapest one that reaches it together with all settings of its way with as many samples and counts
        or more: among many settings, one whose mean is uncertain may reach the target by chance.
    """

    target: str
    least: str
    scan: str
    predicted: float
    low: float
    high: float
    measured: float
    covered: float
    cost: float
    brute_cost: float
    steady_cost: float


def keep_promises(
    config: StudyConfig, targets: Sequence[Target], folder: str | os.PathLike[str], *, held_out: int = 20,
    progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Plan for each target by dose and by time, and judge the plans on held-out scenes.

    Brute force tries a grid twice as fine as the study's, and full scans, on the held-out scenes themselves.

    Parameters
    ----------
    config : StudyConfig
        What plans are made from; of simulated scenes.
    targets : sequence of Target
        Asked one by one.
    folder : path
        Rows go here, and are used again.
    held_out : int
        How many held-out scenes.
    progress : bool
        Whether to draw bars.

    Returns
    -------
    pandas.DataFrame
        The fields of `Promise`, and the ratios of the plan's cost to the two others; a target that is out of reach of
        the planner has no row.
    """
    unseen = replace(config, equal_cost=(), frames=replace(config.frames, first=HELD_OUT_FIRST, n=held_out))
    full = full_scans(unseen)
    full = replace(full, doses=_finer(full.doses))
    grid = replace(unseen, ratios=_finer(config.ratios), doses=_finer(config.doses))
    truth = pd.concat([sweep(one, Path(folder) / "brute-force", progress=progress) for one in (grid, full)])
    found = []
    for target in targets:
        for least in (DOSE, TIME):
            answer, _ = plan(config, Wish((target,), least=least), folder, progress=progress)
            if answer.reached:
                rows = sweep(_planned(unseen, answer.best), Path(folder) / "held-out", progress=progress)
                found.append(_judged(answer.best, target, least, rows, truth))
    table = pd.DataFrame([asdict(one) for one in found], columns=[field.name for field in fields(Promise)])
    for rival in ("brute", "steady"):
        table[f"{rival}_ratio"] = table["cost"] / table[f"{rival}_cost"]
    return table


def _planned(unseen: StudyConfig, best: Choice) -> StudyConfig:
    schemes = unseen.schemes if best.full else (best.scheme,)
    recons = (best.recon,) if best.recon else unseen.reconstructors
    return replace(
        unseen, schemes=schemes, ratios=(best.ratio,), doses=(best.peak_counts,), reconstructors=recons,
        segmenters=(best.segmenter,), mappings=(best.mapping,),
    )  # fmt: skip


def _judged(best: Choice, target: Target, least: str, rows: pd.DataFrame, truth: pd.DataFrame) -> Promise:
    promised = best.expected[str(target)]
    values = target.kind.values(rows)
    inside = (values >= promised.frame_low) & (values <= promised.frame_high)
    scheme = "full" if best.full else f"{best.scheme} {100 * best.ratio:.3g} %"
    scan = f"{scheme}, {best.dwell_us:.3g} µs, {best.beam_current_pA:.3g} pA"
    return Promise(
        str(target), least, scan, promised.mean, promised.frame_low, promised.frame_high,
        float(values.mean()), float(inside.mean()), _cost(rows, least), *cheapest(truth, target, least),
    )  # fmt: skip


def cheapest(truth: pd.DataFrame, target: Target, least: str) -> tuple[float, float]:
    """Return the least cost of a setting whose mean reaches the target, and of one from which on all do.

    Infinite if there is none; see `Promise`.
    """
    untyped: Any = truth.assign(value=target.kind.values(truth), full=truth["ratio"] == 1)
    once, steady = float("inf"), float("inf")
    for _, way in untyped.groupby([*WAY, "full"]):
        settings = [
            (ratio, counts, _cost(group, least), bool(target.met_by(group["value"].mean())))
            for (ratio, counts), group in way.groupby(["ratio", "peak_counts"])
        ]
        for ratio, counts, cost, _ in (one for one in settings if one[-1]):
            once = min(once, cost)
            if all(met for more, higher, _, met in settings if more >= ratio and higher >= counts):
                steady = min(steady, cost)
    return once, steady


def _cost(rows: pd.DataFrame, least: str) -> float:
    """Return the mean time or dose of the cases that did not fail; infinite if all did."""
    good: Any = rows[rows["error"] == ""]
    if good.empty:
        return float("inf")
    if least == TIME:
        return float(np.mean(good["frame_time_ms"].to_numpy()))
    dose = float(np.mean(good["dose_e_per_A2"].to_numpy()))
    return dose if np.isfinite(dose) else float(np.mean(good["full_scan_counts"].to_numpy()))


def _finer(values: Sequence[float]) -> tuple[float, ...]:
    """Return sorted values and their geometric means in between, 3 significant digits each.

    >>> _finer([0.1, 0.4])
    (0.1, 0.2, 0.4)
    """
    knots = sorted(values)
    between = [float(f"{value:.3g}") for pair in pairwise(knots) for value in np.geomspace(*pair, FINER + 1)[1:-1]]
    return tuple(sorted({*knots, *between}))
