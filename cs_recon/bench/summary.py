"""From the benchmark's rows to tables: medians by method and ratio, margins of the networks, and what is worse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cs_recon.bench.settings import AUTOMATIC, LEARNED, SLOW, is_learned

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCAN = ["frame", "ratio"]
BETTER = {"psnr_db": 1, "ssim": 1, "frc_px": -1}
"""The scores, and whether more (1) or less (-1) is better."""


def tables(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield every table with a short name for its file and a title: those of each dose, and what failed."""
    good: Any = rows[rows.error == ""]
    for (kind, scheme, dose), chosen in good.groupby(["kind", "scheme", "peak_counts"], sort=False):
        counts = f"{dose:g} counts" if dose else "noise-free"
        stem = f"{kind}-{scheme}-{counts.replace(' ', '-')}"
        title = f"{kind} frames ({chosen.frame.nunique()}), {scheme}, {counts}"
        for name, what, table in (
            ("psnr", "PSNR (dB)", score_table(chosen, "psnr_db")),
            ("ssim", "SSIM", score_table(chosen, "ssim")),
            ("frc", "FRC resolution (px)", score_table(chosen, "frc_px")),
            ("cost", "time and memory", cost_table(chosen)),
            ("margins", "the learned methods against the classical ones (PSNR)", margin_table(chosen)),
        ):
            if len(table):
                yield f"{stem}-{name}", f"{title}: {what}", table
    failures = failure_table(rows)
    if len(failures):
        yield "failures", "Runs that failed", failures


def score_table(rows: pd.DataFrame, score: str = "psnr_db") -> pd.DataFrame:
    """Return the medians over frames of a score by method and ratio, each as "automatic / oracle".

    The oracle takes for each frame the best setting by that score, the automatic one included; methods with no
    settings to choose from have one figure. Methods run on fewer frames than others say on how many.
    """
    automatic, oracle = _automatic(rows, score), _oracle(rows, score)
    frames = automatic.groupby("ratio").size()
    lines: dict[str, dict[str, str]] = {}
    for method in _methods(rows):
        cells: dict[str, str] = {}
        tunable = rows.loc[rows.method == method, "setting"].nunique() > 1
        for ratio, coverage in _coverage(rows).items():
            own, best = (_column(table, method, ratio) for table in (automatic, oracle))
            text = _figure(own.median(), score) if len(own) else "-"
            if tunable and len(best):
                text += f" / {_figure(best.median(), score)}"
            if 0 < len(own) < frames[ratio]:
                text += f" ({len(own)} frames)"
            cells[_ratio_text(ratio, coverage)] = text
        lines[method] = cells
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")


def _ratio_text(ratio: float, coverage: float) -> str:
    """Return the ratio that was asked for and the share that was scanned; ratios that differ get texts that differ."""
    return f"{100 * ratio:.6g}% ({coverage:.2%})"


