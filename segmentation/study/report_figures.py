"""The figures of a study's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.figures import outline_overlay, sampled_frame
from segmentation.study.curves import bands

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from segmentation.study.evaluate import Example

# Okabe and Ito's, told apart by all kinds of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
MARKERS = "osD^vP*X"
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


def draw_curves(figure: Figure, rows: pd.DataFrame, column: str, label: str) -> pd.DataFrame:
    """Draw a figure against the sampling ratio: a panel a scheme and dose, a line for each way; return its bands.

    Full scans stand at a ratio of 1 in every scheme's panel.
    """
    plain: Any = rows[rows["pairing"] == ""]
    schemes = panel_schemes(plain)
    doses = sorted(set(plain["peak_counts"]))
    table: Any = bands(plain, column, ["scheme", "ratio", "peak_counts", "recon", "model"])
    ways = list(dict.fromkeys(zip(table["recon"], table["model"], strict=True)))
    panels = figure.subplots(len(schemes), len(doses), squeeze=False, sharex=True, sharey=True)
    for axes, (scheme, dose) in zip(panels.ravel(), [(s, d) for s in schemes for d in doses], strict=True):
        here = _of_panel(table[table["peak_counts"] == dose], scheme)
        for index, way in enumerate(ways):
            curve = here[(here["recon"] == way[0]) & (here["model"] == way[1])].sort_values("ratio")
            _band_line(axes, 100 * curve["ratio"], curve, index, way_name(*way))
        axes.set_title(f"{scheme}, {dose:g} counts" if dose else f"{scheme}, no noise")
        _ratio_axis(axes, table["ratio"])
    for axes in panels[-1]:
        axes.set_xlabel("sampled (%)")
    for axes in panels[:, 0]:
        axes.set_ylabel(label)
    if table["mean"].between(0, 1).all():
        # A score: few frames' bands reach further than it can.
        low, high = panels[0, 0].get_ylim()
        panels[0, 0].set_ylim(max(low, -0.05), min(high, 1.05))
    _legend(figure, panels[0, 0])
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
                axes.plot(x, curve["sparse"], "o-", color=colour, markersize=4, label=f"sparse, {dose:g} counts")
                axes.plot(x, curve["full"], "s--", color=colour, markersize=4, mfc="white",
                          label=f"full scan of the same cost, {dose:g}")  # fmt: skip
                # The interval of the paired difference, taken off the sparse curve, lies about the full scan's: where
                # the sparse one is outside of it, the two differ.
                axes.fill_between(x, curve["sparse"] - curve["high"], curve["sparse"] - curve["low"], color=colour,
                                  alpha=0.13, linewidth=0)  # fmt: skip
            axes.set(title=f"{scheme}, same {pairing}", ylim=(-0.05, 1.05))
            _ratio_axis(axes, compared["paired_ratio"])
    for axes in panels[-1]:
        axes.set_xlabel("sampled by the sparse scan (%)")
    for axes in panels[:, 0]:
        axes.set_ylabel(label)
    _legend(figure, panels[0, 0])


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
            axes.plot(x, curve["diameter_px"], "o-", color=colour, markersize=4, label=f"{dose:g} counts")
            bound = curve[curve["limit"] != ""]
            axes.plot(100 * bound["ratio"], bound["diameter_px"], "o", mfc="white", color=colour, markersize=4)
        axes.set(xlabel="sampled (%)", title=scheme)
        _ratio_axis(axes, smallest["ratio"])
    panels[0].set_ylabel("half are found from a diameter of (px)")
    _legend(figure, panels[0])


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
    return f"{recon} > {model}" if recon else model


def _of_panel(table: Any, scheme: str) -> Any:
    """Return a scheme's rows and those of full scans."""
    return table[(table["scheme"] == scheme) | ((table["scheme"] == "raster") & (table["ratio"] == 1))]


def _band_line(axes: Axes, x: Any, curve: pd.DataFrame, index: int, name: str) -> None:
    colour, marker, dashes = (kinds[index % len(kinds)] for kinds in (COLOURS, MARKERS, DASHES))
    axes.fill_between(x, curve["low"], curve["high"], color=colour, alpha=0.12, linewidth=0)
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


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    # A letter of this size is about a sixteenth of an inch wide, and a line with its gaps as wide as twelve.
    widest = (max(map(len, names), default=0) + 12) / 16
    columns = int(np.clip(figure.get_figwidth() / widest, 1, 3))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=8, handlelength=4)
