"""Sum the images of atomic columns into a frame."""

from __future__ import annotations

import math

import numpy as np

from simulate.kernels.jit import compiled


@compiled
def add_columns(frame, places, streaks, totals, sigma, nodes, shares):
    """Add to `frame` a Gaussian of width `sigma` for each column, integrated over each pixel and along its streak.

    `places` and `streaks` are (N, 2) as (x, y) in pixels; a column's `total` is spread over the points
    ``places + nodes * streaks`` by the `shares` (a quadrature rule on -1/2 to 1/2), and over a square of 5 `sigma`
    around each.
    """
    height, width = frame.shape
    scale = 1 / (math.sqrt(2.0) * sigma)
    reach = 5 * sigma + 0.5
    along_x = np.empty(int(2 * reach) + 3)
    along_y = np.empty(int(2 * reach) + 3)
    for k in range(totals.size):
        for j in range(nodes.size):
            x = places[k, 0] + nodes[j] * streaks[k, 0]
            y = places[k, 1] + nodes[j] * streaks[k, 1]
            left, right = max(0, math.ceil(x - reach)), min(width - 1, math.floor(x + reach))
            top, bottom = max(0, math.ceil(y - reach)), min(height - 1, math.floor(y + reach))
            if left > right or top > bottom:
                continue
            below = math.erf((left - 0.5 - x) * scale)
            for i in range(left, right + 1):
                above = math.erf((i + 0.5 - x) * scale)
                along_x[i - left] = (above - below) / 2
                below = above
            below = math.erf((top - 0.5 - y) * scale)
            for i in range(top, bottom + 1):
                above = math.erf((i + 0.5 - y) * scale)
                along_y[i - top] = (above - below) / 2
                below = above
            for i in range(top, bottom + 1):
                amount = totals[k] * shares[j] * along_y[i - top]
                for m in range(left, right + 1):
                    frame[i, m] += amount * along_x[m - left]
