"""From detections, a mask over a box each, to one label map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segmentation.instances import Instances

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
    from segmentation.paste_kernel import draw_masks

    labels = np.zeros(shape, dtype=np.int32)
    boxes, masks = within_frame(boxes, masks, shape)
    kept = draw_masks(labels, boxes.astype(np.float64), masks, float(min_area_px))
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
    from segmentation.paste_kernel import mask_again

    given = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    ends = np.array([shape[1], shape[0], shape[1], shape[0]], dtype=np.float64)
    inside = np.clip(given, 0, ends)
    inside[:, :2][inside[:, :2] < AT_EDGE_PX] = 0
    inside[:, 2:] = np.where(inside[:, 2:] > ends[2:] - AT_EDGE_PX, ends[2:], inside[:, 2:])
    drawn = np.array(masks, dtype=np.float32)
    for index in np.flatnonzero((inside != given).any(axis=1)):
        drawn[index] = mask_again(drawn[index], given[index], inside[index])
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
    from segmentation.paste_kernel import mask_over

    top, left, inside = mask_over(np.asarray(box, np.float64), np.asarray(mask, np.float32), *shape)
    return slice(top, top + inside.shape[0]), slice(left, left + inside.shape[1]), inside


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
