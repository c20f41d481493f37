r"""Sub-pixel outlines and areas from the mask probabilities of a segmentation.

A mask holds 28 x 28 probabilities over a particle's box; on a particle smaller than that its cells are finer than the
pixels, and the line where the interpolated probability is one half lies where no count of whole pixels can put it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segmentation.instances import MASK_SIZE, Instances
from segmentation.paste import within_frame
from simulate.errors import InputError, check_kind, check_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BEYOND = 0.5
"""How far outside its box, in cells, a mask has fallen to 0: as far as the first cell's centre lies inside."""


def mask_outlines(instances: Instances, level: float = 0.5) -> list[list[NDArray[np.float64]]]:
    """Outlines of every particle at sub-pixel precision, from its mask probabilities.

    The probability is linear between the centres of the mask's cells and falls to 0 half a cell outside the box, as in
    the label map (`paste`); where the frame's edge cuts a particle it goes on to the edge, and outlines close there.
    Where the label map gives a place to another particle the probability counts as zero, so outlines of touching
    particles do not overlap by more than a mask's cell.

    Parameters
    ----------
    instances : Instances
        Particles with `masks`.
    level : float
        Probability on the outline, above 0 and below 1.

    Returns
    -------
    list of list of ndarray, shape (K, 2)
        For each particle in the order of `ids`, its closed outlines (first point = last point) as x, y in pixels, 0 at
        the centre of the first pixel; the longest first. Several where the particle has holes or parts, none where its
        probability stays below the level.

    Raises
    ------
    InputError
        If there are no masks, or the level is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[-13.5:14, -13.5:14] / 14
    >>> disk = np.clip(0.5 + 7 * (0.8 - np.hypot(y, x)), 0, 1)
    >>> labels = np.zeros((20, 20), int)
    >>> labels[6:14, 6:14] = 1
    >>> particles = Instances(labels, boxes=[[5, 5, 15, 15]], masks=[disk])
    >>> ((outline,),) = mask_outlines(particles)
    >>> radius = np.hypot(*(outline - 9.5).T)  # the disk fills 0.8 of the box of 10 pixels
    >>> bool(abs(radius - 4).max() < 0.03)
    True
    """
    from skimage.measure import find_contours

    values, node_y, node_x = _nodes(instances, level)
    outlines: list[list[NDArray[np.float64]]] = []
    for grid, y, x in zip(
        values, np.pad(node_y, ((0, 0), (1, 1)), "edge"), np.pad(node_x, ((0, 0), (1, 1)), "edge"), strict=True
    ):
        # A rim of zeros on the outermost nodes closes what touches them.
        lines = sorted(find_contours(np.pad(grid, 1), level), key=len, reverse=True)
        at = np.arange(y.size)
        outlines.append(
            [np.column_stack([np.interp(line[:, 1], at, x), np.interp(line[:, 0], at, y)]) for line in lines]
        )
    return outlines


def mask_areas(instances: Instances, levels: float | Sequence[float] = 0.5) -> NDArray[np.float64]:
    """Areas inside the outlines of `mask_outlines` at one or several levels, in pixels.

    Parameters
    ----------
    instances : Instances
        Particles with `masks`.
    levels : float or sequence of float
        Probabilities on the outline, each above 0 and below 1.

    Returns
    -------
    ndarray of float64, shape (N,) or (N, L)
        Area of each particle at each level in square pixels; 0 where the probability stays below it.

    Raises
    ------
    InputError
        If there are no masks, or a level is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> cone = np.clip(1 - np.hypot(*np.mgrid[-13.5:14, -13.5:14]) / 14, 0, 1)
    >>> particles = Instances(np.ones((28, 28), int), masks=[cone])
    >>> radii = np.sqrt(mask_areas(particles, [0.25, 0.5, 0.75]) / np.pi)
    >>> radii.round(1).tolist()
    [[10.5, 7.0, 3.5]]
    """
    asked = np.atleast_1d(np.asarray(levels, dtype=np.float64)).tolist()
    values, node_y, node_x = _nodes(instances, *asked)
    steps = np.diff(node_y), np.diff(node_x)
    areas = np.stack([_areas_above(values, steps, level) for level in asked], axis=1)
    return areas if np.ndim(levels) else areas[:, 0]


