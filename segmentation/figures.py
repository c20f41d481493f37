"""One figure that shows a result: what was scanned, what was reconstructed, how sure, what was found, how large."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from segmentation.instances import Instances, as_instances
from segmentation.measure import summary
from simulate.atomic import atomic_path
from simulate.errors import InputError, PixelSize, pixel_size_pair

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from cs_recon.reconstruction import Reconstruction
    from simulate.measurement import Measurement

# Okabe and Ito's vermilion and blue: told apart, and from grey, by all kinds of colour vision.
OUTLINE = (0.835, 0.369, 0.0)
BARS = "#0072b2"
UNSAMPLED = (0.24, 0.31, 0.42)  # slate: no grey value of the scan looks like it
DPI = 150
SMALL = 8.5  # points

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.left": False,
    "figure.facecolor": "white",
}


def result_figure(
    measurement: Measurement,
    reconstruction: Reconstruction,
    instances: Instances,
    table: pd.DataFrame,
    path: str | os.PathLike[str],
) -> Path:
    """Draw the scan, the reconstruction, its uncertainty, the particles and their sizes into one image file.

    Parameters
    ----------
    measurement : Measurement
        The sparse scan; unsampled pixels are drawn in slate blue.
    reconstruction : Reconstruction
        The image, and sigma if the method gives one (the figure says so where it does not).
    instances : Instances
        The particles, outlined on the reconstruction.
    table : pandas.DataFrame
        From `measure`; its equivalent diameters make the histogram.
    path : path
        The file, of a format matplotlib writes (png, pdf, svg). Written whole or not at all, 150 dpi.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If the three differ in shape, or the folder cannot be written.

    Examples
    --------
    >>> result_figure(measurement, reconstruction, instances, table, "result.png")  # doctest: +SKIP
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shapes = {measurement.shape, reconstruction.image.shape, instances.shape}
    if len(shapes) != 1:
        raise InputError(
            f"the scan has shape {measurement.shape}, the reconstruction {reconstruction.image.shape} and the "
            f"label map {instances.shape}; expected equal shapes"
        )
    pixel_size = reconstruction.pixel_size_nm if measurement.pixel_size_nm is None else measurement.pixel_size_nm
    aspect = pixel_size_pair(pixel_size)[0] / pixel_size_pair(pixel_size)[1]
    image = reconstruction.image
    limits = display_limits(image)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 9.0), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
        panels = figure.subplot_mosaic("ABC;DEE")
        figure.suptitle(measurement.name, x=0.01, ha="left", fontsize=13, fontweight="bold", parse_math=False)
        _show(panels["A"], sampled_frame(measurement, limits), instances.shape, aspect)
        n_samples = int(measurement.mask.sum())
        panels["A"].set_title(f"Scan: {100 * measurement.ratio:.3g} % of pixels ({n_samples:,} of {image.size:,})")
        _show(panels["B"], _grey(image, limits), instances.shape, aspect)
        panels["B"].set_title(f"Reconstruction ({reconstruction.method})")
        _show_sigma(figure, panels["C"], reconstruction, aspect)
        _show(panels["D"], _outlined(image, instances.labels, limits), instances.shape, aspect)
        panels["D"].set_title(_how_many(instances))
        for name in "BD":
            draw_scale_bar(panels[name], pixel_size, image.shape)
        _histogram(panels["E"], table)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
    return Path(path)


def particles_figure(instances: Instances, table: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Draw a frame with its particles outlined, and their sizes, into one image file.

    Parameters
    ----------
    instances : Instances
        The particles, with the `intensity` of the frame they were found on.
    table : pandas.DataFrame
        From `measure`; its equivalent diameters make the histogram.
    path : path
        The file, of a format matplotlib writes (png, pdf, svg). Written whole or not at all, 150 dpi.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If the particles come without a frame, or the folder cannot be written.

    Examples
    --------
    >>> particles_figure(segment(frame), measure(segment(frame)), "particles.png")  # doctest: +SKIP
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    image = instances.intensity
    if image is None:
        raise InputError("the particles come without the frame they were found on; expected Instances with intensity")
    row_nm, column_nm = pixel_size_pair(instances.pixel_size_nm)
    limits = display_limits(image)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 5.0), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
        panels = figure.subplot_mosaic("AB", width_ratios=[1, 1.7])  # room for title and legend in one line
        figure.suptitle(instances.name, x=0.01, ha="left", fontsize=13, fontweight="bold", parse_math=False)
        _show(panels["A"], _outlined(image, instances.labels, limits), instances.shape, row_nm / column_nm)
        panels["A"].set_title(_how_many(instances))
        draw_scale_bar(panels["A"], instances.pixel_size_nm, image.shape)
        _histogram(panels["B"], table)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
    return Path(path)


