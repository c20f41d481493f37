"""Orders in which a beam can visit pixels: the generalised Hilbert curve and the self-avoiding walk."""

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
def hilbert_order(n_rows, n_cols):
    """Return the row-major index of every pixel of the frame in the order of a generalised Hilbert curve.

    A block is given by its first corner, the unit step along its major side (which the curve follows from end to end)
    and its length, and the same for its minor side. A long block is cut in two along the major side; any other into
    three: up half of the minor side, across, and down again. Even halves let the pieces meet.
    """
    out = np.empty(n_rows * n_cols, np.int64)
    blocks = np.empty((512, 8), np.int64)
    if n_cols >= n_rows:
        blocks[0] = (0, 0, 0, 1, n_cols, 1, 0, n_rows)
    else:
        blocks[0] = (0, 0, 1, 0, n_rows, 0, 1, n_cols)
    waiting, done = 1, 0
    while waiting > 0:
        waiting -= 1
        row, col, a_row, a_col, a, b_row, b_col, b = blocks[waiting]
        if a == 1 or b == 1:
            d_row, d_col, n = (a_row, a_col, a) if b == 1 else (b_row, b_col, b)
            for k in range(n):
                out[done] = (row + k * d_row) * n_cols + col + k * d_col
                done += 1
            continue
        half_a, half_b = a // 2, b // 2
        # The last block pushed is the first visited.
        if 2 * a > 3 * b:
            if half_a % 2 and a > 2:
                half_a += 1
            far = (row + half_a * a_row, col + half_a * a_col)
            blocks[waiting] = (far[0], far[1], a_row, a_col, a - half_a, b_row, b_col, b)
            blocks[waiting + 1] = (row, col, a_row, a_col, half_a, b_row, b_col, b)
            waiting += 2
        else:
            if half_b % 2 and b > 2:
                half_b += 1
            last_row = row + (a - 1) * a_row + (half_b - 1) * b_row
            last_col = col + (a - 1) * a_col + (half_b - 1) * b_col
            far = (row + half_b * b_row, col + half_b * b_col)
            blocks[waiting] = (last_row, last_col, -b_row, -b_col, half_b, -a_row, -a_col, a - half_a)
            blocks[waiting + 1] = (far[0], far[1], a_row, a_col, a, b_row, b_col, b - half_b)
            blocks[waiting + 2] = (row, col, b_row, b_col, half_b, a_row, a_col, half_a)
            waiting += 3
    return out


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
