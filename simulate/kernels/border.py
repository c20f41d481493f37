"""The area of a convex outline within a rectangle."""

from __future__ import annotations

import numpy as np

from simulate.kernels.jit import compiled


@compiled
def hull(points):
    """Return the corners of the convex hull of points (K, 2), one after the other (Jarvis's march)."""
    n = points.shape[0]
    corners = np.empty((n, 2))
    at = 0
    for k in range(1, n):
        if points[k, 0] < points[at, 0] or (points[k, 0] == points[at, 0] and points[k, 1] < points[at, 1]):
            at = k
    first, found = at, 0
    while found < n:
        corners[found] = points[at]
        found += 1
        best, best_length = at, 0.0
        for k in range(n):
            y, x = points[k, 0] - points[at, 0], points[k, 1] - points[at, 1]
            length = y * y + x * x
            if length < 1e-18:
                continue
            if best_length == 0.0:
                best, best_length = k, length
                continue
            turn = (points[best, 0] - points[at, 0]) * x - (points[best, 1] - points[at, 1]) * y
            # Of points in one direction the farthest; the margin keeps rounding from choosing a nearer one.
            straight = abs(turn) <= 1e-12 * (length + best_length)
            if (straight and length > best_length) or (not straight and turn < 0):
                best, best_length = k, length
        y, x = points[best, 0] - points[first, 0], points[best, 1] - points[first, 1]
        if best == first or y * y + x * x < 1e-18:
            break
        at = best
    return corners[:found]


@compiled
def area(corners, n):
    """Return the area of the polygon of the first `n` corners."""
    total = 0.0
    for k in range(n):
        j = (k + 1) % n
        total += (corners[k, 0] - corners[0, 0]) * (corners[j, 1] - corners[0, 1])
        total -= (corners[k, 1] - corners[0, 1]) * (corners[j, 0] - corners[0, 0])
    return abs(total) / 2


@compiled
def share_within(points, height, width):
    """Return the share of the area of the convex hull of `points` (row, column) that lies within a frame, 0 to 1.

    The frame reaches from -1/2 to `height` - 1/2 and `width` - 1/2; its sides clip the hull one after the other
    (Sutherland and Hodgman, Communications of the ACM 17, 32 (1974), https://doi.org/10.1145/360767.360802).
    """
    corners = hull(points)
    n = corners.shape[0]
    whole = area(corners, n)
    for side in range(4):
        axis, sign = side // 2, 1.0 if side % 2 else -1.0
        bound = (height - 0.5 if axis == 0 else width - 0.5) if side % 2 else 0.5
        clipped, kept = np.empty((2 * n, 2)), 0
        for k in range(n):
            j = (k + 1) % n
            inside, after = bound - sign * corners[k, axis], bound - sign * corners[j, axis]
            if inside >= 0:
                clipped[kept] = corners[k]
                kept += 1
            if (inside >= 0) != (after >= 0):
                clipped[kept] = corners[k] + inside / (inside - after) * (corners[j] - corners[k])
                kept += 1
        if kept < 3:
            return 0.0
        corners, n = clipped, kept
    return min(area(corners, n) / whole, 1.0)
