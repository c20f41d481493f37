"""What a plan leaves behind: its answer as text and JSON, its pictures, and the scan for a scan generator."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs_recon.io.provenance import provenance, write_provenance
from cs_recon.reconstruction import reconstructors
from segmentation.methods import segmenters
from segmentation.pipeline import ADAPTIVE
from segmentation.study.cases import Case, ScanPlan
from segmentation.study.config import study_record
from segmentation.study.evaluate import run_example
from segmentation.study.frames import frame_specs
from segmentation.study.methods import Method
from segmentation.study.plan_figures import preview_figure, tradeoff_figure
from segmentation.study.plans import DOSE
from simulate.atomic import make_folder
from simulate.export import write_scan
from simulate.schemes import scan_path, schemes

if TYPE_CHECKING:
    import os

    from segmentation.study.config import StudyConfig
    from segmentation.study.plans import Choice, Plan

RUNNERS_UP = 5


def describe_plan(plan: Plan) -> str:
    """Return the answer in a few sentences."""
    best, wish = plan.best, plan.wish
    targets = " and ".join(str(target) for target in wish.targets)
    lines = []
    if plan.reached:
        if best.full:
            lines.append("Do not sub-sample: scan every pixel fast and denoise.")
        lines.append(f"Scan {_scan_text(best)}: {_cost_text(plan, best)}.")
        lines.append(
            f"Then {_way_text(best)}; {targets} is reached on average with {100 * best.probability:.0f} % confidence."
        )
    else:
        lines.append(f"{targets} cannot be reached within the budgets and what was studied.")
        lines.append(f"Nearest: {_scan_text(best)}, {_cost_text(plan, best)}, {_way_text(best)}.")
    if best.scheme == ADAPTIVE:
        lines.append(
            "Its positions follow from what the passes before have seen: scan by simulate.adaptive_scan. "
            "Reconstructing between the passes takes time beyond that told here."
        )
    for name, one in best.expected.items():
        lines.append(
            f"Expected {name.replace('<', ' (<').replace('>', ' (>')}): {one.mean:.3g} on average "
            f"({one.mean_low:.3g} to {one.mean_high:.3g}); in one frame {one.frame_low:.3g} to {one.frame_high:.3g} "
            f"({100 * wish.level:.0f} %)."
        )
    lines += [
        f"Runner-up: {_scan_text(one)}, {_way_text(one)}: {_expected_text(plan, one)} on average at "
        f"{_cost_text(plan, one)}."
        for one in plan.choices[1 : 1 + RUNNERS_UP]
    ]
    if plan.failed:
        lines.append(f"{plan.failed} cases of the study failed and count as the worst.")
    lines += [f"Left out: {text}." for text in plan.left_out]
    if plan.wanted:
        told = "; ".join(f"{scheme} {100 * ratio:.3g} % at {counts:g} counts" for scheme, ratio, counts in plan.wanted)
        lines.append(f"Surer with more cases: {told}.")
    return "\n".join(lines)


def write_plan(
    plan: Plan,
    config: StudyConfig,
    folder: str | os.PathLike[str],
    shape: tuple[int, int],
    *,
    seed: int = 0,
) -> dict[str, Path]:
    """Write ``plan.json``, ``tradeoff.png``, ``preview.png``, and the scan as ``scan.csv`` and ``scan.npy``.

    Parameters
    ----------
    plan : Plan
        Of `planning.plan`.
    config : StudyConfig
        What was studied; the preview is of its first frame.
    folder : path
        Made if it is not there.
    shape : (int, int)
        Of the frame that will be scanned.
    seed : int
        Of the scan's positions.

    Returns
    -------
    dict of str to Path
        What was written. There is no scan file for schemes that are guided by the specimen itself.
    """
    out = make_folder(folder)
    written = {"plan": out / "plan.json"}
    # First what cannot be drawn again: a picture that fails must not cost the plan.
    record = provenance(study=study_record(config), shape=list(shape), scan_seed=seed, **plan_record(plan))
    write_provenance(written["plan"], record)
    written["tradeoff"] = tradeoff_figure(plan, out / "tradeoff.png")
    best = plan.best
    written["preview"] = preview_figure(run_example(_case(best, config)), best, out / "preview.png")
    for suffix in ("csv", "npy"):  # those of an earlier plan would pass for this one's
        (out / f"scan.{suffix}").unlink(missing_ok=True)
    if best.scheme in schemes.names and not schemes[best.scheme].needs_prior:
        hardware = config.scan.scan_hardware
        path = scan_path(best.scheme, shape, best.ratio, rng=seed, dwell_us=best.dwell_us, hardware=hardware)
        for suffix in ("csv", "npy"):
            written[f"scan.{suffix}"] = Path(write_scan(out / f"scan.{suffix}", path))
    return written


def plan_record(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain values."""
    wish = {**asdict(plan.wish), "targets": [str(target) for target in plan.wish.targets]}
    record = {
        "answer": describe_plan(plan),
        "reached": plan.reached,
        "dose_unit": plan.dose_unit,
        "wish": wish,
        "best": asdict(plan.best),
        "runners_up": [asdict(choice) for choice in plan.choices[1:]],
        "wanted": [list(setting) for setting in plan.wanted],
        "failed_cases": plan.failed,
        "left_out": list(plan.left_out),
    }
    return _without_infinities(record)


def _without_infinities(value: Any) -> Any:
    """Return plain values with None for what has no bound: JSON knows no infinity."""
    if isinstance(value, dict):
        return {name: _without_infinities(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(one) for one in value]
    return None if value == math.inf else value


def _case(choice: Choice, config: StudyConfig) -> Case:
    recon = Method.parse(choice.recon, reconstructors) if choice.recon else None
    scan = ScanPlan(choice.scheme, choice.ratio, choice.peak_counts, how=config.scan)
    return Case(frame_specs(config.frames)[0], scan, recon, Method.parse(choice.segmenter, segmenters), choice.mapping)


def _scan_text(choice: Choice) -> str:
    if choice.full:
        return f"every pixel (raster) at {choice.exposure_text}"
    return f"{choice.scheme} at {100 * choice.ratio:.3g} % with {choice.exposure_text}"


def _way_text(choice: Choice) -> str:
    return f"{choice.recon or 'no reconstruction'}, {choice.segmenter} ({choice.mapping})"


def _expected_text(plan: Plan, choice: Choice) -> str:
    return ", ".join(f"{target.metric} {choice.expected[str(target)].mean:.3g}" for target in plan.wish.targets)


def _cost_text(plan: Plan, choice: Choice) -> str:
    told = f"{choice.dose:.3g} {plan.dose_unit} and {choice.frame_time_ms:.3g} ms"
    return f"{told} ({_least_text(plan, choice)})" if plan.reached else told


def _least_text(plan: Plan, choice: Choice) -> str:
    """Return how well the least cost of a choice's way is known."""
    if choice.at_floor and choice.cost_high == choice.cost_low:
        return "the least that was studied; less may do: try lower --ratios or --doses"
    what = plan.dose_unit if plan.wish.least == DOSE else "ms"
    low = f"{choice.cost_low:.3g}{' or less' if choice.at_floor else ''}"
    high = f"{choice.cost_high:.3g}" if choice.cost_high < math.inf else "out of reach"
    return f"least by this way, {100 * plan.wish.level:.0f} %: {low} to {high} {what}"
