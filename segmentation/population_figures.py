"""Pictures of a population: its size histogram with fit and intervals, and maps of the frame coloured by shape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segmentation.figures import BARS, OUTLINE, STYLE
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
        label = f"{best.name}: {best['location']:.3g}, {best['scale']:.3g} (KS {best['ks']:.2g})"
        axes.plot(x, density, color=OUTLINE, lw=1.8, label=label)
    for name in ("d10", "d50", "d90"):
        value, start, stop = found.statistics.loc[name].to_numpy(dtype=np.float64)
        axes.axvline(value, color="black", lw=1.2 if name == "d50" else 0.8, ls="-" if name == "d50" else "--")
        if np.isfinite(start):
            axes.axvspan(start, stop, color="black", alpha=0.12, lw=0)
        text = axes.text(value, 0.995, f" {name.upper()} {value:.3g}", rotation=90, va="top", ha="right", fontsize=8.5)
        text.set_transform(axes.get_xaxis_transform())
    if len(found.fits):
        # Above the histogram, so that the fit is not hidden behind its own name.
        axes.set_ylim(top=1.3 * axes.get_ylim()[1])
        axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.88), fontsize=9)
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
    image = axes.imshow(
        shown,
        cmap=color_map,
        interpolation="nearest",
        aspect=row_size / col_size,
        vmin=min(low, high - 0.02 * max(abs(high), 1e-9)),  # widened downwards: a solidity above 1 does not exist
        vmax=high,
    )
    axes.set_axis_off()
    axes.set_title(column)
    if axes.figure is not None and finite.size:
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, extend="both")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


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
        figure = Figure(figsize=(5.2 * (1 + len(columns)), 4.6), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, 1 + len(columns)))
        draw_sizes(panels[0], found)
        for axes, column in zip(panels[1:], columns, strict=True):
            draw_shape_map(axes, instances, table, column)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=_DPI)
    return Path(path)
