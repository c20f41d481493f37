"""Place disks one after the other, finding neighbours by a grid of cells."""

from __future__ import annotations

import math

import numpy as np

from simulate.kernels.jit import compiled


@compiled
def place(radii, attached, tries, closeness, forced, height, width, film):
    """Return centres (N, 2) as (row, column); NaN for a disk that found no room.

    A disk tries places drawn from the frame (and half a radius beyond it, so that particles cut by the border occur),
    or beside a disk that is there already where `attached`; it takes the first where the distance to every other disk
    is at least `closeness` times the sum of the radii, and else, if `forced`, the best. Where `film` (H, W) is false,
    no centre lies.
    """
    n, n_tries = tries.shape[0], tries.shape[1]
    centres = np.full((n, 2), np.nan)
    largest = radii.max()
    cell = max(2 * largest, 1.0)
    margin = 2 * largest
    n_rows, n_cols = int((height + 2 * margin) / cell) + 1, int((width + 2 * margin) / cell) + 1
    head = np.full((n_rows, n_cols), -1, dtype=np.int64)
    following = np.full(n, -1, dtype=np.int64)
    placed = np.empty(n, dtype=np.int64)
    n_placed = 0
    for i in range(n):
        best, best_row, best_col = -1.0, np.nan, np.nan
        for t in range(n_tries):
            u, v, w = tries[i, t, 0], tries[i, t, 1], tries[i, t, 2]
            if attached[i] and n_placed > 0:
                host = placed[int(u * n_placed)]
                distance = (radii[host] + radii[i]) * (0.75 + 0.3 * w)
                row = centres[host, 0] + distance * math.sin(2 * math.pi * v)
                col = centres[host, 1] + distance * math.cos(2 * math.pi * v)
            else:
                reach = 0.5 * radii[i]
                row, col = -reach + u * (height + 2 * reach), -reach + v * (width + 2 * reach)
            if row < -radii[i] or col < -radii[i] or row > height + radii[i] or col > width + radii[i]:
                continue
            if not film[min(max(int(row), 0), height - 1), min(max(int(col), 0), width - 1)]:
                continue
            cell_row, cell_col = int((row + margin) / cell), int((col + margin) / cell)
            nearest = 1e30
            for a in range(max(0, cell_row - 1), min(n_rows, cell_row + 2)):
                for b in range(max(0, cell_col - 1), min(n_cols, cell_col + 2)):
                    j = head[a, b]
                    while j >= 0:
                        gap = math.hypot(row - centres[j, 0], col - centres[j, 1]) / (radii[i] + radii[j])
                        nearest = min(nearest, gap)
                        j = following[j]
            if nearest > best:
                best, best_row, best_col = nearest, row, col
            if nearest >= closeness:
                break
        if best < 0 or (best < closeness and not forced):
            continue
        centres[i, 0], centres[i, 1] = best_row, best_col
        cell_row, cell_col = int((best_row + margin) / cell), int((best_col + margin) / cell)
        following[i] = head[cell_row, cell_col]
        head[cell_row, cell_col] = i
        placed[n_placed] = i
        n_placed += 1
    return centres
