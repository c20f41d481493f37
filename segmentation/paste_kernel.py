"""Masks of 28 x 28 cells drawn over boxes, pixel by pixel; compiled by numba: import it where it is called."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from simulate.kernels.jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def draw_masks(labels: NDArray, boxes: NDArray, masks: NDArray, min_area: float) -> NDArray:
    """Draw masks, numbered, into `labels` (H, W), zero before: each takes the pixels that none before it has taken.

    Returns
    -------
    ndarray of bool, shape (N,)
        Which masks were drawn, as 1, 2, ...: those that keep `min_area` pixels and half of their own.
    """
    drawn = np.zeros(len(boxes), np.bool_)
    last = 0
    for n in range(len(boxes)):
        top, left, inside = mask_over(boxes[n], masks[n], labels.shape[0], labels.shape[1])
        rows, cols = inside.shape
        own = free = 0
        for row in range(rows):
            for col in range(cols):
                if inside[row, col]:
                    own += 1
                    free += labels[top + row, left + col] == 0
        if free < max(min_area, 1.0, 0.5 * own):
            continue
        last += 1
        drawn[n] = True
        for row in range(rows):
            for col in range(cols):
                if inside[row, col] and labels[top + row, left + col] == 0:
                    labels[top + row, left + col] = last
    return drawn


@compiled
def mask_over(box: NDArray, mask: NDArray, height: int, width: int) -> tuple[int, int, NDArray]:
    """Return the first row and column of a frame that a box covers, and where from there on its mask is above a half.

    Half a cell beyond the box's edge the mask has fallen to 0: boxes are tight, and a pixel outside is none of it. Not
    so at the edges of the frame, beyond which the particle goes on.
    """
    top, left = max(0, math.floor(box[1])), max(0, math.floor(box[0]))
    rows = max(0, min(height, math.ceil(box[3])) - top)
    cols = max(0, min(width, math.ceil(box[2])) - left)
    across = np.arange(left, left + cols) + 0.5
    down = np.arange(top, top + rows) + 0.5
    seen = stretched(
        mask, _places(down, box[1], box[3], box[1] <= 0, box[3] >= height, len(mask)),
        _places(across, box[0], box[2], box[0] <= 0, box[2] >= width, len(mask)),
    )  # fmt: skip
    return top, left, seen > 0.5


@compiled
def mask_again(mask: NDArray, old: NDArray, new: NDArray) -> NDArray:
    """Return a mask over the box `old` as one over the box `new`; beyond the old one it goes on as at its edge."""
    cells = len(mask)
    centres = (np.arange(cells) + 0.5) / cells
    down, across = new[1] + centres * (new[3] - new[1]), new[0] + centres * (new[2] - new[0])
    return stretched(
        mask, _places(down, old[1], old[3], True, True, cells), _places(across, old[0], old[2], True, True, cells)
    )


@compiled
def stretched(mask: NDArray, down: NDArray, across: NDArray) -> NDArray:
    """Return a mask at places counted in its cells, linearly between their middles, 0 from a cell beyond them on."""
    cells = len(mask)
    seen = np.zeros((len(down), len(across)))
    line = np.zeros(cells)
    for row in range(len(down)):
        above = math.floor(down[row])
        line[:] = 0
        for cell in range(max(above, 0), min(above + 2, cells)):
            line += max(0.0, 1 - abs(down[row] - cell)) * mask[cell]
        for col in range(len(across)):
            before = math.floor(across[col])
            for cell in range(max(before, 0), min(before + 2, cells)):
                seen[row, col] += max(0.0, 1 - abs(across[col] - cell)) * line[cell]
    return seen


@compiled
def _places(points: NDArray, start: float, stop: float, begins: bool, ends: bool, cells: int) -> NDArray:
    """Return where points lie along a box's side, counted in cells; not before the first or after the last if told."""
    places = (points - start) / max(stop - start, 1e-6) * cells - 0.5
    if begins:
        places = np.maximum(places, 0.0)
    if ends:
        places = np.minimum(places, cells - 1.0)
    return places
