"""Short ways through many pixels: the nearest unvisited one next."""

from __future__ import annotations

import numpy as np

from simulate.kernels.jit import compiled


@compiled
def nearest_first(rows, cols, height, width, cell):
    """Return the order that goes from the first position to the nearest one not yet visited, again and again.

    Positions wait in lists, one for each cell of a grid with cells of side `cell`; rings of cells around the beam are
    searched until none further out can be nearer.
    """
    n = rows.size
    n_down, n_across = (height - 1) // cell + 1, (width - 1) // cell + 1
    head, follower = np.full(n_down * n_across, -1, np.int64), np.empty(n, np.int64)
    for k in range(n - 1, 0, -1):
        at = rows[k] // cell * n_across + cols[k] // cell
        follower[k], head[at] = head[at], k
    order = np.zeros(n, np.int64)
    row, col = rows[0], cols[0]
    for step in range(1, n):
        down, across = row // cell, col // cell
        best, best_before, best_cell, ring = -1, -1, -1, -1
        nearest = np.int64(2) ** 62
        while best < 0 or nearest > (ring * cell) ** 2:
            ring += 1
            for i in range(max(down - ring, 0), min(down + ring, n_down - 1) + 1):
                # Between its top and bottom rows a ring has two cells a row, its left and right ones.
                stride = 2 * ring if abs(i - down) < ring else 1
                for j in range(across - ring, across + ring + 1, max(stride, 1)):
                    if j < 0 or j >= n_across:
                        continue
                    before, k = -1, head[i * n_across + j]
                    while k >= 0:
                        distance = (rows[k] - row) ** 2 + (cols[k] - col) ** 2
                        if distance < nearest:
                            nearest, best, best_before, best_cell = distance, k, before, i * n_across + j
                        before, k = k, follower[k]
        if best_before < 0:
            head[best_cell] = follower[best]
        else:
            follower[best_before] = follower[best]
        order[step] = best
        row, col = rows[best], cols[best]
    return order