def cost_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the medians of time, processor time and peak memory of the methods with their own choice, by method."""
    own: Any = rows[rows.setting == AUTOMATIC].groupby("method")[["seconds", "cpu_seconds", "peak_mb"]].median()
    table = own.reindex(_methods(rows)).rename(
        columns={"seconds": "time (s)", "cpu_seconds": "processor time (s)", "peak_mb": "peak memory (MB)"}
    )
    return pd.DataFrame(table.round(2))


def margin_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how far each learned method is from the classical ones at their oracle settings, by ratio.

    Columns
    -------
    over the best classical method
        The difference of the medians to the classical method that it is least ahead of, named. For methods that ran on
        all frames that is the one with the highest median; one that ran on fewer is compared on those.
    over each frame's best
        The median over frames of the difference to the best of all classical methods on that frame, which no single
        method reaches.
    worse than each frame's best, worse than linear, worse than smoothed linear
        On how many frames: linear interpolation as it is, and with the width that is best for the frame.
    """
    automatic, oracle = _automatic(rows, "psnr_db"), _oracle(rows, "psnr_db")
    lines: list[dict[str, object]] = []
    for method in (name for name in LEARNED if name in automatic):
        for ratio, coverage in _coverage(rows).items():
            ours = _column(automatic, method, ratio)
            rivals = {name: _column(oracle, name, ratio) for name in oracle if not is_learned(str(name))}
            rivals = {name: theirs for name, theirs in rivals.items() if len(ours.index.intersection(theirs.index))}
            if not rivals or ours.empty:
                continue
            ahead = {name: _median_margin(ours, theirs) for name, theirs in rivals.items()}
            nearest = min(ahead, key=ahead.__getitem__)
            best = pd.DataFrame(rivals).max(axis=1)
            plain = _setting(rows, "linear", "smooth_px=0.0", ratio)
            lines.append({
                "method": method,
                "ratio": _ratio_text(ratio, coverage),
                "over the best classical method (dB)": f"{ahead[nearest]:+.2f} ({nearest})",
                "over each frame's best (dB)": f"{(ours - best).median():+.2f}",
                "worse than each frame's best": _worse(ours, best),
                "worse than linear": _worse(ours, plain),
                "worse than smoothed linear": _worse(ours, _column(oracle, "linear", ratio)),
            })  # fmt: skip
    return pd.DataFrame(lines).set_index("method") if lines else pd.DataFrame()


def failure_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how many runs failed and an example of why, by method."""
    failed: Any = rows[rows.error != ""]
    table = failed.groupby("method").agg(runs=("error", "size"), example=("error", "first"))
    return pd.DataFrame(table)


def notes(rows: pd.DataFrame) -> str:
    """Return what a reader of the tables must know."""
    text = (
        "Medians over frames against the clean frame. Where two figures stand, the first is what the method chooses "
        "itself and the second the best of its settings for each frame by the truth, which no user has. Beside each "
        "ratio stands the share of the pixels that the masks really hold. FRC is the period in pixels at which the "
        "Fourier ring correlation with the truth falls below 0.5."
    )
    restricted = [name for name in _methods(rows) if name in SLOW]
    return f"{text} Slow methods may be on fewer frames, as said: {', '.join(restricted)}." if restricted else text


def _methods(rows: pd.DataFrame) -> list[str]:
    return [str(name) for name in rows.method.drop_duplicates()]


def _automatic(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    own: Any = rows[rows.setting == AUTOMATIC]
    return own.pivot_table(index=_SCAN, columns="method", values=score)


def _oracle(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    by_scan: Any = rows.groupby([*_SCAN, "method"])[score]
    return (by_scan.max() if BETTER[score] > 0 else by_scan.min()).unstack("method")


def _column(table: pd.DataFrame, method: Any, ratio: Any) -> pd.Series:
    """Return the finished figures of a method at a ratio, by frame."""
    if method not in table or ratio not in table.index.get_level_values("ratio"):
        return pd.Series(dtype=float)
    column: Any = table[method]
    return column.xs(ratio, level="ratio").dropna()


def _setting(rows: pd.DataFrame, method: str, setting: str, ratio: Any) -> pd.Series:
    chosen: Any = rows[(rows.method == method) & (rows.setting == setting) & (rows.ratio == ratio)]
    return chosen.set_index("frame").psnr_db


def _coverage(rows: pd.DataFrame) -> dict[Any, float]:
    """Return the mean realised coverage by nominal ratio."""
    means: Any = rows.groupby("ratio").coverage.mean()
    return means.to_dict()


def _median_margin(ours: pd.Series, theirs: pd.Series) -> float:
    common = ours.index.intersection(theirs.index)
    return float(np.median(ours[common]) - np.median(theirs[common]))


def _worse(ours: pd.Series, theirs: pd.Series) -> str:
    common = ours.index.intersection(theirs.index)
    return f"{int((ours[common] < theirs[common]).sum())} of {len(common)}" if len(common) else "-"


def _figure(value: float, score: str) -> str:
    if not np.isfinite(value):
        return str(value)
    return f"{value:.3f}" if score == "ssim" else f"{value:.2f}"
