"""Beam current, dwell time and dose: electrons a pixel, and electrons a square ångström."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, PixelSize, check_pixel_size, check_positive, pixel_size_pair
from simulate.scan import electrons_per_us

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def electrons_per_pixel(beam_current_pA: float, dwell_us: ArrayLike) -> NDArray[np.float64]:
    r"""Return the mean number of electrons that hit the specimen in a dwell, :math:`N = I T / e`.

    Parameters
    ----------
    beam_current_pA : float
        Beam current :math:`I` in pA.
    dwell_us : array_like, any shape
        Dwell time :math:`T` in µs.

    Returns
    -------
    ndarray
        Of the shape of `dwell_us`.

    Examples
    --------
    >>> electrons_per_pixel(1.0, [1.0, 10.0]).round(2)
    array([ 6.24, 62.42])
    """
    return electrons_per_us(beam_current_pA) * _positive(dwell_us, "dwell time")


def dose_e_per_A2(electrons: ArrayLike, pixel_size_nm: PixelSize) -> NDArray[np.float64]:
    r"""Return the dose in e-/Å² of pixels that take the given electrons, :math:`D = N / (p_r p_c)`.

    The dose is the pixel's own. A sparse scan's mean over the frame is lower: see `simulate.ScanPath.dose_e_per_A2`.

    Parameters
    ----------
    electrons : array_like, any shape
        Electrons a pixel (`electrons_per_pixel`).
    pixel_size_nm : float or (float, float)
        Pixel size in nm, or its (row, column) lengths.

    Examples
    --------
    >>> float(dose_e_per_A2(100.0, 0.5))
    4.0
    """
    return _positive(electrons, "electrons a pixel") / _pixel_area_A2(pixel_size_nm)


def electrons_for_dose(dose_e_per_A2: ArrayLike, pixel_size_nm: PixelSize) -> NDArray[np.float64]:
    r"""Return the electrons a pixel that give a dose in e-/Å², :math:`N = D p_r p_c`: the inverse of `dose_e_per_A2`.

    Parameters
    ----------
    dose_e_per_A2 : array_like, any shape
        Dose on the pixel in e-/Å².
    pixel_size_nm : float or (float, float)
        Pixel size in nm, or its (row, column) lengths.

    Examples
    --------
    >>> float(electrons_for_dose(4.0, 0.5))
    100.0
    """
    return _positive(dose_e_per_A2, "dose") * _pixel_area_A2(pixel_size_nm)


def dwell_for_dose(
    dose_e_per_A2: ArrayLike, *, beam_current_pA: float, pixel_size_nm: PixelSize
) -> NDArray[np.float64]:
    r"""Return the dwell time in µs that gives a pixel a dose in e-/Å², :math:`T = D p_r p_c \, e / I`.

    Parameters
    ----------
    dose_e_per_A2 : array_like, any shape
        Dose on the pixel in e-/Å².
    beam_current_pA : float
        Beam current in pA.
    pixel_size_nm : float or (float, float)
        Pixel size in nm, or its (row, column) lengths.

    Examples
    --------
    >>> float(dwell_for_dose(4.0, beam_current_pA=10.0, pixel_size_nm=0.5).round(3))
    1.602
    """
    return electrons_for_dose(dose_e_per_A2, pixel_size_nm) / electrons_per_us(beam_current_pA)


def _pixel_area_A2(pixel_size_nm: PixelSize) -> float:
    if pixel_size_nm is None:
        raise InputError("pixel size is None; a dose an area needs it: give it in nm")
    row_nm, col_nm = pixel_size_pair(check_pixel_size(pixel_size_nm))
    return row_nm * col_nm * 100


def _positive(values: ArrayLike, name: str) -> NDArray[np.float64]:
    if np.ndim(values) == 0:
        return np.float64(check_positive(values, name))  # pyright: ignore[reportReturnType, reportArgumentType]
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or not (np.isfinite(array).all() and (array > 0).all()):
        raise InputError(f"{name} holds something else than finite numbers above 0; expected only those")
    return array.astype(np.float64)
