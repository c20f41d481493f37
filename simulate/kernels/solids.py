"""Draw projected bodies: thickness along the beam, outlines, labels."""

from __future__ import annotations

import math

from simulate.kernels.jit import compiled

FINE_BELOW_PX = 10.0
"""Smaller bodies are averaged over as many points a pixel as if they had this radius."""

MOST_POINTS = 20
"""Points a side of a pixel at the most: a body far below a pixel needs no more."""


@compiled
def chord(x, y, quadric, facets, first, last, scale):
    """Return the thickness at (x, y) of a body shrunk by `scale`, all in radii; an ellipsoid where it has no facets."""
    if first == last:
        # p' Q p <= scale^2 is a quadratic a z^2 + 2 b z + c <= 0 in z; its roots lie 2 sqrt(b^2 - a c) / a apart.
        b = quadric[0, 2] * x + quadric[1, 2] * y
        c = quadric[0, 0] * x * x + 2 * quadric[0, 1] * x * y + quadric[1, 1] * y * y - scale * scale
        d = b * b - quadric[2, 2] * c
        return 2 * math.sqrt(d) / quadric[2, 2] if d > 0 else 0.0
    # Each half-space bounds z from above or below; the thickness is what is left between the tightest two.
    top, bottom = 1e30, -1e30
    for f in range(first, last):
        slack = facets[f, 3] * scale - facets[f, 0] * x - facets[f, 1] * y
        slope = facets[f, 2]
        if slope > 1e-9:
            top = min(top, slack / slope)
        elif slope < -1e-9:
            bottom = max(bottom, slack / slope)
        elif slack < 0:
            return 0.0
    return max(top - bottom, 0.0)


@compiled
def draw(depth, labels, areas, flags, solids, quadrics, facets, starts, order):
    """Add bodies to the optical depth and the label map, in the given order (the last is on top).

    `solids` has a row for each: row, column, radius, reach (pixels), depth per pixel of thickness, size of the inner
    part (in radii), depth added per pixel of its thickness. A pixel is a body's where the body is under the pixel's
    centre; `areas` counts them. Bit 0 of a body's flags draws its label, bit 1 its depth.
    """
    height, width = labels.shape
    for i in order:
        row, col, radius, reach = solids[i, 0], solids[i, 1], solids[i, 2], solids[i, 3]
        weight, inner, inner_weight = solids[i, 4], solids[i, 5], solids[i, 6]
        top, bottom = max(0, math.floor(row - reach)), min(height, math.ceil(row + reach) + 1)
        left, right = max(0, math.floor(col - reach)), min(width, math.ceil(col + reach) + 1)
        first, last = starts[i], starts[i + 1]
        n = min(math.ceil(FINE_BELOW_PX / radius), MOST_POINTS)
        for r in range(top, bottom):
            for c in range(left, right):
                y, x = (r - row) / radius, (c - col) / radius
                middle = chord(x, y, quadrics[i], facets, first, last, 1.0)
                if middle > 0:
                    areas[i] += 1
                    if flags[i] & 1:
                        labels[r, c] = i + 1
                if not flags[i] & 2:
                    continue
                total = 0.0
                for k in range(n * n):
                    ys = y + ((k // n + 0.5) / n - 0.5) / radius
                    xs = x + ((k % n + 0.5) / n - 0.5) / radius
                    total += weight * chord(xs, ys, quadrics[i], facets, first, last, 1.0)
                    if inner > 0:
                        total += inner_weight * chord(xs, ys, quadrics[i], facets, first, last, inner)
                depth[r, c] += total * radius / (n * n)
