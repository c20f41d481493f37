"""From detections, a mask over a box each, to one label map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segmentation.instances import MASK_SIZE, Instances

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT_EDGE_PX = 0.75
"""A box that ends nearer than this to an edge of the frame is cut by it."""


def paste(
    shape: tuple[int, ...],
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    masks: NDArray[np.float32],
    *,
    min_area_px: int = 12,
) -> Instances:
    """Draw detections into one label map, the surest on top.

    A detection keeps the pixels that surer ones have not taken; one that keeps less than half of its own was the same
    particle found twice, and is dropped.

    Parameters
    ----------
    shape : (int, int)
        Frame shape.
    boxes : ndarray, shape (N, 4)
        x0, y0, x1, y1 in pixels, best first.
    scores : ndarray, shape (N,)
        In [0, 1], descending.
    masks : ndarray, shape (N, 28, 28)
        Probabilities over each box.
    min_area_px : int
        The fewest pixels to keep.

    Returns
    -------
    Instances
    """
    labels = np.zeros(shape, dtype=np.int32)
    boxes, masks = within_frame(boxes, masks, shape)
    kept: list[int] = []
    for index, box in enumerate(boxes):
        rows, cols, inside = mask_in_frame(box, masks[index], shape)
        window = labels[rows, cols]
        free = inside & (window == 0)
        n_free = np.count_nonzero(free)
        if n_free < max(min_area_px, 1, 0.5 * np.count_nonzero(inside)):
            continue
        kept.append(index)
        window[free] = len(kept)
    return Instances(labels, boxes=boxes[kept], scores=scores[kept], masks=masks[kept])  # pyright: ignore[reportArgumentType]


def within_frame(
    boxes: NDArray, masks: NDArray, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes cut at the frame's edges, and their masks drawn over what is left of them.

    A network sees frames whose sides are no multiple of its coarsest stride go on mirrored, so that boxes may reach
    beyond. One that ends within `AT_EDGE_PX` of an edge, nearer than a box can be placed, is taken to end there.

    Parameters
    ----------
    boxes : ndarray, shape (N, 4)
        x0, y0, x1, y1 in pixels.
    masks : ndarray, shape (N, 28, 28)
        Probabilities over each box.
    shape : (int, int)
        Frame shape.

    Examples
    --------
    >>> boxes, masks = within_frame(np.array([[4.0, 0.4, 12.0, 6.0]]), np.ones((1, 28, 28)), (20, 8))
    >>> boxes.tolist()
    [[4.0, 0.0, 8.0, 6.0]]
    """
    given = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    ends = np.array([shape[1], shape[0], shape[1], shape[0]], dtype=np.float64)
    inside = np.clip(given, 0, ends)
    inside[:, :2][inside[:, :2] < AT_EDGE_PX] = 0
    inside[:, 2:] = np.where(inside[:, 2:] > ends[2:] - AT_EDGE_PX, ends[2:], inside[:, 2:])
    drawn = np.array(masks, dtype=np.float32)
    for index in np.flatnonzero((inside != given).any(axis=1)):
        x0, y0, x1, y1 = inside[index]
        down, across = (
            _stretch(start + (np.arange(MASK_SIZE) + 0.5) * (stop - start) / MASK_SIZE, *old, faded=False)
            for start, stop, old in ((y0, y1, given[index, 1::2]), (x0, x1, given[index, ::2]))
        )
        drawn[index] = down @ drawn[index] @ across.T
    return inside.astype(np.float32), drawn


def mask_in_frame(box: NDArray, mask: NDArray, shape: tuple[int, ...]) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Return the rows and columns of a frame that a box covers, and where in them its mask is above a half.

    Parameters
    ----------
    box : ndarray, shape (4,)
        x0, y0, x1, y1 in pixels; what lies beyond the frame is left out.
    mask : ndarray, shape (28, 28)
        Probabilities over the box.
    shape : (int, int)
        Frame shape.
    """
    x0, y0, x1, y1 = (float(edge) for edge in box)
    top, bottom = max(0, int(np.floor(y0))), min(shape[0], int(np.ceil(y1)))
    left, right = max(0, int(np.floor(x0))), min(shape[1], int(np.ceil(x1)))
    rows, cols = slice(top, max(top, bottom)), slice(left, max(left, right))
    down, across = (
        _stretch(np.arange(side.start, side.stop) + 0.5, *ends, frame=length)
        for side, ends, length in ((rows, (y0, y1), shape[0]), (cols, (x0, x1), shape[1]))
    )
    return rows, cols, down @ mask.astype(np.float64) @ across.T > 0.5


def whole_mask(instances: Instances, particle_id: int) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Return the rows and columns that hold a particle, and its mask in them: what others cover of it included.

    The label map shows of overlapping particles the one on top; a detector's own mask of each goes on below. Particles
    without a mask of their own are what the label map shows.

    Examples
    --------
    >>> labels = np.zeros((8, 8), int)
    >>> labels[:, :3], labels[:, 3:6] = 1, 2
    >>> boxes, masks = [[0, 0, 5, 8], [3, 0, 6, 8]], np.ones((2, 28, 28))
    >>> below = Instances(labels, boxes=boxes, masks=masks)
    >>> rows, cols, mask = whole_mask(below, 1)
    >>> int(mask.sum()), int((labels == 1).sum())
    (40, 24)
    """
    rows, cols, seen = instances.crop(particle_id)
    if instances.masks is None:
        return rows, cols, seen
    index = int(np.searchsorted(instances.ids, particle_id))
    below = mask_in_frame(instances.boxes[index], instances.masks[index], instances.shape)
    top, left = min(rows.start, below[0].start), min(cols.start, below[1].start)
    mask = np.zeros((max(rows.stop, below[0].stop) - top, max(cols.stop, below[1].stop) - left), dtype=bool)
    for part_rows, part_cols, part in ((rows, cols, seen), below):
        mask[part_rows.start - top : part_rows.stop - top, part_cols.start - left : part_cols.stop - left] |= part
    return slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]), mask


def _stretch(
    centres: NDArray, start: float, stop: float, *, frame: float = np.inf, faded: bool = True
) -> NDArray[np.float64]:
    """Return the matrix (len(centres), 28) that interpolates a mask's side linearly at pixel centres.

    Half a cell beyond the box's edge the mask has fallen to 0: boxes are tight, and a pixel outside is none of it. Not
    so at the edges of the frame (0 and `frame`), beyond which the particle goes on, or at any edge if not `faded`.
    """
    position = (centres - start) / max(stop - start, 1e-6) * MASK_SIZE - 0.5
    if start <= 0 or not faded:
        position = np.maximum(position, 0)
    if stop >= frame or not faded:
        position = np.minimum(position, MASK_SIZE - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(MASK_SIZE)[None, :]))
