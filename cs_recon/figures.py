"""Pictures of reconstructions: one frame by many methods, and how far a method's uncertainty is to be trusted."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from cs_recon.metrics import psnr
from simulate.errors import InputError
from simulate.figures import COLOURS, UNSCANNED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cs_recon.reconstruction import Reconstruction
    from simulate.measurement import Measurement

LEVELS = np.linspace(0.05, 0.99, 24)
"""Nominal coverages at which intervals are checked."""


def methods_size(n_results: int, columns: int = 5, *, truth: bool = True) -> tuple[float, float]:
    """Return the size in inches that `draw_methods` needs for so many results."""
    return 1.75 * columns, 1.98 * -(-(n_results + 1 + truth) // columns)


def draw_methods(
    figure: Figure,
    scan: Measurement,
    results: Sequence[Reconstruction],
    *,
    truth: NDArray | None = None,
    columns: int = 5,
    zoom: slice | None = None,
) -> None:
    """Draw a scan, the truth if it is known, and its reconstructions beside each other, on one grey scale.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        An empty figure, with a constrained layout.
    scan : Measurement
        The scan; pixels that were not scanned are dark blue.
    results : sequence of Reconstruction
        The images, each titled by its method and its PSNR if there is a truth.
    truth : ndarray, shape (H, W), optional
        The clean frame.
    columns : int
        How many pictures a row.
    zoom : slice, optional
        Rows and columns to show, of all.
    """
    if not results:
        raise InputError("got no reconstructions to draw; expected at least one")
    low, high = np.percentile(results[0].image if truth is None else truth, (0.5, 99.5))
    panels = [(f"scan\n{100 * scan.ratio:.3g} % of the pixels", np.where(scan.mask, scan.values, np.nan))]
    if truth is not None:
        panels.append(("truth\n", truth))
    panels += [(f"{one.method}\n{_quality(one, truth)}", one.image) for one in results]
    axes = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).ravel()
    for axis, (title, image) in zip(axes, panels, strict=False):
        cut = image if zoom is None else image[zoom, zoom]
        axis.imshow(cut, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(title, fontsize=7.5)
        axis.set(xticks=[], yticks=[], facecolor=UNSCANNED)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()


def _quality(result: Reconstruction, truth: NDArray | None) -> str:
    return "" if truth is None else f"{psnr(truth, result.image):.1f} dB"


def draw_sigma(figure: Figure, result: Reconstruction, truth: NDArray) -> None:
    """Draw an image, its sigma, its error on the same scale, and how often the truth lies within each interval.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        An empty figure, with a constrained layout.
    result : Reconstruction
        With a sigma.
    truth : ndarray, shape (H, W)
        The clean frame.
    """
    sigma, axes = _sigma(result), figure.subplots(1, 4)
    top = float(np.percentile(sigma, 99.5))
    shown = (
        (f"{result.method}: image", result.image, "gray", np.percentile(truth, (0.5, 99.5))),
        ("sigma", sigma, "magma", (0, top)),
        ("|error|, same scale", np.abs(result.image - truth), "magma", (0, top)),
    )
    for axis, (title, image, colours, limits) in zip(axes, shown, strict=False):
        axis.imshow(image, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
        axis.set_title(title)
        axis.set_axis_off()
    bar = figure.colorbar(axes[2].images[0], ax=axes[2], shrink=0.8, pad=0.02, extend="max")
    bar.set_label("in the unit of the image")
    draw_reliability(axes[3], {"all pixels": [(result, truth)]})


def draw_reliability(axes: Axes, groups: Mapping[str, Sequence[tuple[Reconstruction, NDArray]]]) -> None:
    """Draw the share of pixels within intervals against what they promise, for named groups of results and truths."""
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    for (name, pairs), colour in zip(groups.items(), cycle(COLOURS), strict=False):
        found = np.mean([interval_coverage(one, truth) for one, truth in pairs], axis=0)
        axes.plot(LEVELS, found, label=name, color=colour, linewidth=1.3)
    axes.set(xlabel="promised", ylabel="share of pixels within", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title("intervals")
    axes.legend(frameon=False, fontsize=7)


def interval_coverage(result: Reconstruction, truth: NDArray) -> NDArray[np.float64]:
    """Return the share of pixels whose truth lies within the central normal interval of each of `LEVELS`."""
    score = np.abs(result.image - truth) / _sigma(result)
    return np.array([np.mean(score <= norm.ppf(0.5 + level / 2)) for level in LEVELS], dtype=np.float64)


def _sigma(result: Reconstruction) -> NDArray[np.float32]:
    if result.sigma is None:
        raise InputError(f"the reconstruction by {result.method!r} has no sigma; expected a method that gives one")
    return result.sigma
