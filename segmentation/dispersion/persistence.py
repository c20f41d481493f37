"""Persistent homology of points in the plane: the alpha complex's components (H0) and holes (H1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import Delaunay

from segmentation.dispersion.neighbours import line_order
from simulate.kernels.jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


def alpha_persistence(points: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return births and deaths of components and of holes, as radii of disks that grow about all points.

    Components of the disks' union merge, and its holes open and fill. Components are Kruskal's on the Delaunay edges;
    holes are the components of the complement, found backwards in time by duality. An edge enters at half its length,
    or with the first of its triangles if a point lies in its circle; a triangle enters at its circumradius.

    Parameters
    ----------
    points : ndarray, shape (N, 2)
        Positions, any unit.

    Returns
    -------
    components : ndarray of float64, shape (N - 1, 2)
        Birth (0) and death, ascending; the component that never dies is left out. (0, 2) without points.
    holes : ndarray of float64, shape (M, 2)
        Birth and death, sorted; those that die as they are born are left out.

    References
    ----------
    H. Edelsbrunner and J. Harer, "Computational Topology", AMS (2010).

    Examples
    --------
    >>> components, holes = alpha_persistence(np.array([[0, 0], [2, 0], [2, 2.0], [0, 2]]))
    >>> components[:, 1].tolist(), holes.round(3).tolist()
    ([1.0, 1.0, 1.0], [[1.0, 1.414]])
    """
    order = line_order(points)
    if order is not None:  # components merge at half the steps along the line, and there are no holes
        steps = np.linalg.norm(np.diff(points[order], axis=0), axis=1) / 2
        return _births_at_zero(steps), np.empty((0, 2))
    mesh = Delaunay(points)
    cells = mesh.simplices.astype(np.int64)
    # Side k lies opposite to corner k.
    sides = np.stack([np.linalg.norm(points[cells[:, k - 2]] - points[cells[:, k - 1]], axis=1) for k in range(3)], 1)
    u, v = points[cells[:, 1]] - points[cells[:, 0]], points[cells[:, 2]] - points[cells[:, 0]]
    twice_area = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    radius = np.maximum(sides.prod(axis=1) / np.maximum(2 * twice_area, 1e-300), sides.max(axis=1) / 2)

    ends = np.sort(np.stack([cells[:, [1, 2]], cells[:, [2, 0]], cells[:, [0, 1]]], axis=1), axis=2).reshape(-1, 2)
    keys, edge_of = np.unique(ends[:, 0] * len(points) + ends[:, 1], return_inverse=True)
    edges = np.column_stack([keys // len(points), keys % len(points)])
    enters = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1) / 2
    obtuse = (2 * sides**2 > np.square(sides).sum(axis=1, keepdims=True)).ravel()
    attached = np.zeros(len(edges), dtype=bool)
    attached[edge_of[obtuse]] = True
    first = np.full(len(edges), np.inf)
    np.minimum.at(first, edge_of, np.repeat(radius, 3))
    enters[attached] = first[attached]

    faces = np.full((len(edges), 2), len(cells))  # the outer face, unless two triangles share the edge
    by_edge = np.argsort(edge_of, kind="stable")
    new = np.diff(edge_of[by_edge], prepend=-1) > 0
    faces[edge_of[by_edge[new]], 0] = by_edge[new] // 3
    faces[edge_of[by_edge[~new]], 1] = by_edge[~new] // 3

    deaths, loops = _merge(edges, enters, np.argsort(enters, kind="stable"), len(points))
    births, fills = _fill(faces[loops[::-1]], enters[loops[::-1]], np.append(radius, np.inf))
    kept = fills > births * (1 + 1e-12)
    holes = np.column_stack([births[kept], fills[kept]])
    on_top = np.linalg.norm(points[mesh.coplanar[:, 0]] - points[mesh.coplanar[:, 2]], axis=1) / 2
    components = _births_at_zero(np.concatenate([deaths, on_top]))
    return components, holes[np.lexsort((holes[:, 1], holes[:, 0]))]


def _births_at_zero(deaths: NDArray) -> NDArray[np.float64]:
    return np.column_stack([np.zeros(deaths.size), np.sort(deaths)])


@compiled
def _root(parent, node):  # pragma: no cover - compiled
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _merge(edges, enters, order, n):  # pragma: no cover - compiled
    """Return when components merge, and the edges that close a loop, in the order they enter."""
    parent = np.arange(n)
    deaths, loops = np.empty(len(edges)), np.empty(len(edges), np.int64)
    n_deaths, n_loops = 0, 0
    for e in order:
        i, j = _root(parent, edges[e, 0]), _root(parent, edges[e, 1])
        if i == j:
            loops[n_loops] = e
            n_loops += 1
        else:
            parent[i] = j
            deaths[n_deaths] = enters[e]
            n_deaths += 1
    return deaths[:n_deaths], loops[:n_loops]


@compiled
def _fill(faces, enters, dies):  # pragma: no cover - compiled
    """Return births and deaths of holes from the faces on both sides of loop edges, the last one first."""
    parent = np.arange(len(dies))
    births, fills = np.empty(len(faces)), np.empty(len(faces))
    n = 0
    for e in range(len(faces)):
        i, j = _root(parent, faces[e, 0]), _root(parent, faces[e, 1])
        if i == j:
            continue
        if dies[i] > dies[j]:
            i, j = j, i
        parent[i] = j
        births[n], fills[n] = enters[e], dies[i]
        n += 1
    return births[:n], fills[:n]