def outline_overlay(
    image: ArrayLike,
    labels: Instances | ArrayLike,
    *,
    thickness: int = 1,
    color: tuple[float, float, float] = OUTLINE,
    limits: tuple[float, float] | None = None,
) -> NDArray[np.float32]:
    """Draw the outlines of particles, inside their edges, on a grey image.

    Parameters
    ----------
    image : array_like, shape (H, W)
        Any unit.
    labels : Instances or array_like of int, shape (H, W)
        Label map.
    thickness : int
        Of the outlines, in pixels.
    color : (float, float, float)
        Red, green and blue in [0, 1].
    limits : (float, float), optional
        Intensities shown black and white; the 0.5 and 99.5 percentiles if None.

    Returns
    -------
    ndarray of float32, shape (H, W, 3)
        Red, green and blue in [0, 1].

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((7, 7), int)
    >>> labels[1:6, 1:6] = 1
    >>> overlay = outline_overlay(np.zeros((7, 7)), labels, color=(1, 0, 0))
    >>> int(overlay[..., 0].sum())
    16
    """
    array, label_map = np.asarray(image, dtype=np.float64), as_instances(labels).labels
    if array.shape != label_map.shape:
        raise InputError(f"image has shape {array.shape} but the labels {label_map.shape}; expected equal shapes")
    overlay = _grey(array, display_limits(array) if limits is None else limits)
    overlay[outlines(label_map, thickness)] = color
    return overlay


def outlines(labels: NDArray[np.int32], thickness: int = 1) -> NDArray[np.bool_]:
    """Return the particle pixels within `thickness` pixels (along rows, columns, diagonals) of another label.

    >>> import numpy as np
    >>> outlines(np.array([[0, 1, 1, 2]], dtype=np.int32)).tolist()
    [[False, True, True, True]]
    """
    size = 2 * thickness + 1
    largest = ndimage.maximum_filter(labels, size, mode="nearest")
    return (labels > 0) & (largest != ndimage.minimum_filter(labels, size, mode="nearest"))


def sampled_frame(measurement: Measurement, limits: tuple[float, float] | None = None) -> NDArray[np.float32]:
    """Return the scan as colours (H, W, 3) in [0, 1]: sampled pixels grey, the others slate blue.

    >>> import numpy as np
    >>> from simulate import Measurement
    >>> frame = np.arange(64.0).reshape(8, 8)
    >>> sampled_frame(Measurement(frame, frame > 31), (0, 63))[7, 7].tolist()
    [1.0, 1.0, 1.0]
    """
    colors = _grey(measurement.values, display_limits(measurement.samples) if limits is None else limits)
    colors[~measurement.mask] = UNSAMPLED
    return colors


def display_limits(image: NDArray) -> tuple[float, float]:
    """Return the intensities to show black and white: the 0.5 and 99.5 percentiles of the finite values."""
    finite = image[np.isfinite(image)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, [0.5, 99.5])
    # A few bright pixels on a flat frame lie outside the percentiles.
    return (float(low), float(high)) if high > low else (float(finite.min()), float(finite.max()))


def scale_bar_nm(width_nm: float) -> float:
    """Return a round length of 1, 2 or 5 times a power of ten, at most a quarter of the width.

    >>> scale_bar_nm(256.0), scale_bar_nm(10.0)
    (50.0, 2.0)
    """
    longest = width_nm / 4
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)))


def length_text(length_nm: float) -> str:
    """Return a length with its unit.

    >>> length_text(50.0), length_text(2000.0)
    ('50 nm', '2 µm')
    """
    return f"{length_nm / 1000:g} µm" if length_nm >= 1000 else f"{length_nm:g} nm"


def _grey(image: NDArray, limits: tuple[float, float]) -> NDArray[np.float32]:
    low, high = limits
    level = np.clip((image - low) / (high - low if high > low else 1.0), 0, 1)
    return np.repeat(np.nan_to_num(level)[..., None], 3, axis=2).astype(np.float32)


