"""The inner loop of `roi_align` on a CPU, compiled by numba; import it where it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.kernels.jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def pool_boxes(maps: NDArray, boxes: NDArray, places: NDArray, cells: int, samples: int, pooled: NDArray) -> None:
    """Fill the rows `places` of `pooled` (N, cells, cells, C) with the means of maps (H, W, C) in the cells of boxes.

    Each cell is sampled at ``samples`` x ``samples`` points, between pixels linearly. Boxes (M, 4) are in the pixels of
    the maps. The channels are innermost, so that one weight serves a run of numbers.
    """
    rows, cols, channels = maps.shape
    n = cells * samples
    (above, below, left, right), weights = np.empty((4, n), np.int64), np.empty((4, n), np.float32)
    on_above, on_below, on_left, on_right = weights
    share = np.float32(1 / samples**2)
    for m in range(len(boxes)):
        _taps(boxes[m, 1], boxes[m, 3], rows, above, below, on_above, on_below)
        _taps(boxes[m, 0], boxes[m, 2], cols, left, right, on_left, on_right)
        for p in range(cells):
            for q in range(cells):
                cell = pooled[places[m], p, q]
                cell[:] = 0
                for i in range(p * samples, (p + 1) * samples):
                    for j in range(q * samples, (q + 1) * samples):
                        a, b = maps[above[i], left[j]], maps[above[i], right[j]]
                        c, d = maps[below[i], left[j]], maps[below[i], right[j]]
                        on_a, on_b = on_above[i] * on_left[j] * share, on_above[i] * on_right[j] * share
                        on_c, on_d = on_below[i] * on_left[j] * share, on_below[i] * on_right[j] * share
                        for k in range(channels):
                            cell[k] += on_a * a[k] + on_b * b[k] + on_c * c[k] + on_d * d[k]


@compiled
def _taps(start: float, stop: float, side: int, low: NDArray, high: NDArray, on_low: NDArray, on_high: NDArray) -> None:
    """Fill in between which pixels the sampled points of a box lie along one axis, and with what weights."""
    n = len(low)
    step = max(stop - start, np.float32(1)) / n
    for i in range(n):
        at = start + (i + np.float32(0.5)) * step
        if -1 <= at <= side:
            at = min(max(at, np.float32(0)), np.float32(side - 1))
            low[i] = int(at)
            high[i] = min(low[i] + 1, side - 1)
            on_high[i] = at - low[i]
            on_low[i] = 1 - on_high[i]
        else:  # a NaN too
            low[i] = high[i] = 0
            on_high[i] = on_low[i] = 0
