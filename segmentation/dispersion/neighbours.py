"""Who lies next to whom: nearest neighbours, Delaunay and Voronoi, and how random their distances are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import Delaunay, KDTree, Voronoi
from scipy.special import erfc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segmentation.dispersion.windows import Window

FLAT = 1e-9
"""Points whose spread across a line is less than this share of that along it lie on the line."""


def line_order(points: NDArray) -> NDArray[np.int64] | None:
    """Return the order along their line of points (N, 2) that lie on one, or are fewer than three; else None."""
    centred = points - points.mean(axis=0) if len(points) else points
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    if len(points) > 2 and spread[1] > FLAT * spread[0]:
        return None
    return np.argsort(centred @ axes[0], kind="stable") if len(points) > 1 else np.arange(len(points))


def delaunay_edges(points: NDArray) -> NDArray[np.int64]:
    """Return the Delaunay neighbours (M, 2), the smaller index first.

    Of points on one line, those next to each other along it. A point on top of another is its neighbour alone.
    """
    order = line_order(points)
    if order is not None:
        return np.sort(np.column_stack([order[:-1], order[1:]]), axis=1)
    mesh = Delaunay(points)
    start, neighbours = mesh.vertex_neighbor_vertices
    first = np.repeat(np.arange(len(points)), np.diff(start))
    edges = np.column_stack([first, neighbours])[first < neighbours]
    return np.vstack([edges, np.sort(mesh.coplanar[:, [0, 2]], axis=1)]).astype(np.int64)


def clark_evans(points: NDArray, window: Window) -> dict[str, float]:
    r"""Return the mean nearest-neighbour distance over that of random points, with Donnelly's edge correction.

    .. math:: E = \tfrac12\sqrt{A/N} + (0.0514 + 0.0412/\sqrt N)\,P/N, \quad
        s^2 = 0.0703 A/N^2 + 0.037 P \sqrt{A/N^5}

    Made for rectangles and other smooth borders of length P around the area A.

    Parameters
    ----------
    points : ndarray, shape (N, 2)
        Positions (x, y).
    window : Window

    Returns
    -------
    dict
        `clark_evans` (1 random, below clustered, up to 2.149 of a hexagonal lattice), its `clark_evans_z` and two-sided
        `clark_evans_p` against independent points; NaN of fewer than two.

    References
    ----------
    P. J. Clark and F. C. Evans, Ecology 35, 445 (1954); K. P. Donnelly, in "Simulation Methods in Archaeology" (1978).
    """
    n = len(points)
    if n < 2:
        return {"clark_evans": np.nan, "clark_evans_z": np.nan, "clark_evans_p": np.nan}
    mean = KDTree(points).query(points, k=2)[0][:, 1].mean()
    expected = 0.5 * np.sqrt(window.area / n) + (0.0514 + 0.0412 / np.sqrt(n)) * window.perimeter / n
    error = np.sqrt(0.0703 * window.area / n**2 + 0.037 * window.perimeter * np.sqrt(window.area / n**5))
    z = (mean - expected) / error
    return {
        "clark_evans": float(mean / expected),
        "clark_evans_z": float(z),
        "clark_evans_p": float(erfc(abs(z) / 2**0.5)),
    }


def voronoi_statistics(points: NDArray, window: Window) -> dict[str, NDArray]:
    r"""Describe each point's Delaunay neighbours and Voronoi cell.

    Parameters
    ----------
    points : ndarray, shape (N, 2)
        Positions (x, y).
    window : Window

    Returns
    -------
    dict
        Each (N,): `coordination`, the number of Delaunay neighbours; `psi6`, the bond order
        :math:`|\sum_j e^{6 i \theta_j}| / n`, 1 in a hexagonal lattice, NaN without neighbours; `voronoi_area`;
        `voronoi_at_border`, True where a corner of the cell lies outside the window: that area is NaN.
    """
    n, edges = len(points), delaunay_edges(points)
    step = points[edges[:, 1]] - points[edges[:, 0]]
    turn = 6 * np.arctan2(step[:, 1], step[:, 0])
    count = np.bincount(edges.ravel(), minlength=n)
    ends = edges.T.ravel()
    turn = np.tile(turn, 2)  # a bond turned round has the same six-fold phase
    total = np.hypot(np.bincount(ends, np.cos(turn), n), np.bincount(ends, np.sin(turn), n))
    psi6 = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    area, border = _cells(points, window)
    return {"coordination": count, "psi6": psi6, "voronoi_area": area, "voronoi_at_border": border}


def _cells(points: NDArray, window: Window) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    n = len(points)
    if line_order(points) is not None:
        return np.full(n, np.nan), np.ones(n, dtype=bool)
    cells = Voronoi(points)
    ridges, owners = np.asarray(cells.ridge_vertices), cells.ridge_points
    seen = np.append(window.contains(cells.vertices), False)  # the last is the corner at infinity, -1
    area, outside = np.zeros(n), np.zeros(n)
    # A cell is made of the triangles over its sides, half as high as the neighbour is far away.
    side = cells.vertices[ridges[:, 1]] - cells.vertices[ridges[:, 0]]
    apart = points[owners[:, 1]] - points[owners[:, 0]]
    triangle = np.hypot(side[:, 0], side[:, 1]) * np.hypot(apart[:, 0], apart[:, 1]) / 4
    for k in (0, 1):
        area += np.bincount(owners[:, k], triangle, n)
        outside += np.bincount(owners[:, k], ~seen[ridges].all(axis=1), n)
    border = (outside > 0) | (area == 0)  # no side of its own: on top of another point
    return np.where(border, np.nan, area), border
