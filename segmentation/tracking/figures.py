"""Figures of a movie: trajectories over a frame, a kymograph, growth curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segmentation.figures import display_limits
from segmentation.tracking.tracks import DIAMETERS, Tracks
from simulate.errors import InputError, check_count, check_kind, check_shape, pixel_size_pair
from simulate.figures import canvas

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

TIME_COLOURS = "cool"
"""No dark colour: particles may be bright or dark, and the film behind them is the other."""
# Okabe and Ito's colours: told apart by all kinds of colour vision.
EVENT_MARKS = {"merge": ("o", "#e69f00"), "split": ("s", "#f0e442")}
CURVE = "#0072b2"


def trajectories_figure(tracks: Tracks, path: str | os.PathLike[str], image: ArrayLike | None = None) -> Path:
    """Draw the trajectories in the colour of time, from cyan to magenta, and mergers and splits, over a frame.

    Parameters
    ----------
    tracks : Tracks
        Trajectories.
    path : path
        The image file (png, svg, pdf).
    image : array_like, shape (H, W), optional
        The frame.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If the file's format is not known or its folder cannot be written.

    Examples
    --------
    >>> trajectories_figure(tracks, "trajectories.png", image)  # doctest: +SKIP
    """
    from matplotlib.collections import LineCollection

    check_kind(tracks, "tracks", Tracks)
    rows, cols = pixel_size_pair(tracks.pixel_size_nm)
    frames, particles = (tracks.table[name].to_numpy() for name in ("frame", "particle"))
    points = tracks.table[["x", "y"]].to_numpy(float)
    order = np.lexsort((frames, particles))
    same = np.diff(particles[order]) == 0
    steps = np.stack([points[order][:-1], points[order][1:]], axis=1)[same]
    times, unit = _times(tracks)
    with canvas((6.4, 5.8), path) as figure:
        axes = figure.subplots()
        if image is not None:
            check_shape(np.shape(image), "image", smallest=1)
            frame = np.asarray(image, dtype=float)
            low, high = display_limits(frame)
            axes.imshow(frame, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        lines = LineCollection(list(steps), array=times[order][1:][same], cmap=TIME_COLOURS, linewidths=1.4)
        lines.set_clim(0, times.max(initial=0) or 1)  # from the movie's start
        axes.add_collection(lines)
        bar = figure.colorbar(lines, ax=axes, shrink=0.8, pad=0.02)
        bar.set_label(f"time ({unit})")
        kinds = tracks.events["kind"].to_numpy() if len(tracks.events) else np.zeros(0, dtype="U1")
        for kind, (marker, colour) in EVENT_MARKS.items():
            here = kinds == kind
            if here.any():
                x, y = (tracks.events[name].to_numpy(float)[here] for name in ("x", "y"))
                axes.scatter(
                    x, y, 34, marker=marker, facecolors="none", edgecolors=colour, linewidths=1.6,
                    label=f"{kind} ({here.sum()})",
                )  # fmt: skip
        if axes.get_legend_handles_labels()[0]:
            # Grey behind the marks: yellow is seen on it, as on the frame.
            axes.legend(
                loc="upper left", bbox_to_anchor=(0, -0.01), ncols=4, facecolor="0.35", edgecolor="none",
                labelcolor="white", handletextpad=0.2, columnspacing=1.2,
            )  # fmt: skip
        if image is None:
            axes.autoscale()
            axes.invert_yaxis()
            axes.set_facecolor("0.2")
        else:
            height, width = np.shape(image)
            axes.set_xlim(-0.5, width - 0.5)
            axes.set_ylim(height - 0.5, -0.5)
        axes.set_aspect(rows / cols)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"{len(tracks):,} trajectories in {np.unique(frames).size:,} frames")
    return Path(path)


def kymograph(frames: Iterable[ArrayLike], line: int, *, width: int = 1, axis: str = "x") -> NDArray[np.float64]:
    """Return the intensity along a line of pixels through time.

    Parameters
    ----------
    frames : iterable of array_like, shape (H, W)
        The frames in order, of one shape; each is taken when it is needed.
    line : int
        Row (or column, along y) that the line is in.
    width : int
        Rows to average over, about that one, as far as they lie in the frame.
    axis : {"x", "y"}
        Along a row, or down a column.

    Returns
    -------
    ndarray of float64, shape (frames, W), or (frames, H) along y

    Raises
    ------
    InputError
        If there are no frames, they differ in shape, or the line is outside.

    Examples
    --------
    >>> kymograph([np.eye(4), 2 * np.eye(4)], 1).tolist()
    [[0.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]]
    """
    check_count(width, "width", 1)
    if axis not in ("x", "y"):
        raise InputError(f"axis is {axis!r}; expected 'x' or 'y'")
    rows = []
    for frame in frames:
        array = np.asarray(frame, dtype=float)
        array = array if axis == "x" else array.T
        if array.ndim != 2 or not 0 <= line < len(array):
            raise InputError(f"line is {line} in a frame of shape {array.shape}; expected a line inside of a 2-D frame")
        start = int(line) - (int(width) - 1) // 2
        rows.append(array[max(start, 0) : start + int(width)].mean(axis=0))
    if not rows or len({row.size for row in rows}) > 1:
        raise InputError(
            f"got {len(rows)} frames of {len({row.size for row in rows})} sizes; expected frames of one shape"
        )
    return np.array(rows)


def kymograph_figure(
    frames: Iterable[ArrayLike],
    path: str | os.PathLike[str],
    *,
    line: int,
    width: int = 1,
    axis: str = "x",
    tracks: Tracks | None = None,
) -> Path:
    """Draw a kymograph: position from left to right, time downwards, and on it the trajectories that cross the line.

    Parameters
    ----------
    frames, line, width, axis
        As for `kymograph`.
    path : path
        The image file (png, svg, pdf).
    tracks : Tracks, optional
        Trajectories: drawn where a particle's disk covers the line.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        As `kymograph` does, or if the file's format is not known or its folder cannot be written.

    Examples
    --------
    >>> kymograph_figure(frames, "kymograph.png", line=128, tracks=tracks)  # doctest: +SKIP
    """
    image = kymograph(frames, line, width=width, axis=axis)
    interval = 1.0 if tracks is None or tracks.frame_interval_s is None else tracks.frame_interval_s
    unit = "frames" if tracks is None or tracks.frame_interval_s is None else "s"
    pixel = 1.0 if tracks is None else pixel_size_pair(tracks.pixel_size_nm)[1 if axis == "x" else 0]
    along = "px" if tracks is None or tracks.pixel_size_nm is None else "nm"
    n_frames, length = image.shape
    low, high = display_limits(image)
    with canvas((6.4, 4.6), path) as figure:
        axes = figure.subplots()
        extent = (-0.5 * pixel, (length - 0.5) * pixel, (n_frames - 0.5) * interval, -0.5 * interval)
        axes.imshow(
            image, cmap="gray", vmin=low, vmax=high, aspect="auto", extent=extent, interpolation="nearest"
        )  # fmt: skip
        if tracks is not None:
            for time, position in _crossings(tracks, line, axis):
                axes.plot(position * pixel, time * interval, color="#e69f00", linewidth=1.2)
        axes.set_xlim(extent[0], extent[1])
        axes.set_ylim(extent[2], extent[3])
        axes.set_xlabel(f"{axis} ({along})")
        axes.set_ylabel(f"time ({unit})")
        axes.set_title(f"Kymograph along {'row' if axis == 'x' else 'column'} {line}")
    return Path(path)


def growth_figure(tracks: Tracks, path: str | os.PathLike[str], *, min_frames: int = 5) -> Path:
    """Draw the diameter of every particle through time, and the median of those there in each frame.

    Parameters
    ----------
    tracks : Tracks
        Trajectories.
    path : path
        The image file (png, svg, pdf).
    min_frames : int
        Particles seen in fewer frames are left out.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If the file's format is not known or its folder cannot be written.

    Examples
    --------
    >>> growth_figure(tracks, "growth.png")  # doctest: +SKIP
    """
    check_kind(tracks, "tracks", Tracks)
    check_count(min_frames, "min_frames", 1)
    column = next((name for name in DIAMETERS if name in tracks.table), None)
    times, unit = _times(tracks)
    particles = tracks.table["particle"].to_numpy(int)
    often = np.bincount(particles)[particles] >= min_frames if particles.size else np.zeros(0, dtype=bool)
    with canvas((6.4, 4.2), path) as figure:
        axes = figure.subplots()
        axes.set_xlabel(f"time ({unit})")
        axes.set_ylabel(f"equivalent diameter ({(column or DIAMETERS[1])[-2:]})")
        axes.spines[["top", "right"]].set_visible(False)
        if column is None or not often.any():
            axes.text(0.5, 0.5, "no particles", transform=axes.transAxes, ha="center", va="center", color="0.35")
            axes.set_title("Growth")
        else:
            diameters = tracks.table[column].to_numpy(float)
            order = np.lexsort((times, particles))
            order = order[often[order]]
            cuts = np.flatnonzero(np.diff(particles[order])) + 1
            for rows in np.split(order, cuts):
                axes.plot(times[rows], diameters[rows], color=CURVE, alpha=0.35, linewidth=0.8)
            moments = np.unique(times[order])
            middle = [np.median(diameters[order][times[order] == moment]) for moment in moments]
            axes.plot(moments, middle, color="black", linewidth=1.8, label="median")
            axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
            n = cuts.size + 1
            axes.set_title(f"Growth of {n:,} particle{'' if n == 1 else 's'}")
    return Path(path)


def _times(tracks: Tracks) -> tuple[NDArray[np.float64], str]:
    frames = tracks.table["frame"].to_numpy(float)
    return (frames, "frames") if tracks.frame_interval_s is None else (frames * tracks.frame_interval_s, "s")


def _crossings(tracks: Tracks, line: int, axis: str) -> list[tuple[NDArray, NDArray]]:
    """Return frames and positions of each run of frames in which a particle's disk covers the line."""
    table = tracks.table
    column = next((name for name in DIAMETERS if name in table), None)
    if column is None:
        return []
    across = "y" if axis == "x" else "x"
    pixel = pixel_size_pair(tracks.pixel_size_nm)[0 if axis == "x" else 1] if column.endswith("_nm") else 1.0
    frames, particles = table["frame"].to_numpy(int), table["particle"].to_numpy(int)
    near = np.abs(table[across].to_numpy(float) - line) <= table[column].to_numpy(float) / 2 / pixel
    order = np.lexsort((frames, particles))
    order = order[near[order]]
    cuts = np.flatnonzero((np.diff(particles[order]) != 0) | (np.diff(frames[order]) > 1)) + 1
    positions = table[axis].to_numpy(float)
    return [(frames[rows], positions[rows]) for rows in np.split(order, cuts) if rows.size]
