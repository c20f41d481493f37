"""Fractal dimensions: of agglomerates from their numbers and sizes, and of one agglomerate from its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

from simulate.errors import InputError, check_count, check_positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FEWEST = 3
"""Points that make a slope with an error."""


@dataclass(frozen=True)
class Fractal:
    """A power law, fitted as a line of logarithms.

    Attributes
    ----------
    dimension : float
        Exponent; NaN where fewer than three points, or points of one size, leave it open.
    error : float
        Its standard error from the scatter about the line.
    prefactor : float
        The factor before the power.
    count : int
        Points fitted.
    """

    dimension: float
    error: float
    prefactor: float
    count: int


def agglomerate_dimension(
    particles: NDArray, gyration: NDArray, primary_radius: NDArray | float, *, smallest: int = 3
) -> Fractal:
    r"""Fit :math:`N = k_f (R_g / a)^{D_f}` over agglomerates.

    The dimension is that of what is seen: a projection keeps the dimension of agglomerates below 2 and shows 2 for all
    above. Agglomerates that the border cuts should be left out. Few sizes make it uncertain: see `error`.

    Parameters
    ----------
    particles : ndarray, shape (M,)
        Primary particles N of each agglomerate.
    gyration : ndarray, shape (M,)
        Radii of gyration, the particles' own extent in it.
    primary_radius : ndarray, shape (M,), or float
        Radii a of the primary particles, in the same unit.
    smallest : int
        Agglomerates of fewer particles are left out: they are no fractals.

    Returns
    -------
    Fractal
        :math:`D_f` as `dimension`, :math:`k_f` as `prefactor`: both fitted.

    References
    ----------
    C. M. Sorensen, "The mobility of fractal aggregates: a review", Aerosol Sci. Technol. 45, 765 (2011).

    Examples
    --------
    >>> found = agglomerate_dimension(np.array([4, 16, 64]), np.array([2.0, 4.0, 8.0]), 1.0)
    >>> round(found.dimension, 3), round(found.prefactor, 3), found.count
    (2.0, 1.0, 3)
    """
    check_count(smallest, "smallest agglomerate", 2)
    counts = np.asarray(particles, dtype=np.float64)
    ratio = np.asarray(gyration, dtype=np.float64) / primary_radius
    used = counts >= smallest
    return _power_law(ratio[used], counts[used])


def box_counting(mask: NDArray[np.bool_], *, sizes: Sequence[int] | None = None) -> Fractal:
    r"""Fit :math:`N(s) \propto s^{-D}` to the boxes of side s that hold a part of one agglomerate's mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        Its pixels; pixels are taken for squares.
    sizes : sequence of int, optional
        Sides of the boxes in pixels, which start at the upper left of the mask's bounding box. If None, a quarter, an
        eighth, ... of its longer side, down to a pixel: what boxes at the far sides hold less, of other sides, would
        pass for a lower dimension.

    Returns
    -------
    Fractal
        `prefactor` is N at s = 1 pixel.

    References
    ----------
    B. B. Mandelbrot, "The Fractal Geometry of Nature", Freeman (1982).

    Examples
    --------
    >>> round(box_counting(np.ones((64, 64), bool)).dimension, 6)
    2.0
    """
    inner = _bounded(mask)
    longer = max(inner.shape)
    sides = [longer / 2**k for k in range(2, int(np.log2(longer)) + 1)] or [1.0]
    if sizes is not None:
        for size in sizes:
            check_count(size, "box size", 1)
        sides = [float(size) for size in sizes]
    at = np.argwhere(inner) + 0.5
    counts = [len(np.unique(np.floor(at / side), axis=0)) for side in sides]
    return _power_law(1 / np.asarray(sides), np.asarray(counts, dtype=np.float64))


def mass_radius(mask: NDArray[np.bool_], *, primary_radius_px: float = 1.0, n_radii: int = 12) -> Fractal:
    r"""Fit :math:`M(r) \propto r^D` to the mask's area within r of its pixels, the mean over them.

    The mean over all pixels suffers from the rim; it is taken over those within half a radius of gyration of the
    centre of mass, and r reaches from twice the primary radius to the radius of gyration.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        One agglomerate's pixels (square ones).
    primary_radius_px : float
        Radius of its primary particles in pixels: below it the mask is no fractal.
    n_radii : int
        Radii fitted, evenly spaced in their logarithm.

    Returns
    -------
    Fractal
        `prefactor` is the area at r = 1 pixel, in square pixels; `dimension` is NaN for one too small for the range.

    References
    ----------
    S. R. Forrest and T. A. Witten, "Long-range correlations in smoke-particle aggregates", J. Phys. A 12, L109 (1979).
    """
    check_positive(primary_radius_px, "primary radius")
    check_count(n_radii, "number of radii", FEWEST)
    inner = _bounded(mask)
    at = np.argwhere(inner)
    away = np.hypot(*(at - at.mean(axis=0)).T)
    gyration = float(np.sqrt(np.mean(away**2)))
    if gyration <= 2 * primary_radius_px:
        return Fractal(float("nan"), float("nan"), float("nan"), 0)
    starts = np.zeros_like(inner)
    near = at[away <= max(gyration / 2, away.min())]
    starts[near[:, 0], near[:, 1]] = True
    # All pairs of a start and a pixel, by the step between them.
    shape = [fft.next_fast_len(2 * side, real=True) or 2 * side for side in inner.shape]
    one, other = (np.asarray(fft.rfft2(part.astype(np.float64), shape)) for part in (starts, inner))
    pairs = np.maximum(np.asarray(fft.irfft2(one.conj() * other, shape)), 0)
    rows, cols = (np.fft.fftfreq(side, 1 / side) for side in shape)
    distance = np.hypot(rows[:, None], cols)
    radii = np.geomspace(2 * primary_radius_px, gyration, n_radii)
    mass = np.cumsum(np.bincount(np.searchsorted(radii, distance.ravel()), pairs.ravel(), n_radii + 1)[:n_radii])
    return _power_law(radii, mass / len(near))


def _bounded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise InputError(f"mask is {mask.dtype} of shape {mask.shape}; expected bool (H, W), one agglomerate's pixels")
    if not mask.any():
        raise InputError("mask holds no True pixel; expected one agglomerate's pixels")
    return mask[ndimage.find_objects(mask.astype(np.int8))[0]]


def _power_law(x: NDArray, y: NDArray) -> Fractal:
    """Fit y = k x^D by least squares of the logarithms."""
    nothing = Fractal(float("nan"), float("nan"), float("nan"), len(x))
    if len(x) < FEWEST:
        return nothing
    u, v = np.log(x), np.log(y)
    spread = np.square(u - u.mean()).sum()
    if spread < 1e-18:
        return nothing
    slope = float(((u - u.mean()) * (v - v.mean())).sum() / spread)
    rest = v - v.mean() - slope * (u - u.mean())
    error = float(np.sqrt(np.square(rest).sum() / (len(x) - 2) / spread))
    return Fractal(slope, error, float(np.exp(v.mean() - slope * u.mean())), len(x))
