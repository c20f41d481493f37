"""The figures of a study's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.figures import outline_overlay, sampled_frame
from segmentation.study.curves import bands
from simulate.figures import COLOURS, MARKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from segmentation.study.evaluate import Example

DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 3)),
    (0, (1.5, 1.5)),
    (0, (7, 2, 1.5, 2)),
    (0, (3, 5)),
    (0, (1, 4)),
    (0, (9, 6)),
)
"""Line styles, in the order in which they are drawn: of curves that coincide, each shows in the gaps of those above."""
DOSE_COLOURS = ("#440154", "#31688e", "#35b779", "#b8860b", "#d55e00", "#999999")
SCORE_LIMITS = (-0.03, 1.03)
"""Of the axis of a score from 0 to 1: with the room that markers at its ends need."""


def draw_curves(figure: Figure, rows: pd.DataFrame, column: str, label: str) -> pd.DataFrame:
    """Draw a figure against the sampling ratio: a panel a scheme and dose, a line for each way; return its bands.

    Full scans stand at a ratio of 1 in every scheme's panel.
    """
    plain: Any = rows[rows["pairing"] == ""]
    schemes = panel_schemes(plain)
    doses = sorted(set(plain["peak_counts"]))
    table: Any = bands(plain, column, ["scheme", "ratio", "peak_counts", "recon", "model"])
    ways = list(dict.fromkeys(zip(table["recon"], table["model"], strict=True)))
    is_score = table["mean"].between(0, 1).all()
    # Few frames' bands reach further than a score can.
    drawn = table.assign(low=table["low"].clip(0, 1), high=table["high"].clip(0, 1)) if is_score else table
    # Bands that lie over each other stay as light as one.
    alpha = min(0.14, 0.36 / max(len(ways), 1))
    panels = figure.subplots(len(schemes), len(doses), squeeze=False, sharex=True, sharey=True)
    for axes, (scheme, dose) in zip(panels.ravel(), [(s, d) for s in schemes for d in doses], strict=True):
        here = _of_panel(drawn[drawn["peak_counts"] == dose], scheme)
        for index, way in enumerate(ways):
            curve = here[(here["recon"] == way[0]) & (here["model"] == way[1])].sort_values("ratio")
            _band_line(axes, 100 * curve["ratio"], curve, index, way_name(*way), alpha)
        axes.set_title(f"{scheme}, {_dose_name(dose)}")
        _ratio_axis(axes, table["ratio"])
    for axes in panels[-1]:
        axes.set_xlabel("sampled (%)")
    for axes in panels[:, 0]:
        axes.set_ylabel(label)
    if is_score:
        panels[0, 0].set_ylim(SCORE_LIMITS)
    draw_legend(figure)
    return table


def draw_equal_cost(figure: Figure, compared: pd.DataFrame, label: str) -> None:
    """Draw a score of sparse scans beside full ones of the same cost: a row a pairing, a column a scheme."""
    schemes = list(dict.fromkeys(compared["paired_scheme"]))
    pairings = list(dict.fromkeys(compared["pairing"]))
    panels = figure.subplots(len(pairings), len(schemes), squeeze=False, sharex=True, sharey=True)
    doses = sorted(set(compared["peak_counts"]))
    for row, pairing in enumerate(pairings):
        for col, scheme in enumerate(schemes):
            axes = panels[row, col]
            here: Any = compared[(compared["pairing"] == pairing) & (compared["paired_scheme"] == scheme)]
            for dose, curve in here.groupby("peak_counts"):
                curve = curve.sort_values("paired_ratio")
                colour = DOSE_COLOURS[doses.index(dose) % len(DOSE_COLOURS)]
                x = 100 * curve["paired_ratio"]
                axes.plot(x, curve["sparse"], "o-", color=colour, markersize=4, label=f"sparse, {_dose_name(dose)}")
                axes.plot(x, curve["full"], "s--", color=colour, markersize=4, mfc="white",
                          label=f"full scan of the same cost as {_dose_name(dose)}")  # fmt: skip
                # The interval of the paired difference, taken off the sparse curve, lies about the full scan's: where
                # the sparse one is outside of it, the two differ.
                low, high = ((curve["sparse"] - curve[end]).clip(0, 1) for end in ("high", "low"))
                axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0,
                                  label=f"95 % interval of the difference, {_dose_name(dose)}")  # fmt: skip
            axes.set(title=f"{scheme}, same {pairing}", ylim=SCORE_LIMITS)
            _ratio_axis(axes, compared["paired_ratio"])
    for axes in panels[-1]:
        axes.set_xlabel("sampled by the sparse scan (%)")
    for axes in panels[:, 0]:
        axes.set_ylabel(label)
    draw_legend(figure, groups=len(doses))


def draw_smallest(figure: Figure, smallest: pd.DataFrame) -> None:
    """Draw the diameter from which on half of the particles are found: a panel a scheme, a line a dose."""
    schemes = panel_schemes(smallest)
    doses = sorted(set(smallest["peak_counts"]))
    panels = figure.subplots(1, len(schemes), squeeze=False, sharey=True)[0]
    for axes, scheme in zip(panels, schemes, strict=True):
        here = _of_panel(smallest, scheme)
        for dose, curve in here.groupby("peak_counts"):
            curve = curve.sort_values("ratio")
            colour = DOSE_COLOURS[doses.index(dose) % len(DOSE_COLOURS)]
            x = 100 * curve["ratio"]
            axes.fill_between(x, curve["low"], curve["high"], color=colour, alpha=0.13, linewidth=0)
            axes.plot(x, curve["diameter_px"], "o-", color=colour, markersize=4, label=_dose_name(dose))
            bound = curve[curve["limit"] != ""]
            axes.plot(100 * bound["ratio"], bound["diameter_px"], "o", mfc="white", color=colour, markersize=4,
                      label=f"{_dose_name(dose)}: beyond the sizes there were" if len(bound) else None)  # fmt: skip
        axes.set(xlabel="sampled (%)", title=scheme)
        _ratio_axis(axes, smallest["ratio"])
    panels[0].set_ylabel("diameter from which half are found (px)")
    draw_legend(figure)


def draw_examples(figure: Figure, examples: Sequence[tuple[str, Example]]) -> None:
    """Draw scans of one frame, what was reconstructed, and what was found, a row each; the truth is outlined first."""
    panels = figure.subplots(len(examples), 4, squeeze=False)
    for row, (name, one) in zip(panels, examples, strict=True):
        nothing = np.zeros(one.frame.labels.shape, dtype=np.int32)
        image = one.frame.image if one.image is None else one.image
        pictures = (
            ("truth", outline_overlay(one.frame.image, one.frame.labels)),
            (name, sampled_frame(one.scan)),
            ("reconstruction" if one.image is not None else "no reconstruction", outline_overlay(image, nothing)),
            (f"{len(one.found)} found, {len(one.frame.diameters_px)} true", outline_overlay(image, one.found)),
        )
        for axes, (title, picture) in zip(row, pictures, strict=True):
            axes.imshow(picture, cmap="gray", interpolation="nearest")
            axes.set_title(title)
            axes.set_axis_off()


def panel_schemes(table: pd.DataFrame) -> list[str]:
    """Return the schemes that get a panel: those of sparse scans; "raster" if all scans are full ones."""
    untyped: Any = table
    return list(dict.fromkeys(untyped.loc[untyped["ratio"] < 1, "scheme"])) or ["raster"]


def way_name(recon: str, model: str) -> str:
    """Return a way from scan to particles in words."""
    return " > ".join(part for part in (recon, model) if part)


def draw_legend(figure: Figure, *, groups: int = 1) -> None:
    """Draw one legend of all panels below them, where it covers no data.

    Of `groups` equally many curves, which were drawn group by group, each stands in one column.
    """
    named: dict[str, Any] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        named = dict(zip(names, handles, strict=True)) | named
    # A letter of this size is about a sixteenth of an inch wide, and a line with its gaps as wide as twelve.
    widest = (max(map(len, named), default=0) + 12) / 16
    fitting = int(np.clip(figure.get_figwidth() / widest, 1, 3 if groups == 1 else groups))
    columns = fitting if groups == 1 else max(count for count in range(1, fitting + 1) if groups % count == 0)
    figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=8,
        handlelength=4,
    )  # fmt: skip


def _dose_name(dose: float) -> str:
    return f"{dose:g} counts" if dose else "no noise"


def _of_panel(table: Any, scheme: str) -> Any:
    """Return a scheme's rows and those of full scans."""
    return table[(table["scheme"] == scheme) | ((table["scheme"] == "raster") & (table["ratio"] == 1))]


def _band_line(axes: Axes, x: Any, curve: pd.DataFrame, index: int, name: str, alpha: float) -> None:
    colour, marker, dashes = (kinds[index % len(kinds)] for kinds in (COLOURS, MARKERS, DASHES))
    axes.fill_between(x, curve["low"], curve["high"], color=colour, alpha=alpha, linewidth=0)
    axes.plot(
        x, curve["mean"], marker=marker, markersize=4, color=colour, linestyle=dashes, linewidth=1.4, label=name,
        zorder=2 + DASHES.index(dashes) / 10,
    )  # fmt: skip


def _ratio_axis(axes: Axes, ratios: Any) -> None:
    at = 100 * np.unique(ratios)
    axes.set_xscale("log")
    axes.set_xticks(at, [f"{value:.3g}" for value in at])
    axes.minorticks_off()
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
