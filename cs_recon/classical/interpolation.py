"""Interpolation between the samples: no model of the noise, so a width to smooth by is an option."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import gaussian_filter

from cs_recon.reconstruction import Reconstruction, register_each, result
from simulate.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.measurement import Measurement


@register_each("nearest", "each pixel takes the value of the nearest sample (scipy)")
def nearest(measurement: Measurement, *, device: str = "cpu", smooth_px: float = 0.0) -> Reconstruction:
    """Nearest-neighbour interpolation; samples are kept as they are. Computed on the CPU.

    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result, for noisy scans.
    """
    return result(measurement, _smoothed(_nearest(measurement), smooth_px), "nearest")


@register_each("linear", "linear interpolation between samples, nearest outside their hull (scipy)")
def linear(measurement: Measurement, *, device: str = "cpu", smooth_px: float = 0.0) -> Reconstruction:
    """Piecewise linear interpolation on the Delaunay triangulation of the samples. Computed on the CPU.

    Outside the samples' convex hull, and where they do not span a plane, the nearest sample is taken.
    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result, for noisy scans.
    """
    image = _nearest(measurement)
    missing = np.argwhere(~measurement.mask)
    points = np.argwhere(measurement.mask)
    if len(missing) and np.linalg.matrix_rank(points - points[0]) == 2:
        values = LinearNDInterpolator(points, measurement.samples)(missing)
        inside = np.isfinite(values)
        image[tuple(missing[inside].T)] = values[inside]
    return result(measurement, _smoothed(image, smooth_px), "linear")


@register_each("biharmonic", "the smoothest (thin-plate) surface through the samples (scikit-image)")
def biharmonic(measurement: Measurement, *, device: str = "cpu", smooth_px: float = 0.0) -> Reconstruction:
    r"""Biharmonic inpainting: :math:`\Delta^2 x = 0` off the samples. Computed on the CPU.

    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result, for noisy scans.

    References
    ----------
    Damelin, Hoang, "On surface completion and image inpainting by biharmonic functions", Int. J. Math. Math. Sci. 2018,
    3950312, https://doi.org/10.1155/2018/3950312.
    """
    from skimage.restoration import inpaint_biharmonic

    offset, scale = measurement.samples.mean(), measurement.samples.std() or 1.0
    filled = np.where(measurement.mask, (measurement.values - offset) / scale, 0)
    image = inpaint_biharmonic(filled, ~measurement.mask, split_into_regions=False)
    return result(measurement, _smoothed(image * scale + offset, smooth_px), "biharmonic")


def _smoothed(image: NDArray, smooth_px: float) -> NDArray[np.float64]:
    if not 0 <= smooth_px < np.inf:
        raise InputError(f"smooth_px is {smooth_px}; expected a width in pixels of at least 0")
    return gaussian_filter(image, smooth_px, mode="nearest") if smooth_px else image


def _nearest(measurement: Measurement) -> NDArray[np.float64]:
    image = measurement.values.copy()
    missing = np.argwhere(~measurement.mask)
    if len(missing):
        image[tuple(missing.T)] = NearestNDInterpolator(np.argwhere(measurement.mask), measurement.samples)(missing)
    return image
