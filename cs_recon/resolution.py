r"""How fine the detail is that an image shares with another: Fourier ring correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, check_numbers, check_shape, check_within

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

AGAINST_TRUTH = 0.5
"""The threshold for an image against the truth; see `frc_resolution`."""

BETWEEN_HALVES = 1 / 7
"""The threshold for two halves of the data; it tells the resolution of their mean."""


@dataclass(frozen=True, eq=False)
class RingCorrelation:
    """A Fourier ring correlation.

    Attributes
    ----------
    frequency : ndarray, shape (K,)
        Mean spatial frequency of each ring's members in cycles per pixel, above 0 and up to about 0.5 (Nyquist): half
        a ring lies beyond.
    correlation : ndarray, shape (K,)
        Correlation of the two images on each ring, -1 to 1; 0 where either has nothing.
    members : ndarray of int, shape (K,)
        Fourier coefficients on each ring.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    members: NDArray[np.int64]


def frc(first: ArrayLike, second: ArrayLike, *, window: bool = True) -> RingCorrelation:
    r"""Return the Fourier ring correlation of two images.

    .. math:: \mathrm{FRC}(f) = \frac{\sum_{k \in f} F_1(k) F_2^*(k)}
              {\sqrt{\sum_{k \in f} |F_1(k)|^2 \sum_{k \in f} |F_2(k)|^2}}

    over rings :math:`f` of width :math:`1 / \min(H, W)` cycles per pixel.

    Parameters
    ----------
    first, second : array_like, shape (H, W)
        The images, any unit, at least 8 x 8 pixels; scale and offset do not matter.
    window : bool
        Whether to multiply both (less their means) by a Hann window, so that the jump from one border to the opposite
        one, which both images have, does not correlate.

    Returns
    -------
    RingCorrelation

    Raises
    ------
    InputError
        If the shapes differ, or an image is constant or not finite.

    References
    ----------
    Saxton, Baumeister, "The correlation averaging of a regularly arranged bacterial cell envelope protein", J. Microsc.
    127, 127 (1982), https://doi.org/10.1111/j.1365-2818.1982.tb00405.x.
    van Heel, Schatz, "Fourier shell correlation threshold criteria", J. Struct. Biol. 151, 250 (2005),
    https://doi.org/10.1016/j.jsb.2005.05.009.

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(size=(32, 32))
    >>> bool(np.allclose(frc(image, 3 * image + 5).correlation, 1))
    True
    """
    one, two = (check_numbers(image, "image").astype(np.float64) for image in (first, second))
    if one.shape != two.shape:
        raise InputError(f"the images have shapes {one.shape} and {two.shape}; make them equal")
    rows, cols = check_shape(one.shape, "image")
    for image in (one, two):
        if not np.isfinite(image).all() or np.ptp(image) == 0:
            raise InputError("an image is constant or not finite; expected finite numbers with contrast")
    taper = np.outer(_hann(rows), _hann(cols)) if window else 1.0
    spectra = [np.fft.fft2((image - image.mean()) / np.ptp(image) * taper) for image in (one, two)]
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(cols))
    ring = np.rint(frequency * min(rows, cols)).astype(np.int64).ravel()
    n_rings = min(rows, cols) // 2 + 1

    def ring_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(ring, values.ravel(), minlength=n_rings)[1:n_rings].astype(np.float64)

    members = np.bincount(ring, minlength=n_rings)[1:n_rings]
    cross = ring_sums((spectra[0] * spectra[1].conj()).real)
    powers = [ring_sums(np.abs(spectrum) ** 2) for spectrum in spectra]
    norm = np.sqrt(powers[0] * powers[1])
    # Rounding leaves about 1e-32 of the power where an image has none.
    empty = norm <= 1e-24 * np.sqrt(powers[0].sum() * powers[1].sum())
    correlation = np.where(empty, 0.0, cross / np.where(empty, 1.0, norm))
    return RingCorrelation(ring_sums(frequency) / members, correlation, members)


def frc_resolution(
    first: ArrayLike, second: ArrayLike, *, threshold: float = AGAINST_TRUTH, window: bool = True
) -> float:
    r"""Return the period in pixels of the finest detail that two images share.

    That is one over the frequency at which their Fourier ring correlation first falls below the threshold, between two
    rings by linear interpolation. The smallest value is 2 (no ring falls below), the largest infinity (the first one
    does).

    Parameters
    ----------
    first, second : array_like, shape (H, W)
        The images.
    threshold : float
        0.5 for an image against the truth. Where two halves of the data, equally noisy, correlate by :math:`c`, their
        mean correlates by :math:`\sqrt{2 c / (1 + c)}` with the truth (Rosenthal, Henderson, J. Mol. Biol. 333, 721
        (2003), https://doi.org/10.1016/j.jmb.2003.07.013), so 0.5 says the same of the mean as the usual 1/7 between
        the halves, `BETWEEN_HALVES`.
    window : bool
        As in `frc`.

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(size=(32, 32))
    >>> frc_resolution(image, image)
    2.0
    """
    check_within(threshold, "FRC threshold", 0, 1)
    curve = frc(first, second, window=window)
    below = np.flatnonzero(curve.correlation < threshold)
    if not below.size:
        return 2.0
    index = int(below[0])
    if index == 0:
        return float("inf")
    high, low = curve.correlation[index - 1], curve.correlation[index]
    step = (high - threshold) / (high - low)
    crossing = curve.frequency[index - 1] + step * (curve.frequency[index] - curve.frequency[index - 1])
    return max(2.0, float(1 / crossing))


def _hann(n: int) -> NDArray[np.float64]:
    """Return a Hann window that is nowhere 0, (n,)."""
    return np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
