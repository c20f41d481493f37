"""Pictures of a population: its size histogram with fit and intervals, and maps of the frame coloured by shape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.figures import BARS, OUTLINE, STYLE, draw_scale_bar
from segmentation.instances import Instances, as_instances, compact_labels
from segmentation.population_fits import distribution
from simulate.atomic import atomic_path
from simulate.errors import InputError, nearest_name, pixel_size_pair

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from segmentation.population import Population

_DPI = 150
_LINES = {"d10": ":", "d50": "-", "d90": "--"}
_EXTEND = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
_PARAMETERS = {
    "log-normal": "geometric mean {location:.3g} {unit}, geometric SD {scale:.3g}",
    "normal": "mean {location:.3g} {unit}, SD {scale:.3g} {unit}",
    "weibull": "scale {location:.3g} {unit}, shape {scale:.3g}",
}


def draw_sizes(axes: Axes, found: Population) -> None:
    """Draw the weighted histogram of equivalent diameters, its best fit, and D10, D50 and D90 with their intervals."""
    axes.set_xlabel(f"Equivalent diameter ({found.unit})")
    axes.set_ylabel(f"Share of particles per {found.unit}")
    if found.sizes.size == 0:
        axes.set_title("Sizes")
        axes.text(0.5, 0.5, "no whole particles", transform=axes.transAxes, ha="center", va="center", color="0.35")
        return
    n_bins = int(np.clip(2 * np.sqrt(found.sizes.size), 8, 40))
    axes.hist(found.sizes, bins=n_bins, weights=found.weights, density=True, color=BARS, alpha=0.55, edgecolor="white")
    if len(found.fits):
        best = found.fits.iloc[0]
        low, high = axes.get_xlim()
        x = np.linspace(max(low, 1e-9), high, 400)
        density = distribution(str(best.name), float(best["location"]), float(best["scale"])).pdf(x)
        parameters = _PARAMETERS[str(best.name)].format(**best, unit=found.unit)
        label = f"{best.name}: {parameters} (KS {best['ks']:.2g})"
        axes.plot(x, density, color=OUTLINE, lw=1.8, label=label)
    for name, line in _LINES.items():
        value, start, stop = found.statistics.loc[name].to_numpy(dtype=np.float64)
        label = f"{name.upper()}: {value:.3g} {found.unit}"
        if np.isfinite(start):
            axes.axvspan(start, stop, color="black", alpha=0.1, lw=0, zorder=0)
            label += f" (grey: {start:.3g} to {stop:.3g})"
        axes.axvline(value, color="black", lw=1.2, ls=line, label=label)
    # Below the histogram, so that it covers neither bars nor lines.
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.14), fontsize=8.5, borderpad=0, borderaxespad=0)
    axes.set_title(
        f"{found.sizes.size:,} whole particles ({found.touching_border:,} cut), N eff. {found.effective_n:.0f}"
    )


def draw_shape_map(axes: Axes, instances: Instances | ArrayLike, table: pd.DataFrame, column: str) -> None:
    """Draw each particle in the colour of its value of a column of the table, the background light grey."""
    from matplotlib import colormaps

    particles = as_instances(instances)
    if column not in table:
        raise InputError(f"the table has no column {column!r}{nearest_name(column, map(str, table.columns))}")
    if len(table) != len(particles) or (table["label"].to_numpy() != particles.ids).any():
        raise InputError(
            f"the table has {len(table)} rows but the frame {len(particles)} particles; expected the frame's own table"
        )
    values = np.append(np.nan, table[column].to_numpy(dtype=np.float64))
    shown = np.ma.masked_invalid(values[compact_labels(particles.labels, particles.ids)])
    row_size, col_size = pixel_size_pair(particles.pixel_size_nm)
    color_map = colormaps["viridis"].with_extremes(bad="0.93")
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2, 98]) if finite.size else (0.0, 1.0)
    beyond = (finite.min(initial=low) < low, finite.max(initial=high) > high)
    image = axes.imshow(
        shown,
        cmap=color_map,
        interpolation="nearest",
        aspect=row_size / col_size,
        vmin=min(low, high - 0.02 * max(abs(high), 1e-9)),  # widened downwards: a solidity above 1 does not exist
        vmax=high,
    )
    axes.set_axis_off()
    axes.set_title(column.replace("_", " "))
    draw_scale_bar(axes, particles.pixel_size_nm, particles.shape, colour="black")
    if axes.figure is not None and finite.size:
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, extend=_EXTEND[beyond])
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def sizes_figure(found: Population, path: str | os.PathLike[str]) -> Path:
    """Draw the size histogram alone, of a population of one or several frames, into an image file; return its path."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**STYLE, "axes.spines.left": True}):
        figure = Figure(figsize=(7.0, 4.6), layout="constrained")
        draw_sizes(figure.subplots(), found)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=_DPI)
    return Path(path)


def population_figure(
    instances: Instances | ArrayLike,
    table: pd.DataFrame,
    found: Population,
    path: str | os.PathLike[str],
    *,
    columns: tuple[str, ...] = ("circularity", "aspect_ratio", "solidity"),
) -> Path:
    """Draw the size histogram and maps of the frame coloured by shape into one image file.

    Parameters
    ----------
    instances : Instances or array_like of int, shape (H, W)
        The particles of one frame.
    table : pandas.DataFrame
        Their table from `segmentation.measure`.
    found : Population
        Of `segmentation.population.population`.
    path : path
        The file, of a format matplotlib writes. Written whole or not at all, 150 dpi.
    columns : tuple of str
        Columns of the table to map.

    Returns
    -------
    Path
        `path`.

    Examples
    --------
    >>> population_figure(instances, table, population(table, instances.shape), "sizes.png")  # doctest: +SKIP
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**STYLE, "axes.spines.left": True}):
        figure = Figure(figsize=(5.2 * (1 + len(columns)), 5.0), layout="constrained")
        # Apart, so that the room for the histogram's legend is not taken from the maps.
        widths = (1, len(columns)) if columns else (1,)
        parts: Any = figure.subfigures(1, len(widths), squeeze=False, width_ratios=widths)
        sizes, *maps = parts[0]
        draw_sizes(sizes.subplots(), found)
        for part in maps:
            for axes, column in zip(np.atleast_1d(part.subplots(1, len(columns))), columns, strict=True):
                draw_shape_map(axes, instances, table, column)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=_DPI)
    return Path(path)
