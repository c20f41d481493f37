"""The Hilbert curve: where along it a pixel lies."""

from __future__ import annotations

import numpy as np

from simulate.kernels.jit import compiled


@compiled
def hilbert_index(rows, cols, order):
    """Return how far along the Hilbert curve through a square of side 2**order each pixel lies (int64, from 0).

    The curve starts at (0, 0) and ends at row 0 of the last column. Each step goes one level down: the quadrants are
    visited in the order up, along and down again, and the first and last of them hold a reflected curve.
    """
    keys = np.empty(rows.size, np.int64)
    for k in range(rows.size):
        row, col, key = rows[k], cols[k], 0
        for level in range(order - 1, -1, -1):
            low, far = (row >> level) & 1, (col >> level) & 1
            key = 4 * key + (3 * far if low == 0 else 1 + far)
            side = np.int64(1) << level
            row, col = row & (side - 1), col & (side - 1)
            if low == 0:
                if far:
                    row, col = side - 1 - col, side - 1 - row
                else:
                    row, col = col, row
        keys[k] = key
    return keys
