r"""Widths, perimeter and smallest enclosing circle of many convex polygons at once."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_AT_ONCE = 2_000_000
"""Pairs of corners computed together: bounds the memory."""


class Widths(NamedTuple):
    """Measures of N convex polygons, each (N,) in the unit of their corners.

    `feret_min` is the smallest width (rotating calipers: across an edge), `feret_perpendicular` the width at right
    angles to it, `feret_max` the largest distance of two corners, `perimeter` the length around, `enclosing_diameter`
    that of the smallest circle around the polygon.
    """

    feret_min: NDArray[np.float64]
    feret_perpendicular: NDArray[np.float64]
    feret_max: NDArray[np.float64]
    perimeter: NDArray[np.float64]
    enclosing_diameter: NDArray[np.float64]


def polygon_widths(polygons: Sequence[NDArray]) -> Widths:
    """Measure convex polygons.

    Parameters
    ----------
    polygons : sequence of ndarray, shape (M, 2)
        Corners in order around each polygon, three at least, any unit; M may differ.

    Returns
    -------
    Widths

    Examples
    --------
    >>> import numpy as np
    >>> found = polygon_widths([np.array([(0.0, 0.0), (4.0, 0.0), (4.0, 3.0), (0.0, 3.0)])])
    >>> [round(float(value[0]), 6) for value in found]
    [3.0, 4.0, 5.0, 14.0, 5.0]
    """
    n_corners = np.array([len(polygon) for polygon in polygons], dtype=np.intp)
    values = np.empty((5, n_corners.size))
    # Polygons of like numbers of corners together, short ones filled up with their first corner again.
    order = np.argsort(n_corners, kind="stable")
    start = 0
    while start < order.size:
        stop = start + 1
        while stop < order.size and (stop + 1 - start) * n_corners[order[stop]] ** 2 <= _AT_ONCE:
            stop += 1
        chosen = order[start:stop]
        corners = np.empty((chosen.size, int(n_corners[chosen[-1]]), 2))
        for row, index in enumerate(chosen):
            corners[row, : n_corners[index]] = polygons[index]
            corners[row, n_corners[index] :] = polygons[index][0]
        values[:, chosen] = _measured(corners)
        start = stop
    return Widths(*values)


def _measured(corners: NDArray) -> NDArray[np.float64]:
    """Return the five measures of polygons with corners (n, M, 2), as (5, n)."""
    steps = np.roll(corners, -1, axis=1) - corners
    lengths = np.linalg.norm(steps, axis=2)
    # Edges of no length have no direction: they take that of the longest one, which changes no minimum.
    longest = np.take_along_axis(steps, lengths.argmax(axis=1)[:, None, None], axis=1)
    steps = np.where((lengths > 1e-9 * lengths.max(axis=1, keepdims=True))[:, :, None], steps, longest)
    along = steps / np.linalg.norm(steps, axis=2, keepdims=True)
    x, y = corners[:, :, None, 0], corners[:, :, None, 1]
    across = np.ptp(x * along[:, None, :, 1] - y * along[:, None, :, 0], axis=1)
    narrowest = across.argmin(axis=1)[:, None]
    direction = np.take_along_axis(along, narrowest[:, :, None], axis=1)
    apart2 = (x - x.transpose(0, 2, 1)) ** 2 + (y - y.transpose(0, 2, 1)) ** 2
    n = len(corners)
    farthest = apart2.reshape(n, -1).argmax(axis=1)
    pair = np.stack(np.divmod(farthest, corners.shape[1]), axis=1)
    return np.stack(
        [
            np.take_along_axis(across, narrowest, axis=1)[:, 0],
            np.ptp((corners * direction).sum(axis=2), axis=1),
            np.sqrt(apart2.reshape(n, -1).max(axis=1)),
            lengths.sum(axis=1),
            2 * _enclosing_radii(corners, np.take_along_axis(corners, pair[:, :, None], axis=1)),
        ]
    )


def _enclosing_radii(points: NDArray, support: NDArray) -> NDArray[np.float64]:
    """Radius of the smallest circle around each set of points (n, M, 2), from its farthest pair (n, 2, 2).

    Basis exchange: while a point lies outside, the smallest circle around the (at most three) points that carry the
    present one and the farthest outside takes its place. It grows at every step, so that it ends.
    """
    radii = np.empty(len(points))
    active = np.arange(len(points))
    support = np.concatenate([support, support[:, :1]], axis=1)
    centre, radius = support[:, :2].mean(axis=1), np.linalg.norm(support[:, 0] - support[:, 1], axis=1) / 2
    while active.size:
        distance = np.linalg.norm(points[active] - centre[:, None], axis=2)
        farthest = distance.argmax(axis=1)
        outside = np.take_along_axis(distance, farthest[:, None], axis=1)[:, 0] > radius * (1 + 1e-9)
        radii[active[~outside]] = radius[~outside]
        active, support = active[outside], support[outside]
        candidates = np.concatenate([support, points[active, farthest[outside]][:, None]], axis=1)
        support, centre, radius = _smallest_circle(candidates)
    return radii


def _smallest_circle(four: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Smallest circle around four points each (n, 4, 2): the three points that carry it, its centre and radius."""
    n = len(four)
    best = np.full(n, np.inf)
    carriers, centres = np.empty((n, 3, 2)), np.empty((n, 2))
    for chosen in (*combinations(range(4), 2), *combinations(range(4), 3)):
        corners = four[:, chosen]
        centre = corners.mean(axis=1) if len(chosen) == 2 else _circumcentre(corners)
        radius = np.linalg.norm(corners[:, 0] - centre, axis=1)
        holds = (np.linalg.norm(four - centre[:, None], axis=2) <= radius[:, None] * (1 + 1e-9)).all(axis=1)
        better = holds & (radius < best)
        best[better], centres[better] = radius[better], centre[better]
        carriers[better] = corners[better][:, [0, 1, -1]]
    return carriers, centres, best


def _circumcentre(corners: NDArray) -> NDArray[np.float64]:
    """Centre of the circle through three points (n, 3, 2); infinitely far for points on a line."""
    (bx, by), (cx, cy) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    cross = 2 * (bx * cy - by * cx)
    on_line = np.abs(cross) <= 1e-12 * (bx**2 + by**2 + cx**2 + cy**2)
    cross = np.where(on_line, 1, cross)
    b2, c2 = bx**2 + by**2, cx**2 + cy**2
    offset = np.stack([(cy * b2 - by * c2) / cross, (bx * c2 - cx * b2) / cross], axis=1)
    return corners[:, 0] + np.where(on_line[:, None], 1e100, offset)
