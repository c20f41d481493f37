"""Distances between the particles' surfaces: of their pixels' edges, or of disks where there is no label map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from segmentation.dispersion.neighbours import delaunay_edges
from simulate.kernels.jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segmentation.instances import Instances


class Surfaces:
    """The particles' outlines, and the distances between them.

    Parameters
    ----------
    points : ndarray, shape (N, 2)
        Centres (x, y).
    radii : ndarray, shape (N,)
        Of disks of equal area: the surfaces themselves without instances.
    pixel : (float, float)
        Edge lengths of a pixel (row, column).
    instances : Instances, optional
        The particles' pixels, in the order of `points`.
    """

    def __init__(
        self, points: NDArray, radii: NDArray, pixel: tuple[float, float], instances: Instances | None = None
    ) -> None:
        self.points, self.pixel = np.ascontiguousarray(points, dtype=np.float64), pixel
        self.reach = np.array(radii, dtype=np.float64)
        """Distance of each centre from the farthest point of its particle."""
        self._outline: tuple[NDArray, NDArray] | None = None
        if instances is not None:
            at, starts = self._outline = boundary_pixels(instances)
            owner = np.repeat(np.arange(len(points)), np.diff(starts))
            away = np.hypot(*((at[:, ::-1] + 0.5) * pixel[::-1] - points[owner]).T) + np.hypot(*pixel) / 2
            self.reach = np.zeros(len(points))
            np.maximum.at(self.reach, owner, away)

    def gaps(self, pairs: NDArray) -> NDArray[np.float64]:
        """Return the smallest distance between the surfaces of each of the pairs (M, 2); 0 where they touch."""
        if self._outline is None:
            distance = np.linalg.norm(self.points[pairs[:, 0]] - self.points[pairs[:, 1]], axis=1)
            return np.maximum(distance - self.reach[pairs].sum(axis=1), 0)
        pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        return _pixel_gaps(pairs, *self._outline, self.points, self.reach, *self.pixel)

    def near(self, reach: float) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Return each particle's distance to the nearest other surface, the pairs within `reach`, and their gaps."""
        n = len(self.points)
        nearest = np.full(n, np.inf)
        if n < 2:
            return np.full(n, np.nan), np.empty((0, 2), dtype=np.int64), np.empty(0)
        edges = delaunay_edges(self.points)
        _lower(nearest, edges, self.gaps(edges))
        pairs = self._candidates(np.maximum(nearest, reach * (1 + 1e-9)))
        gaps = self.gaps(pairs)
        _lower(nearest, pairs, gaps)
        close = gaps <= reach * (1 + 1e-9)
        return nearest, pairs[close], gaps[close]

    def _candidates(self, limit: NDArray) -> NDArray[np.int64]:
        """Return all pairs that may be nearer to each other than the limit of one of them.

        Particles are looked up by classes of size: one huge particle would make all pairs of small ones candidates.
        """
        n = len(self.points)
        size_class = np.ceil(np.log2(np.maximum(self.reach, max(self.pixel) / 2)))
        found = []
        for value in np.unique(size_class):
            members = np.flatnonzero(size_class == value)
            within = limit + self.reach + self.reach[members].max()
            lists = KDTree(self.points[members]).query_ball_point(self.points, within)
            first = np.repeat(np.arange(n), [len(found) for found in lists])
            second = members[np.concatenate(lists).astype(np.int64)]
            found.append(np.column_stack([first, second])[first != second])
        pairs = np.sort(np.vstack(found), axis=1)
        keys = np.unique(pairs[:, 0] * n + pairs[:, 1])
        return np.column_stack([keys // n, keys % n])


def boundary_pixels(instances: Instances) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the particles' boundary pixels (row, column), (M, 2), in the order of ids, and where each starts."""
    labels = np.pad(instances.labels, 1)
    core = labels[1:-1, 1:-1]
    edge = np.zeros(core.shape, dtype=bool)
    inner = slice(1, -1)
    for rows, cols in ((slice(2, None), inner), (slice(0, -2), inner), (inner, slice(2, None)), (inner, slice(0, -2))):
        edge |= labels[rows, cols] != core
    at = np.argwhere(edge & (core > 0))
    owner = np.searchsorted(instances.ids, core[at[:, 0], at[:, 1]])
    order = np.argsort(owner, kind="stable")
    return at[order], np.searchsorted(owner[order], np.arange(len(instances) + 1))


def _lower(values: NDArray, pairs: NDArray, gaps: NDArray) -> None:
    for k in (0, 1):
        np.minimum.at(values, pairs[:, k], gaps)


@compiled
def _pixel_gaps(pairs, at, starts, points, reach, row_size, col_size):  # pragma: no cover - compiled
    gaps = np.empty(len(pairs))
    for p in range(len(pairs)):
        i, j = pairs[p]
        if starts[i + 1] - starts[i] < starts[j + 1] - starts[j]:
            i, j = j, i
        best = np.inf
        for a in range(starts[i], starts[i + 1]):
            # No pixel of j is nearer than its circle: most of a large outline is left out by that.
            x, y = (at[a, 1] + 0.5) * col_size - points[j, 0], (at[a, 0] + 0.5) * row_size - points[j, 1]
            least = np.sqrt(x * x + y * y) - reach[j] - np.sqrt(row_size**2 + col_size**2)
            if least > 0 and least * least > best:
                continue
            for b in range(starts[j], starts[j + 1]):
                dy = max(abs(at[a, 0] - at[b, 0]) - 1, 0) * row_size
                dx = max(abs(at[a, 1] - at[b, 1]) - 1, 0) * col_size
                best = min(best, dx * dx + dy * dy)
        gaps[p] = np.sqrt(best)
    return gaps
