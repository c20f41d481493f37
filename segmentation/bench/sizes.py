"""How right the measured sizes and counts are, end to end, and how often a size's interval holds the truth."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from segmentation.matching import match
from segmentation.measure import measure
from segmentation.pipeline import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from segmentation.bench.frames import LabelledFrame

CLASSES_PX = (0.0, 8.0, 16.0, np.inf)
"""Bounds of the classes of true diameters, in pixels."""
DIAMETER_WITHIN, COUNT_WITHIN = 0.02, 0.05


def judge_sizes(
    frames: Iterable[LabelledFrame],
    *,
    ratio: float = 0.1,
    peak_counts: float = 50.0,
    recon: str = "unrolled-ista",
    method: str = "mask-rcnn",
    device: str = "auto",
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Scan frames, run the whole chain on the scans, and compare what it measures with the truth.

    Returns
    -------
    pandas.DataFrame
        One row a particle, true or found: `frame`, `true_px`, the equivalent diameter of its visible part (NaN for a
        false one), `found_px` (NaN for a missed one), `low_px` and `high_px`, the limits of its 95 % interval. Pairs
        overlap by an IoU of at least 0.5.
    """
    rows: list[pd.DataFrame] = []
    for frame in frames:
        progress(frame.name)
        result = run(frame.scan(ratio, peak_counts), recon=recon, segment=method, device=device)
        pairs = match(frame.labels, result.instances)
        table: Any = measure(frame.labels)
        true = table.set_index("label")["equivalent_diameter_px"]
        names = [f"equivalent_diameter{limit}_px" for limit in ("", "_low", "_high")]
        # Methods without a sigma give no limits.
        found = result.table.set_index("label").reindex(columns=names)
        found = found.set_axis(["found_px", "low_px", "high_px"], axis=1)
        partners = dict(zip(pairs.pred_ids.tolist(), pairs.true_ids.tolist(), strict=True))
        found["true_px"] = [true.get(partners.get(label, 0), np.nan) for label in found.index]
        missed = pd.DataFrame({"true_px": true.drop(pairs.true_ids)})
        rows.append(pd.concat([found, missed]).assign(frame=frame.name))
    columns = ["frame", "true_px", "found_px", "low_px", "high_px"]
    return pd.concat(rows, ignore_index=True).reindex(columns=columns)


def sizes_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return counts, median diameters and coverage, of all particles and by class of true diameter."""
    classes: dict[str, Any] = {"all": rows}
    for low, high in pairwise(CLASSES_PX):
        name = f"{low:g} to {high:g} px" if np.isfinite(high) else f"{low:g} px and more"
        # A false particle is counted where it would belong by its own size.
        size = rows["true_px"].fillna(rows["found_px"])
        classes[name] = rows[(size >= low) & (size < high)]
    return pd.DataFrame({name: _figures(part) for name, part in classes.items()}).T


def frame_figures(rows: pd.DataFrame) -> dict[str, float]:
    """Return on which share of the frames count and median diameter are right within 5 and 2 %."""
    figures: Any = pd.DataFrame([_figures(part) for _, part in rows.groupby("frame", sort=False)])
    sizes, counts = (figures[name].abs() for name in ("median error", "count error"))
    return {
        f"median diameter within {DIAMETER_WITHIN:.0%}": float((sizes <= DIAMETER_WITHIN).mean()),
        f"count within {COUNT_WITHIN:.0%}": float((counts <= COUNT_WITHIN).mean()),
        "mean median error": float(figures["median error"].mean()),
        "mean count error": float(figures["count error"].mean()),
    }


def _figures(rows: Any) -> dict[str, float]:
    true, found = rows["true_px"].dropna(), rows["found_px"].dropna()
    paired = rows.dropna(subset=["true_px", "found_px"])
    limited = paired.dropna(subset=["low_px", "high_px"])  # methods without a sigma give no limits
    inside = (limited["true_px"] >= limited["low_px"]) & (limited["true_px"] <= limited["high_px"])
    return {
        "true": len(true),
        "found": len(found),
        "count error": len(found) / len(true) - 1 if len(true) else np.nan,
        "matched": len(paired),
        "median true (px)": float(true.median()),
        "median found (px)": float(found.median()),
        "median error": float(found.median() / true.median() - 1) if len(true) else np.nan,
        "within interval": float(inside.mean()) if len(limited) else np.nan,
    }