def _nodes(
    instances: Instances, *levels: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities on the nodes of each mask (N, 30, 30), 0 in other particles, and the nodes' y and x (N, 30)."""
    check_kind(instances, "instances", Instances)
    for level in levels:
        check_within(level, "level", 0, 1)
        if not 0 < level < 1:
            raise InputError(f"level is {level:g}; expected a probability above 0 and below 1, e.g. 0.5")
    if instances.masks is None:
        raise InputError(
            f"the particles of method {instances.method!r} have no mask probabilities; "
            "expected those of a method that gives them, e.g. 'mask-rcnn'"
        )
    height, width = instances.shape
    boxes, masks = within_frame(instances.boxes, instances.masks, instances.shape)
    x0, y0, x1, y1 = boxes.astype(np.float64).T
    values = masks.astype(np.float64)
    values, node_y = _continued(values, y0, y1, height)
    values, node_x = _continued(values.transpose(0, 2, 1), x0, x1, width)
    values = np.clip(values.transpose(0, 2, 1), 0, 1)
    rows = np.clip(np.floor(node_y + 0.5), 0, height - 1).astype(np.intp)
    cols = np.clip(np.floor(node_x + 0.5), 0, width - 1).astype(np.intp)
    owner = instances.labels[rows[:, :, None], cols[:, None, :]]
    values[(owner != 0) & (owner != instances.ids[:, None, None])] = 0
    return values, node_y, node_x


def _continued(values: NDArray, start: NDArray, stop: NDArray, end: int) -> tuple[NDArray, NDArray]:
    """Masks with a row more at both ends, and the rows' positions (0 at the centre of the frame's first pixel)."""
    cell = (stop - start) / MASK_SIZE
    # In cells from the box's start, which lies in the frame, as its end does; the frame reaches from 0 to `end`.
    first = np.maximum(-_BEYOND, -start / cell)
    last = np.minimum(MASK_SIZE + _BEYOND, (end - start) / cell)
    inner = np.broadcast_to(np.arange(MASK_SIZE) + 0.5, (len(values), MASK_SIZE))
    at = np.concatenate([first[:, None], inner, last[:, None]], axis=1)
    # What is left of the outermost cells there: all of it where the frame cuts the particle.
    before = np.where(start <= 0, 1, first + _BEYOND)
    after = np.where(stop >= end, 1, MASK_SIZE + _BEYOND - last)
    rows = [values[:, :1] * before[:, None, None], values, values[:, -1:] * after[:, None, None]]
    return np.concatenate(rows, axis=1), start[:, None] + at * cell[:, None] - 0.5


def _areas_above(values: NDArray, steps: tuple[NDArray, NDArray], level: float) -> NDArray[np.float64]:
    """Area of each mask above a level, its nodes `steps` (rows, columns) apart."""
    corners = (values[:, :-1, :-1], values[:, :-1, 1:], values[:, 1:, 1:], values[:, 1:, :-1])
    n_above = np.zeros(corners[0].shape, dtype=np.int8)
    for corner in corners:
        n_above += corner >= level
    area = np.einsum("nij,ni,nj->n", n_above == 4, *steps)
    index, row, col = np.nonzero((n_above > 0) & (n_above < 4))
    share = _share_above(np.stack([corner[index, row, col] for corner in corners]) - level)
    share *= steps[0][index, row] * steps[1][index, col]
    return area + np.bincount(index, weights=share, minlength=len(values))


def _share_above(height: NDArray) -> NDArray[np.float64]:
    """Share of unit squares where a height that is linear along their sides is at least 0; corners in order (4, K).

    >>> _share_above(np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, -1.0]])).tolist()
    [0.5, 0.125]
    """
    corner_x, corner_y = (0.0, 1.0, 1.0, 0.0), (0.0, 0.0, 1.0, 1.0)
    twice = np.zeros(height.shape[1])
    first: list[NDArray] = []
    x_last = y_last = np.full(height.shape[1], np.nan)
    for side in range(4):
        here, there = height[side], height[(side + 1) % 4]
        run_x, run_y = corner_x[(side + 1) % 4] - corner_x[side], corner_y[(side + 1) % 4] - corner_y[side]
        crosses = (here >= 0) != (there >= 0)
        share = np.where(crosses, here / np.where(crosses, here - there, 1), 0)
        # The corner itself, and the place where the side crosses the level: the polygon's points in order.
        for is_point, along in ((here >= 0, 0.0), (crosses, share)):
            x, y = corner_x[side] + along * run_x, corner_y[side] + along * run_y
            new = is_point & np.isnan(x_last)
            if not first:
                first = [np.where(new, x, np.nan), np.where(new, y, np.nan)]
            else:
                first = [np.where(new, x, first[0]), np.where(new, y, first[1])]
            twice += np.where(is_point & ~new, x_last * y - x * y_last, 0)
            x_last, y_last = np.where(is_point, x, x_last), np.where(is_point, y, y_last)
    twice += x_last * first[1] - first[0] * y_last
    return np.abs(twice) / 2
