"""The largest circle inside each particle, and the background around it: both from distances to other labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAP_PX, REACH_PX = 2.0, 5.0
"""The ring of a particle's local background: beyond the blurred rim, and near."""
_TIE = 1e-6
"""Distances that differ by less than this share are equal."""


def inscribed_diameters(
    compact: NDArray[np.int32], n_labels: int, pixel_sizes: tuple[float, float]
) -> NDArray[np.float64]:
    r"""Diameter of the largest circle that fits inside each label.

    The distance to the nearest pixel centre outside is refined between pixels along rows and columns (it rises by at
    most one step a step, so that the two slopes beside its largest value meet at the peak; the lower of
    both counts). The outline lies half a pixel this side of that pixel, in the direction :math:`u` towards it
    :math:`\frac12 \max(\lvert u_x \rvert a_x, \lvert u_y \rvert a_y)`. Of places and of pixels that are equally good
    all count, so that mirrored and turned particles have the same circle. Rectangles of pixels are exact; disks come
    out up to a pixel too small.

    Parameters
    ----------
    compact : ndarray of int32, shape (H, W)
        Label map with labels 1 ... `n_labels`, every one present. Outside the frame is outside the particle.
    n_labels : int
        Number of labels N.
    pixel_sizes : (float, float)
        Edge lengths of a pixel along rows and columns, any unit.

    Returns
    -------
    ndarray of float64, shape (N,)
        In the unit of `pixel_sizes`.

    Examples
    --------
    >>> frame = np.zeros((9, 9), np.int32)
    >>> frame[2:6, 1:8] = 1
    >>> inscribed_diameters(frame, 1, (0.5, 0.5)).tolist()
    [2.0]
    """
    padded = np.pad(compact, 1)
    diameters = np.zeros(n_labels)
    if n_labels == 0:
        return diameters
    touching = _touching(padded, n_labels)
    alone = ~touching[padded] & (padded > 0)
    if alone.any():
        labels = np.where(alone, padded, 0)
        found = _peaks(labels, n_labels, pixel_sizes)
        diameters[~touching[1:]] = found[~touching[1:]]
    if touching.any():
        windows = ndimage.find_objects(padded, max_label=n_labels)
        for label in np.flatnonzero(touching).tolist():
            rows, cols = windows[label - 1]
            part = np.pad(padded[rows, cols] == label, 1).astype(np.int32)
            diameters[label - 1] = _peaks(part, 1, pixel_sizes)[0]
    return diameters


