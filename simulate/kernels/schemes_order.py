"""The self-avoiding walk."""

from __future__ import annotations

import numpy as np

from simulate.kernels.jit import compiled

DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""(row, column) steps to the eight neighbours, in order of angle."""

PERSISTENCE = (8.0, 4.0, 2.0, 1.0, 1.0)
"""Weight of a step by its turn from the last one, in eighths of a full turn."""

SEARCH_PX = 32
"""How far a trapped walk looks for a free pixel before it starts anew elsewhere."""


@compiled
def free_on_ring(seen, n_rows, n_cols, row, col, radius, pick):
    """Return the flat index of the free pixel number `pick` on the square ring around (row, col).

    With `pick` below 0, return how many there are.
    """
    found = 0
    for r in range(max(row - radius, 0), min(row + radius, n_rows - 1) + 1):
        step = 1 if abs(r - row) == radius else 2 * radius
        for c in range(col - radius, col + radius + 1, step):
            if 0 <= c < n_cols and not seen[r * n_cols + c]:
                if found == pick:
                    return r * n_cols + c
                found += 1
    return found


@compiled
def random_walk(n_rows, n_cols, restarts, draws):
    """Return a walk over `draws.size` distinct pixels (flat indices) to random free neighbours.

    `restarts` is a random order of all pixels; `draws` are uniform random numbers in [0, 1), one a step.
    """
    seen = np.zeros(n_rows * n_cols, np.uint8)
    out = np.empty(draws.size, np.int64)
    weights = np.empty(8)
    at, restart, heading = restarts[0], 0, int(8 * draws[0])
    seen[at] = 1
    out[0] = at
    for k in range(1, draws.size):
        row, col = at // n_cols, at % n_cols
        total = 0.0
        for d in range(8):
            r, c = row + DIRECTIONS[d][0], col + DIRECTIONS[d][1]
            weights[d] = 0.0
            if 0 <= r < n_rows and 0 <= c < n_cols and not seen[r * n_cols + c]:
                turn = abs(d - heading)
                weights[d] = PERSISTENCE[min(turn, 8 - turn)]
            total += weights[d]
        if total > 0:
            left = draws[k] * total
            for d in range(8):
                if weights[d] > 0:
                    heading = d
                    left -= weights[d]
                    if left < 0:
                        break
            at = (row + DIRECTIONS[heading][0]) * n_cols + col + DIRECTIONS[heading][1]
        else:
            free, radius = 0, 1
            while free == 0 and radius < SEARCH_PX:
                radius += 1
                free = free_on_ring(seen, n_rows, n_cols, row, col, radius, -1)
            if free > 0:
                at = free_on_ring(seen, n_rows, n_cols, row, col, radius, int(draws[k] * free))
            else:
                while seen[restarts[restart]]:
                    restart += 1
                at = restarts[restart]
        seen[at] = 1
        out[k] = at
    return out
