"""Dart throwing on the pixel grid with a radius that shrinks as the frame fills."""

from __future__ import annotations

import math

import numpy as np

from simulate.kernels.jit import compiled


@compiled
def stamp(pixel, shape, largest, nearest):
    """Lower `nearest`, the squared distance to the nearest sample, around a new sample."""
    n_rows, n_cols = shape
    reach = int(math.sqrt(largest))
    row, col = pixel // n_cols, pixel % n_cols
    for r in range(max(row - reach, 0), min(row + reach, n_rows - 1) + 1):
        rows_apart = (r - row) * (r - row)
        width = int(math.sqrt(largest - rows_apart))
        for c in range(max(col - width, 0), min(col + width, n_cols - 1) + 1):
            distance = rows_apart + (c - col) * (c - col)
            if distance < nearest[r * n_cols + c]:
                nearest[r * n_cols + c] = distance


@compiled
def poisson_disc(shape, count, order, largest):
    """Return a mask of `count` pixels (flat, uint8) and the squared distance that any two of them keep.

    `order` is a random order of all pixels. Squared distances go down from `largest`, one integer after the other; at
    each, every pixel is tried whose nearest sample is that far. A pixel waits in the list of the squared distance to
    its nearest sample (which only shrinks), so it is looked at again only when its turn may have come.
    """
    taken = np.zeros(order.size, np.uint8)
    nearest = np.full(order.size, largest, np.int32)
    following = np.empty(order.size, np.int32)
    first = np.full(largest + 1, -1, np.int32)
    level, placed, tried = largest, 0, 0
    while placed < count:
        # The list of `largest` is `order` itself.
        if tried < order.size:
            pixel = order[tried]
            tried += 1
        else:
            pixel = first[level]
            if pixel < 0:
                level -= 1
                continue
            first[level] = following[pixel]
        distance = nearest[pixel]
        if distance == level:
            taken[pixel] = 1
            placed += 1
            stamp(pixel, shape, largest, nearest)
        elif distance > 0:
            following[pixel] = first[distance]
            first[distance] = pixel
    return taken, level
