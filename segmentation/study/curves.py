"""Curves of a study with confidence bands, whether they rise as they should, and scans of equal cost beside each other.

Bands are percentile bootstraps over frames (frames differ far more than repeated scans of one), wider by what Student's
t demands of few.

References
----------
Efron and Tibshirani, "An Introduction to the Bootstrap", Chapman and Hall (1993).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from segmentation.study.bootstrap import bootstrap_widening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FULL_SCAN_LABEL = "full-scan"
CELL = ("paired_scheme", "paired_ratio", "peak_counts")
SPARSE_WINS, FULL_WINS, NO_DIFFERENCE = "sparse scan wins", "full scan wins", "no difference"
TOO_FEW = "one frame is too few to tell"


def bands(
    rows: pd.DataFrame, column: str, by: Sequence[str], *, level: float = 0.95, n_boots: int = 1000,
    rng: np.random.Generator | int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Return the mean over frames of a column, and its band, for each group of rows.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of a study; failed cases are left out, and values that are not finite.
    column : str
        One of `store.COLUMNS`.
    by : sequence of str
        What tells the groups apart.
    level, n_boots : float, int
        Of the bootstrap.
    rng : Generator or int
        Draws the frames.

    Returns
    -------
    pandas.DataFrame
        The columns `by`, `mean`, `low`, `high`, and `frames`, how many there were; a band of one frame is NaN.

    Examples
    --------
    >>> rows = pd.DataFrame({"ratio": [0.1] * 4, "f1@0.5": [0.8, 0.9, 0.7, 0.8], "error": [""] * 4})
    >>> bands(rows, "f1@0.5", ["ratio"])[["mean", "frames"]].values.tolist()
    [[0.8, 4.0]]
    """
    generator = np.random.default_rng(rng)
    good: Any = rows[rows["error"] == ""]
    good = good[np.isfinite(good[column].to_numpy(np.float64))]
    found = []
    for key, group in good.groupby(list(by), sort=False):
        values = group[column].to_numpy(np.float64)
        low, high = _band(values, level, n_boots, generator)
        found.append((*key, values.mean(), low, high, len(values)))
    return pd.DataFrame(found, columns=[*by, "mean", "low", "high", "frames"])


def falls(table: pd.DataFrame, along: str, by: Sequence[str], *, more_is_better: bool = True) -> list[str]:
    """Return a sentence for each curve that gets worse along an axis by more than its bands allow.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `bands`.
    along : str
        The axis, such as ``"paired_ratio"``.
    by : sequence of str
        What tells the curves apart.
    more_is_better : bool
        Of the figure.
    """
    sign = 1.0 if more_is_better else -1.0
    told = []
    untyped: Any = table
    for key, curve in untyped.groupby(list(by), sort=False):
        curve = curve.sort_values(along)
        at, mean = curve[along].to_numpy(), sign * curve["mean"].to_numpy()
        ends = np.sort(sign * curve[["low", "high"]].to_numpy(), axis=1)
        for later in range(1, len(at)):
            best = int(np.argmax(mean[:later]))
            if ends[later, 1] < ends[best, 0]:
                name = ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in key if part != "")
                told.append(
                    f"{name}: worse at {at[later]:g} ({sign * mean[later]:.3g}) than at {at[best]:g} "
                    f"({sign * mean[best]:.3g}), bands of {int(curve['frames'].iloc[later])} frames apart"
                )
    return told


def equal_cost(
    rows: pd.DataFrame, column: str, *, level: float = 0.95, n_boots: int = 1000, rng: np.random.Generator | int = 0
) -> pd.DataFrame:
    """Return sparse scans beside full scans of the same cost, frame by frame.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of a study with `equal_cost`.
    column : str
        A figure of which more is better.
    level, n_boots, rng
        Of the bootstrap of the mean difference.

    Returns
    -------
    pandas.DataFrame
        One row for each pairing, scheme, ratio, dose, reconstruction and segmenter: means `sparse` and `full`, their
        `difference` with `low` and `high`, `frames`, the `verdict`, and how the full scan was denoised, `full_recon`:
        by BM3D or by the sparse one's network, whichever is better in the mean. A scan that failed counts as 0.
    """
    generator = np.random.default_rng(rng)
    table = rows.assign(value=np.where(rows["error"] == "", rows[column].fillna(0.0), 0.0))
    sparse: Any = table[(table["pairing"] == "") & (table["ratio"] < 1) & (table["mapping"] == "reconstruct")]
    full: Any = table[table["pairing"] != ""]
    joined = sparse.merge(full, on=["frame", *CELL, "segmenter"], suffixes=("", "_full"))
    joined = joined[(joined["recon_full"] == FULL_SCAN_LABEL) | (joined["recon_full"] == joined["recon"])]
    found = []
    by = ["pairing_full", *CELL, "recon", "segmenter"]
    for key, both in joined.groupby(by, sort=False):
        better = both.groupby("recon_full", sort=False)["value_full"].mean().idxmax()
        group = both[both["recon_full"] == better]
        gains = (group["value"] - group["value_full"]).to_numpy(np.float64)
        low, high = _band(gains, level, n_boots, generator)
        verdict = SPARSE_WINS if low > 0 else FULL_WINS if high < 0 else NO_DIFFERENCE
        verdict = TOO_FEW if np.isnan(low) else verdict
        found.append(
            (*key, *group[["value", "value_full"]].mean(), gains.mean(), low, high, len(gains), verdict, better)
        )
    told = ["sparse", "full", "difference", "low", "high", "frames", "verdict", "full_recon"]
    names = ["pairing", *CELL, "recon", "segmenter", *told]
    return pd.DataFrame(found, columns=names)


def findings(compared: pd.DataFrame) -> list[str]:
    """Return in words where sparse scans win, and where they lose, by cost and segmenter."""
    told = []
    untyped: Any = compared
    for (pairing, segmenter, scheme), group in untyped.groupby(["pairing", "segmenter", "paired_scheme"], sort=False):
        parts = []
        for verdict in (SPARSE_WINS, FULL_WINS, NO_DIFFERENCE, TOO_FEW):
            cells = group[group["verdict"] == verdict]
            if len(cells):
                counts = cells.groupby("peak_counts")["paired_ratio"].apply(
                    lambda ratios: ", ".join(f"{100 * ratio:.3g} %" for ratio in sorted(set(ratios)))
                )
                where = "; ".join(f"{dose:g} counts at {ratios}" for dose, ratios in counts.items())
                parts.append(f"{verdict} in {len(cells)} of {len(group)} settings ({where})")
        told.append(f"At the same {pairing}, {scheme}, {segmenter}: {'; '.join(parts)}.")
    return told


def _band(values: NDArray[np.float64], level: float, n_boots: int, rng: np.random.Generator) -> tuple[float, float]:
    if len(values) < 2:
        return float("nan"), float("nan")
    means = values[rng.integers(len(values), size=(n_boots, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    wider, mean = bootstrap_widening((1 + level) / 2, len(values)), values.mean()
    return float(mean + wider * (low - mean)), float(mean + wider * (high - mean))
