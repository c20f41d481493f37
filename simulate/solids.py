"""Many bodies at once: their geometry packed into arrays, drawn into optical depth and labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulate.shapes import Body


@dataclass(frozen=True, eq=False)
class Solids:
    """Bodies on a frame, lowest first.

    Parameters
    ----------
    bodies : tuple of Body
    rotations : ndarray, shape (N, 3, 3)
        Turn each body's frame into the microscope's.
    centres : ndarray, shape (N, 2)
        Rows and columns in pixels.
    radii : ndarray, shape (N,)
        In pixels.
    depths, inner_depths : ndarray, shape (N,)
        Optical depth of a pixel of thickness, and what the inner part (core or cavity) adds to it.
    """

    bodies: tuple[Body, ...]
    rotations: NDArray[np.float64]
    centres: NDArray[np.float64]
    radii: NDArray[np.float64]
    depths: NDArray[np.float64]
    inner_depths: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.bodies)

    @property
    def reach(self) -> NDArray[np.float64]:
        """Largest distance of a point of each body from its centre, in pixels, shape (N,)."""
        return np.array([body.reach for body in self.bodies]) * self.radii

    def take(self, index: Sequence[int] | NDArray) -> Solids:
        """Return some of the bodies, in the order of `index`."""
        chosen = np.asarray(index, dtype=np.int64)
        arrays = {name: getattr(self, name)[chosen] for name in _ARRAYS}
        return Solids(bodies=tuple(self.bodies[i] for i in chosen), **arrays)

    def moved(self, centres: NDArray[np.float64], radii: NDArray[np.float64]) -> Solids:
        """Return the bodies at other places and sizes."""
        return replace(self, centres=centres, radii=radii)

    def draw(self, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int64]]:
        """Return optical depth (H, W), label map (H, W; index + 1 of the body on top), and each body's pixels (N,).

        The depth is the mean over the pixel for small bodies and that of the pixel's centre for large ones; a pixel
        belongs to the bodies under its centre.
        """
        depth, labels = np.zeros(shape), np.zeros(shape, dtype=np.int32)
        areas = self._draw(depth, labels, np.arange(len(self)), 3)
        return depth, labels, areas

    def mask(self, index: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the full mask of one body on a frame, (H, W), covered by others or not."""
        labels = np.zeros(shape, dtype=np.int32)
        self._draw(np.zeros((1, 1)), labels, np.array([index]), 1)
        return labels > 0

    def _draw(self, depth: NDArray, labels: NDArray, order: NDArray, flag: int) -> NDArray[np.int64]:
        from simulate.kernels.solids import draw

        areas = np.zeros(len(self), dtype=np.int64)
        if len(self) == 0:
            return areas
        reach = self.reach
        inner = np.array([body.inner for body in self.bodies])
        table = np.column_stack([
            self.centres, self.radii, reach, self.depths, inner, self.inner_depths
        ])  # fmt: skip
        quadrics, facets, starts = self._geometry()
        flags = np.full(len(self), flag, dtype=np.int64)
        draw(depth, labels, areas, flags, table, quadrics, facets, starts, order)
        return areas

    def _geometry(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Return ellipsoids' quadrics (N, 3, 3), and polyhedra's facets (M, 4) from `starts` (N + 1)."""
        axes = np.array([body.semi_axes for body in self.bodies])
        turned = self.rotations / axes[:, None, :]
        facets = [np.zeros((0, 4))]
        for body, rotation in zip(self.bodies, self.rotations, strict=True):
            if body.normals is None or body.offsets is None:
                facets.append(facets[0])
            else:
                facets.append(np.column_stack([body.normals @ rotation.T, body.offsets]))
        starts = np.cumsum([len(rows) for rows in facets])
        return turned @ turned.transpose(0, 2, 1), np.concatenate(facets), starts


_ARRAYS = ("rotations", "centres", "radii", "depths", "inner_depths")
