"""The region in which particles were looked for: a rectangle, or an arbitrary mask of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

from simulate.errors import InputError, check_positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_CUT = 8
"""Parts that a long pixel is cut into, at most."""
LARGEST_GRID = 1024
"""Pixels a side from which a mask's set covariance is computed: beyond, its transform would fill the memory."""


@dataclass(frozen=True, eq=False)
class Window:
    """A region of observation; positions are (x, y) lengths from its upper left corner.

    Parameters
    ----------
    width, height : float
        Extent along x and y, in nm or pixels.
    mask : ndarray of bool, shape (H, W), optional
        True where particles were looked for, over the whole extent; everywhere if None (a rectangle).

    Examples
    --------
    >>> Window(4.0, 2.0).area
    8.0
    """

    width: float
    height: float
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        check_positive(self.width, "window width")
        check_positive(self.height, "window height")
        if self.mask is None:
            return
        if self.mask.dtype != np.bool_ or self.mask.ndim != 2:
            raise InputError(f"window mask is {self.mask.dtype} {self.mask.shape}; expected bool of shape (H, W)")
        if not self.mask.any():
            raise InputError("window mask holds no True pixel; expected the region in which particles were looked for")

    @cached_property
    def area(self) -> float:
        """Area of the region."""
        share = 1.0 if self.mask is None else float(self.mask.mean())
        return self.width * self.height * share

    @cached_property
    def perimeter(self) -> float:
        """Length of the border; of a mask by Crofton's formula."""
        if self.mask is None:
            return 2 * (self.width + self.height)
        from segmentation.geometry import crofton_perimeters

        return float(crofton_perimeters(self.mask.astype(np.int32), 1, self._pixel)[0])

    @cached_property
    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Upper left corner (x, y) and extent (width, height) of the smallest rectangle around the region."""
        if self.mask is None:
            return (0.0, 0.0), (self.width, self.height)
        (top, bottom), (left, right) = (np.flatnonzero(self.mask.any(axis=axis))[[0, -1]] for axis in (1, 0))
        height, width = self._pixel
        return (left * width, top * height), ((right + 1 - left) * width, (bottom + 1 - top) * height)

    def inner(self, margin: float) -> tuple[Window, tuple[float, float]] | None:
        """Return the part further than `margin` from the border and its upper left corner (x, y), or None.

        Of a mask the pixels whose centres lie so deep.
        """
        if self.mask is None:
            width, height = self.width - 2 * margin, self.height - 2 * margin
            return (Window(width, height), (margin, margin)) if min(width, height) > 0 else None
        distance, sides = self._edt
        distance = distance[1:-1, 1:-1]
        for axis in (0, 1):  # of the parts of a long pixel the middle one, or the mean of the two
            parts = round(self._pixel[axis] / sides[axis])
            ranks = np.arange(0, distance.shape[axis], parts)
            first, second = (np.take(distance, ranks + middle, axis) for middle in ((parts - 1) // 2, parts // 2))
            distance = (first + second) / 2
        deep = self.mask & (distance >= margin)
        return (Window(self.width, self.height, deep), (0.0, 0.0)) if deep.any() else None

    def contains(self, points: NDArray) -> NDArray[np.bool_]:
        """Return which points (N, 2) lie inside."""
        inside = np.all((points >= 0) & (points <= (self.width, self.height)), axis=1)
        if self.mask is not None and inside.any():
            inside[inside] = self.mask[self._index(points[inside])]
        return inside

    def border_distances(self, points: NDArray) -> NDArray[np.float64]:
        """Return each point's distance to the border, (N,); of a mask interpolated from its distance transform."""
        x, y = points[:, 0], points[:, 1]
        if self.mask is None:
            return np.minimum(np.minimum(x, self.width - x), np.minimum(y, self.height - y))
        distance, (height, width) = self._edt
        at = np.array([y / height + 0.5, x / width + 0.5])
        return np.maximum(ndimage.map_coordinates(distance, at, order=1, mode="nearest"), 0)

    def shifted_overlap(self, dx: NDArray, dy: NDArray) -> NDArray[np.float64]:
        """Return the area of the region's intersection with itself moved by (dx, dy): the set covariance.

        Exact of a rectangle and of a mask up to 1024 pixels a side, as it is bilinear between whole pixels; larger
        masks are binned.
        """
        if self.mask is None:
            return np.maximum(self.width - np.abs(dx), 0) * np.maximum(self.height - np.abs(dy), 0)
        areas, (row_step, col_step) = self._covariance
        at = np.array([dy / row_step + areas.shape[0] // 2, dx / col_step + areas.shape[1] // 2])
        return ndimage.map_coordinates(areas, at, order=1, mode="constant")

    def arc_share(self, points: NDArray, radii: NDArray) -> NDArray[np.float64]:
        r"""Return the share of the circle about each point that lies inside a rectangle, (N,).

        With :math:`a_i = \arccos(\min(d_i / r, 1))` of the distances to the four sides in turn, the arc outside is
        :math:`\sum_i 2 a_i - \sum_i \max(0, a_i + a_{i+1} - \pi/2)`: opposite sides never cut off the same arc.
        """
        x, y = points[:, 0], points[:, 1]
        sides = np.stack([x, y, self.width - x, self.height - y])
        cut = np.arccos(np.clip(sides / np.maximum(radii, 1e-300), 0, 1))
        outside = 2 * cut.sum(0) - np.maximum(cut + np.roll(cut, -1, axis=0) - np.pi / 2, 0).sum(0)
        return 1 - outside / (2 * np.pi)

    @cached_property
    def _grid(self) -> NDArray[np.bool_]:
        return np.ones((1, 1), dtype=bool) if self.mask is None else self.mask

    @cached_property
    def _pixel(self) -> tuple[float, float]:
        rows, cols = self._grid.shape
        return self.height / rows, self.width / cols

    def _index(self, points: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, cols = (np.asarray(points[:, 1 - k] / self._pixel[k], dtype=np.int64) for k in (0, 1))
        return np.minimum(rows, self._grid.shape[0] - 1), np.minimum(cols, self._grid.shape[1] - 1)

    @cached_property
    def _edt(self) -> tuple[NDArray[np.float64], tuple[float, float]]:
        """Return the distances of the pixels' centres to the border, one outer pixel all around, and the pixels' sides.

        Long pixels are cut into nearly square ones, half of whose side is the same in every direction.
        """
        parts = [min(max(1, round(side / min(self._pixel))), LARGEST_CUT) for side in self._pixel]
        sides = self._pixel[0] / parts[0], self._pixel[1] / parts[1]
        padded = np.pad(self._grid.repeat(parts[0], axis=0).repeat(parts[1], axis=1), 1)
        distance = np.empty(padded.shape)
        ndimage.distance_transform_edt(padded, sampling=sides, distances=distance)
        # The border lies half a pixel before the next outer pixel's centre; negative there, so that it is 0 between.
        return distance - min(sides) / 2, sides

    @cached_property
    def _covariance(self) -> tuple[NDArray[np.float64], tuple[float, float]]:
        """Areas of overlap at shifts in steps, no shift in the middle, and those steps (rows, columns)."""
        step = -(-max(self._grid.shape) // LARGEST_GRID)
        padded = np.pad(self._grid.astype(np.float64), [(0, -side % step) for side in self._grid.shape])
        rows, cols = padded.shape[0] // step, padded.shape[1] // step
        share = padded.reshape(rows, step, cols, step).mean(axis=(1, 3))
        shape = [fft.next_fast_len(2 * side + 1, real=True) for side in share.shape]
        spectrum = np.asarray(fft.rfft2(share, shape))
        overlap = np.roll(np.asarray(fft.irfft2(np.abs(spectrum) ** 2, shape)), (rows, cols), axis=(0, 1))
        # The transform leaves 1e-10 where there is no overlap.
        overlap[overlap < 1e-6] = 0
        # Bins that are partly inside overlap themselves with their whole share, not its square.
        overlap[rows, cols] = share.sum()
        lengths = self._pixel[0] * step, self._pixel[1] * step
        return overlap[: 2 * rows + 1, : 2 * cols + 1] * lengths[0] * lengths[1], lengths