def backgrounds(
    image: NDArray, compact: NDArray[np.int32], n_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Median of the background in a ring around each label, and the number of pixels it is of.

    Of the ring from 2 to 5 pixels outside a particle, the pixels as near or nearer to another one than to it, or less
    than 2 pixels from it, are left out; particles themselves are.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Intensities, any unit.
    compact : ndarray of int32, shape (H, W)
        Label map with labels 1 ... `n_labels`.
    n_labels : int
        Number of labels N.

    Returns
    -------
    background : ndarray of float64, shape (N,)
        NaN where no pixel is left, as inside a dense agglomerate.
    n_pixels : ndarray of int64, shape (N,)

    Examples
    --------
    >>> frame = np.zeros((20, 20), np.int32)
    >>> frame[8:12, 8:12] = 1
    >>> backgrounds(3.0 + 5.0 * frame, frame, 1)[0].tolist()
    [3.0]
    """
    background = np.full(n_labels, np.nan)
    if n_labels == 0:
        return background, np.zeros(0, dtype=np.int64)
    distance = np.asarray(ndimage.distance_transform_edt(compact == 0))
    rows, cols = np.nonzero((distance > GAP_PX) & (distance <= REACH_PX))
    owner = _owners(compact, rows, cols, np.rint(distance[rows, cols] ** 2).astype(np.int64)) - 1
    rows, cols, owner = rows[owner >= 0], cols[owner >= 0], owner[owner >= 0]
    values = image[rows, cols].astype(np.float64)
    order = np.lexsort((values, owner))
    values = values[order]
    n_pixels = np.bincount(owner, minlength=n_labels)
    some = np.flatnonzero(n_pixels)
    first = (np.cumsum(n_pixels) - n_pixels)[some]
    low, high = first + (n_pixels[some] - 1) // 2, first + n_pixels[some] // 2
    background[some] = (values[low] + values[high]) / 2
    return background, n_pixels


def _owners(
    compact: NDArray[np.int32], rows: NDArray[np.int64], cols: NDArray[np.int64], squared: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return the label that is at the squared distance from each pixel, 0 where there are two of them."""
    reach = int(REACH_PX)
    padded, owner = np.pad(compact, reach), np.zeros(rows.size, np.int32)
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    for length in np.unique(squared):
        of, steps = squared == length, offsets[:, (offsets**2).sum(axis=0) == length] + reach
        labels = padded[rows[of] + steps[0][:, None], cols[of] + steps[1][:, None]]
        nearest = labels.max(axis=0)
        owner[of] = np.where(((labels > 0) & (labels != nearest)).any(axis=0), 0, nearest)
    return owner


def _touching(padded: NDArray[np.int32], n_labels: int) -> NDArray[np.bool_]:
    """Whether each label (0 ... N) has another one among the eight neighbours of its pixels."""
    touching = np.zeros(n_labels + 1, dtype=bool)
    height, width = padded.shape
    for rows, cols in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = padded[: height - rows, max(0, -cols) : width - max(0, cols)]
        there = padded[rows:, max(0, cols) : width - max(0, -cols)]
        meet = (here != there) & (here > 0) & (there > 0)
        touching[here[meet]] = touching[there[meet]] = True
    return touching


def _peaks(labels: NDArray[np.int32], n_labels: int, pixel_sizes: tuple[float, float]) -> NDArray[np.float64]:
    """Diameters of the largest circles in labels that do not touch each other or the array's edge."""
    distance = np.asarray(ndimage.distance_transform_edt(labels > 0, sampling=pixel_sizes))
    rows, cols = np.nonzero(labels)
    owner, depth = labels[rows, cols], distance[rows, cols]
    highest = np.zeros(n_labels + 1)
    np.maximum.at(highest, owner, depth)
    # All that are equally deep: the first one would be another one of the mirrored particle.
    at_peak = np.flatnonzero(depth >= highest[owner] * (1 - _TIE))
    y, x, peak = rows[at_peak], cols[at_peak], depth[at_peak]
    tents = []
    for step_y, step_x, size in ((1, 0, pixel_sizes[0]), (0, 1, pixel_sizes[1])):
        beside = distance[y - step_y, x - step_x] + distance[y + step_y, x + step_x]
        tents.append((beside + 2 * size) / 2)
    # Along a ridge the distance does not fall, and only the direction across it tells of the peak.
    refined = np.maximum(peak, np.minimum(*tents))
    diameters = np.zeros(n_labels)
    np.maximum.at(diameters, owner[at_peak] - 1, 2 * (refined - _half_pixels(labels, y, x, peak, pixel_sizes)))
    return diameters


def _half_pixels(
    labels: NDArray[np.int32], y: NDArray, x: NDArray, depth: NDArray, pixel_sizes: tuple[float, float]
) -> NDArray[np.float64]:
    """How far this side of the nearest pixels' centres the outline lies, seen from pixels as deep as `depth` (K,).

    Of several pixels that are equally near the one whose outline lies nearest: the circle must not reach beyond it.
    """
    half = np.zeros(depth.size)
    levels, level_of = np.unique(np.rint(depth / (min(pixel_sizes) * _TIE)), return_inverse=True)
    for level in range(levels.size):
        members = np.flatnonzero(level_of == level)
        far = depth[members[0]]
        tall, wide = (int(far / size) + 1 for size in pixel_sizes)
        step_y, step_x = np.mgrid[-tall : tall + 1, -wide : wide + 1]
        length = np.hypot(step_y * pixel_sizes[0], step_x * pixel_sizes[1])
        on_circle = np.abs(length - far) <= far * _TIE
        step_y, step_x, length = step_y[on_circle], step_x[on_circle], length[on_circle]
        reach = np.maximum(np.abs(step_y) * pixel_sizes[0] ** 2, np.abs(step_x) * pixel_sizes[1] ** 2) / (2 * length)
        here, there = y[members, None], x[members, None]
        outside = labels[here + step_y, there + step_x] != labels[here, there]
        half[members] = np.where(outside, reach, 0).max(axis=1)
    return half
