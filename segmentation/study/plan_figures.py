"""Pictures of a plan: what accuracy costs, and what the planned scan will look like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segmentation.study.plans import DOSE
from segmentation.study.report_figures import draw_examples, draw_legend
from simulate.figures import COLOURS, canvas

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes

    from segmentation.study.evaluate import Example
    from segmentation.study.plans import Choice, Plan, WayFit
    from segmentation.study.targets import Target

COST_STEPS = 60


def tradeoff_figure(plan: Plan, path: str | os.PathLike[str]) -> Path:
    """Draw for each way the best mean figure that a cost buys, with its band, the target and the plan.

    Parameters
    ----------
    plan : Plan
        Of `planner.plan_from_rows`.
    path : path
        The file, of a format matplotlib writes. Written whole or not at all.

    Returns
    -------
    Path
        `path`.
    """
    targets = plan.wish.targets
    with canvas((6.2 * len(targets), 5.0), path) as figure:
        panels = np.atleast_1d(figure.subplots(1, len(targets)))
        for axes, target in zip(panels, targets, strict=True):
            for index, way in enumerate(plan.ways[: len(COLOURS)]):
                _draw_way(axes, plan, way, target, COLOURS[index])
            axes.axhline(target.bound, color="0.4", linestyle="--", linewidth=1)
            axes.annotate(f"target {target}", (0.01, target.bound), xycoords=("axes fraction", "data"), va="bottom",
                          fontsize=8, color="0.3")  # fmt: skip
            _mark(axes, plan, target)
            axes.set(xscale="log", xlabel=_cost_label(plan), ylabel=f"mean {target.metric.replace('_', ' ')}")
            axes.grid(color="0.93")
            axes.set_axisbelow(True)
            # Not below an error of none, nor above a score of all.
            room = 0.03 * (target.kind.high - target.kind.low)
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, target.kind.low - room), min(high, target.kind.high + room))
        draw_legend(figure)
    return Path(path)


def preview_figure(example: Example, choice: Choice, path: str | os.PathLike[str]) -> Path:
    """Draw a scene like the specimen, the planned scan of it, its reconstruction, and the particles found.

    Parameters
    ----------
    example : Example
        Of `evaluate.run_example`, scanned as planned.
    choice : Choice
        The plan's choice.
    path : path
        The file. Written whole or not at all.

    Returns
    -------
    Path
        `path`.
    """
    name = f"scan: {choice.scheme}, {100 * example.scan.ratio:.3g} %, {choice.dwell_us:.3g} µs"
    with canvas((12.4, 3.5), path) as figure:
        draw_examples(figure, [(name, example)])
    return Path(path)


def _draw_way(axes: Axes, plan: Plan, way: WayFit, target: Target, colour: str) -> None:
    ratio, counts = way.grid()
    cost = (way.costs.dose if plan.wish.least == DOSE else way.costs.time_ms)(ratio, counts)
    expected = way.responses[str(target)].expected(ratio, counts)
    sign = 1.0 if target.kind.more_is_better else -1.0
    limits = np.geomspace(cost.min(), cost.max(), COST_STEPS)
    best = [int(np.argmax(np.where(cost <= limit * (1 + 1e-9), sign * expected, -np.inf))) for limit in limits]
    samples = way.responses[str(target)].samples(ratio[best], counts[best])
    low, high = np.quantile(samples, [0.05, 0.95], axis=0)
    axes.fill_between(limits, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(limits, expected[best], color=colour, linewidth=1.6, label=_name(way))


def _name(way: WayFit) -> str:
    scheme, recon, segmenter, mapping = way.way
    first = "fast full scan, denoised" if way.full else scheme
    return f"{first}: {recon or mapping} > {segmenter}"


def _mark(axes: Axes, plan: Plan, target: Target) -> None:
    best = plan.best
    expected = best.expected[str(target)]
    cost = best.cost(plan.wish.least)
    axes.plot([cost, cost], [expected.frame_low, expected.frame_high], color="black", linewidth=0.8, alpha=0.6)
    axes.plot([cost], [expected.mean], marker="*", markersize=13, color="black", linestyle="none",
              label="plan (line: one frame)" if plan.reached else "nearest (line: one frame)")  # fmt: skip


def _cost_label(plan: Plan) -> str:
    if plan.wish.least != DOSE:
        return "frame time (ms)"
    return f"dose ({plan.dose_unit})"
