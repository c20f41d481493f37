"""One figure that shows how particles are arranged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulate.figures import canvas

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from segmentation.dispersion.analysis import Dispersion

BLUE, ORANGE, LINE = "#0072b2", "#d55e00", "0.5"


def dispersion_figure(found: Dispersion, path: str | os.PathLike[str]) -> Path:
    """Draw all of it into one image file.

    Particles with their bond order and contacts; distances to the nearest neighbour; L, g, G and F with the global
    envelopes of random placement without overlap; Voronoi areas; agglomerates; and the persistence diagram.

    Parameters
    ----------
    found : Dispersion
        Of `segmentation.dispersion.dispersion`.
    path : path
        The file, of a format matplotlib writes. Written whole or not at all.

    Returns
    -------
    Path
        `path`.

    Examples
    --------
    >>> dispersion_figure(dispersion(instances, rng=0), "dispersion.png")  # doctest: +SKIP
    """
    with canvas((14, 6.8), path) as figure:
        panels = figure.subplots(2, 4).ravel()
        _map(figure, panels[0], found)
        _distances(panels[1], found)
        _function(panels[2], found, "L")
        _function(panels[3], found, "g")
        for name, colour in (("G", BLUE), ("F", ORANGE)):
            _function(panels[4], found, name, colour)
        panels[4].set_title("nearest neighbour G, empty space F")
        _areas(panels[5], found)
        _agglomerates(panels[6], found)
        _persistence(panels[7], found)
    return Path(path)


def _map(figure: Figure, axes: Axes, found: Dispersion) -> None:
    from matplotlib.collections import EllipseCollection, LineCollection

    table, unit, window = found.particles, found.unit, found.window
    at = table[[f"x_{unit}", f"y_{unit}"]].to_numpy()
    if window.mask is not None:
        axes.imshow(window.mask, extent=(0, window.width, window.height, 0), cmap="Greys_r", vmin=-6, vmax=1)
    size = 2 * table[f"radius_{unit}"].to_numpy()
    disks = EllipseCollection(
        size, size, np.zeros(len(at)), units="xy", offsets=at, offset_transform=axes.transData, cmap="viridis"
    )
    order = table["psi6"].to_numpy()
    disks.set_array(np.ma.masked_invalid(np.where(table["voronoi_at_border"], np.nan, order)))
    disks.set_cmap(_with_grey())
    disks.set_clim(0, 1)
    axes.add_collection(disks)
    row = {label: index for index, label in enumerate(table["label"])}
    ends = [[row[label] for label in found.contacts[end]] for end in ("first", "second")]
    axes.add_collection(LineCollection(list(np.stack([at[ends[0]], at[ends[1]]], 1)), colors="black", linewidths=0.6))
    axes.set(
        xlim=(0, window.width), ylim=(window.height, 0), aspect="equal", xlabel=f"x ({unit})", ylabel=f"y ({unit})"
    )
    figure.colorbar(disks, ax=axes, label="bond order |ψ6| (grey: border)", shrink=0.8)
    axes.set_title(f"{len(at):,} particles, {len(found.contacts):,} contacts")


def _with_grey():
    from matplotlib import colormaps

    return colormaps["viridis"].with_extremes(bad="0.7")


def _distances(axes: Axes, found: Dispersion) -> None:
    unit = found.unit
    shown = {name: found.particles[f"nearest_{name}_{unit}"].dropna().to_numpy() for name in ("centre", "surface")}
    every = np.concatenate(list(shown.values()))
    axes.set(xlabel=f"distance ({unit})", ylabel="particles")
    axes.set_title("nearest neighbours")
    if not every.size:
        _say(axes, "fewer than two particles")
        return
    edges = np.linspace(0, every.max() if every.max() > 0 else 1, _bins(len(found.particles)) + 1)
    for (name, values), colour in zip(shown.items(), (BLUE, ORANGE), strict=True):
        axes.hist(values, bins=edges.tolist(), histtype="step", color=colour, lw=1.4, label=f"{name}s")
    axes.locator_params(axis="y", integer=True)
    axes.legend(frameon=False)
    summary = found.summary
    axes.set_title(f"nearest neighbours: Clark-Evans {summary['clark_evans']:.3g}, z = {summary['clark_evans_z']:.2g}")


def _function(axes: Axes, found: Dispersion, name: str, colour: str = BLUE) -> None:
    unit, curves = found.unit, found.curves
    ending = f"_{unit}" if name == "L" else ""
    r = curves[f"r_{unit}"].to_numpy()
    base = r if name == "L" else np.zeros_like(r)
    title = {"L": f"L(r) - r ({unit})", "g": "pair correlation g(r)"}.get(name, name)
    axes.set(xlabel=f"r ({unit})", title=title)
    if not len(curves):
        _say(axes, "fewer than two particles")
        return
    values = curves[f"{name}{ending}"].to_numpy() - base
    limits = [curves.get(f"{name}_global_{side}{ending}") for side in ("low", "high")]
    # None of them is ever negative, and shares are at most 1.
    band = [np.clip(limit, 0, 1 if name in "GF" else None) - base for limit in limits if limit is not None]
    label = name
    if band:
        axes.fill_between(r, *band, color=colour, alpha=0.18, lw=0, label="at random (95 %)" if name != "F" else None)
        label = f"{name}, p = {found.summary[f'hard_core_p_{name}']:.2g}"
    axes.plot(r, values, color=colour, lw=1.4, label=label)
    axes.set_xlim(0, r[-1])
    if name == "g":
        axes.axhline(1, color=LINE, lw=0.8, zorder=0)
    if name in "gL":
        axes.axhline(0, color=LINE, lw=0.8, zorder=0)
        _make_room(axes, values, band, below=name == "L")
    axes.legend(frameon=False, loc="lower right" if name in "GFL" else "upper right", handlelength=1.2)


def _make_room(axes: Axes, values: NDArray, band: list[NDArray], *, below: bool) -> None:
    """Leave a third of the panel for the legend, below or above the curves."""
    every = np.concatenate([values, *band])
    every = every[np.isfinite(every)]
    if every.size:
        low, high = every.min(), max(every.max(), every.min() + 1e-9)
        span = high - low
        axes.set_ylim(low - (0.5 if below else 0.05) * span, high + (0.05 if below else 0.5) * span)


def _areas(axes: Axes, found: Dispersion) -> None:
    areas = found.particles[f"voronoi_area_{found.unit}2"].dropna().to_numpy()
    axes.set(xlabel="cell area / mean", ylabel="particles", title="Voronoi cells")
    if areas.size < 2:
        _say(axes, "no cells away from the border")
        return
    axes.hist(areas / areas.mean(), bins=_bins(areas.size), color=BLUE, alpha=0.6, edgecolor="white")
    axes.locator_params(axis="y", integer=True)
    # Of random points the coefficient of variation is 0.53.
    neighbours = found.summary["mean_coordination"]
    axes.set_title(f"Voronoi cells: CV {found.summary['voronoi_area_cv']:.2g}, {neighbours:.2f} neighbours")


def _agglomerates(axes: Axes, found: Dispersion) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    table, unit = found.agglomerates, found.unit
    axes.set(xlabel="radius of gyration / primary radius", ylabel="particles")
    axes.set_title(f"{len(table):,} agglomerates of {found.summary['clustered'] or 0:.0%} of the particles")
    if not len(table):
        axes.set(title="agglomerates", xticks=[], yticks=[])
        _say(axes, "no particles in contact")
        return
    ratio = (table[f"radius_of_gyration_{unit}"] / table[f"primary_radius_{unit}"]).to_numpy(dtype=np.float64)
    count = table["particles"].to_numpy(dtype=np.float64)
    cut = table["touches_border"].to_numpy(dtype=bool)
    axes.loglog(ratio[~cut], count[~cut], "o", ms=3, color=BLUE, label="whole")
    axes.loglog(ratio[cut], count[cut], "o", ms=3, mfc="none", color=LINE, label="cut by the border")
    dimension = found.summary["fractal_dimension"]
    if np.isfinite(dimension):
        x = np.geomspace(ratio.min(), ratio.max(), 2)
        error, k = found.summary["fractal_dimension_error"], found.summary["fractal_prefactor"]
        label = f"D = {dimension:.2f} ± {error:.2f}, k = {k:.2g}"
        axes.loglog(x, k * x**dimension, color=ORANGE, lw=1.2, label=label)
    for axis, top in ((axes.xaxis, ratio.max()), (axes.yaxis, count.max())):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if top > 5 else (1, 1.5, 2, 3, 4, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.set(xlim=(0.9, max(1.5 * ratio.max(), 3)), ylim=(1.5, max(4 * count.max(), 10)))
    axes.legend(frameon=False, loc="upper left")


def _persistence(axes: Axes, found: Dispersion) -> None:
    table, unit = found.persistence, found.unit
    axes.set(xlabel=f"birth ({unit})", ylabel=f"death ({unit})", title="persistence")
    if not len(table):
        _say(axes, "fewer than two particles")
        return
    for dimension, colour, name in ((0, ORANGE, "components"), (1, BLUE, "holes")):
        part = table[table["dimension"] == dimension]
        axes.plot(
            part[f"birth_{unit}"], part[f"death_{unit}"], "o", ms=2.5, color=colour, label=f"{len(part):,} {name}"
        )
    axes.axline((0, 0), slope=1, color=LINE, lw=0.8)
    axes.legend(frameon=False, loc="lower right")


def _bins(count: int) -> int:
    """Return how many bars show so many values."""
    return int(np.clip(2 * np.sqrt(count), 8, 30))


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.35")