def _outlined(image: NDArray, labels: NDArray[np.int32], limits: tuple[float, float]) -> NDArray[np.float32]:
    """Outlines about as thick on a small frame as on a large one: small frames are enlarged first."""
    factor = max(1, round(1000 / max(image.shape)))
    thickness = max(2, round(factor * max(image.shape) / 700))
    enlarged, label_map = (array.repeat(factor, axis=0).repeat(factor, axis=1) for array in (image, labels))
    return outline_overlay(enlarged, label_map, thickness=thickness, limits=limits)


def _show(axes: Axes, colors: NDArray, shape: tuple[int, int], aspect: float) -> None:
    height, width = shape
    axes.imshow(colors, aspect=aspect, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set_axis_off()


def _show_sigma(figure: Figure, axes: Axes, reconstruction: Reconstruction, aspect: float) -> None:
    if reconstruction.sigma is None:
        axes.set_title("Uncertainty: not known")
        axes.set_box_aspect(aspect * reconstruction.image.shape[0] / reconstruction.image.shape[1])
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_facecolor("0.95")
        axes.spines[:].set_visible(False)
        text = f"{reconstruction.method}\ngives no uncertainty"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.35")
        return
    sigma = reconstruction.sigma
    finite = sigma[np.isfinite(sigma)]
    top = float(np.percentile(finite, 99.5)) if finite.size else 1.0
    shown = axes.imshow(sigma, aspect=aspect, cmap="cividis", vmin=0, vmax=top if top > 0 else 1.0)
    axes.set_axis_off()
    axes.set_title(f"Uncertainty (1 σ), median {np.median(finite) if finite.size else np.nan:.3g}")
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.set_label("units of the scan", fontsize=SMALL)


def draw_scale_bar(axes: Axes, pixel_size: PixelSize | None, shape: tuple[int, ...], colour: str = "white") -> None:
    """Draw a bar of a round length into the lower left corner of a picture of a frame, if its pixel size is known."""
    if pixel_size is None:
        return
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    edge = "black" if colour == "white" else "white"
    height, width = shape
    column_nm = pixel_size_pair(pixel_size)[1]
    length_nm = scale_bar_nm(width * column_nm)
    length, left, bottom = length_nm / column_nm, 0.04 * width, 0.95 * height
    bar = Rectangle((left, bottom - 0.014 * height), length, 0.014 * height, facecolor=colour, edgecolor=edge, lw=0.6)
    axes.add_patch(bar)
    axes.text(
        left + length / 2,
        bottom - 0.025 * height,
        length_text(length_nm),
        color=colour,
        ha="center",
        va="bottom",
        fontsize=10,
        fontweight="bold",
        path_effects=[withStroke(linewidth=2, foreground=edge)],
    )


def _how_many(instances: Instances) -> str:
    return f"{len(instances):,} particle{'' if len(instances) == 1 else 's'} ({instances.method})"


def _histogram(axes: Axes, table: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    found = summary(table)
    unit = next(name for name in found if name.startswith("d50_")).removeprefix("d50_")
    median, count = found[f"d50_{unit}"], found["count"]
    axes.set_xlabel(f"Equivalent diameter ({unit})")
    axes.set_ylabel("Particles")
    # On the right, beside the colour bar above it, so that the panels stay in line.
    axes.yaxis.set_label_position("right")
    axes.yaxis.tick_right()
    axes.spines["right"].set_visible(True)
    if not count:
        axes.set_title("Sizes")
        axes.text(0.5, 0.5, "no particles", transform=axes.transAxes, ha="center", va="center", color="0.35")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    sizes = table[f"equivalent_diameter_{unit}"].to_numpy(dtype=np.float64)
    n_bins = int(np.clip(2 * np.sqrt(sizes.size), 8, 40))
    axes.hist(sizes, bins=n_bins, color=BARS, edgecolor="white", linewidth=0.6)
    axes.axvline(median, color="black", linewidth=1.4, label=f"median {median:.3g} {unit}")
    axes.axvspan(
        found[f"d10_{unit}"],
        found[f"d90_{unit}"],
        color="black",
        alpha=0.07,
        lw=0,
        zorder=0,
        label=f"D10-D90: {found[f'd10_{unit}']:.3g}-{found[f'd90_{unit}']:.3g} {unit}",
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(
        frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=9.5, borderpad=0, handlelength=1.5
    )
    axes.set_title(f"Sizes of {count:,} ({found['touching_border']:,} cut by the frame's edge)")
