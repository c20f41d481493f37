"""Poisson-disc sampling: random pixels that keep apart, so that the sampling noise has no low frequencies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from simulate.schemes.order import in_raster_order, pixel_count
from simulate.schemes.registry import scheme

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.schemes.registry import Positions, Prior


@scheme("poisson-disc", "random pixels that keep a distance: no clusters, no gaps, no regular pattern (blue noise)")
def poisson_disc(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Blue noise: `poisson_disc_mask` in raster order."""
    return in_raster_order(poisson_disc_mask(shape, pixel_count(shape, ratio), rng)[0], shape)


def poisson_disc_mask(shape: tuple[int, int], count: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], float]:
    r"""Return a flat mask of `count` random pixels that keep apart, and the distance that they keep.

    Progressive dart throwing: pixels are tried in random order and taken if every sample so far is at least
    :math:`d` away, where :math:`d^2` starts at the densest packing's value and goes down through the whole numbers
    until `count` pixels are placed. More than half of the frame is the complement of the pattern for the rest. Between
    ratios of about 0.3 and 0.7 the pixel grid has few distances left to keep, and the pattern is less even.

    Parameters
    ----------
    shape : (int, int)
        Frame shape.
    count : int
        How many pixels, from 1 to ``H * W``.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    mask : numpy.ndarray of bool, shape (H * W,)
    distance_px : float
        No two pixels of the mask are nearer (above one half of the frame: no two pixels left out).

    References
    ----------
    Bridson, "Fast Poisson disk sampling in arbitrary dimensions", SIGGRAPH Sketches (2007),
    https://doi.org/10.1145/1278780.1278807; the decreasing radius: McCool and Fiume, "Hierarchical Poisson disk
    sampling distributions", Graphics Interface '92; blue noise: Ulichney, "Dithering with blue noise", Proceedings of
    the IEEE 76, 56-79 (1988), https://doi.org/10.1109/5.3288.

    Examples
    --------
    >>> mask, distance_px = poisson_disc_mask((64, 64), 41, np.random.default_rng(0))
    >>> int(mask.sum()), distance_px > 7
    (41, True)
    """
    from simulate.kernels.schemes_blue_noise import poisson_disc as throw_darts

    pixels = shape[0] * shape[1]
    placed = count if 2 * count <= pixels else pixels - count
    if placed == 0:
        return np.ones(pixels, dtype=np.bool_), math.inf
    taken, squared = throw_darts(shape, placed, rng.permutation(pixels), _densest_squared(shape, placed))
    return (taken == 1) == (placed == count), math.sqrt(squared)


def _densest_squared(shape: tuple[int, int], count: int) -> int:
    r"""Return an upper bound on the squared distance that `count` points in the frame can keep.

    Discs of that diameter around the points fit into the frame widened by it, at most at the density of the hexagonal
    packing: :math:`\frac{\sqrt 3}{2} n d^2 \le (H + d)(W + d)`. Radii whose disc outgrows the frame are not worth
    trying.
    """
    rows, cols = shape
    excess = math.sqrt(3) / 2 * count - 1
    if excess <= 0:
        return 1
    distance = (rows + cols + math.sqrt((rows + cols) ** 2 + 4 * excess * rows * cols)) / (2 * excess)
    return min(math.ceil(distance**2), rows * cols)
