"""From optical depth to the share of the beam that a detector collects, blurred by the probe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from simulate.errors import InputError, check_within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.materials import DetectorMode

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Probe:
    r"""The electron probe.

    In focus it is a Gaussian of `fwhm_nm`. Out of focus by :math:`\Delta f` the cone of convergence semi-angle
    :math:`\alpha` illuminates a disk of radius :math:`\alpha |\Delta f|` (geometrical optics), and the image is
    blurred by both.

    Parameters
    ----------
    fwhm_nm : float
        Full width at half maximum in focus, source size and aberrations included; 0 for a point.
    defocus_nm : float
        Distance from focus, either sign.
    convergence_mrad : float
        Convergence semi-angle.
    """

    fwhm_nm: float = 0.5
    defocus_nm: float = 0.0
    convergence_mrad: float = 20.0

    def __post_init__(self) -> None:
        check_within(self.fwhm_nm, "probe: fwhm_nm")
        check_within(self.convergence_mrad, "probe: convergence_mrad", 0, 1000)
        check_within(self.defocus_nm, "probe: defocus_nm", -math.inf)

    @property
    def disk_radius_nm(self) -> float:
        """Radius of the disk that the cone illuminates out of focus."""
        return abs(self.defocus_nm) * self.convergence_mrad * 1e-3

    def blur(self, image: NDArray[np.floating], pixel_size_nm: float) -> NDArray[np.float32]:
        """Return an image as seen by the probe; beyond the frame its edge goes on."""
        blurred = np.asarray(image, dtype=np.float32)
        sigma = self.fwhm_nm / pixel_size_nm / FWHM_PER_SIGMA
        if sigma > max(blurred.shape):
            raise InputError(
                f"the probe is {self.fwhm_nm / pixel_size_nm:.3g} pixels wide; expected less than the frame"
            )
        if sigma > 0:
            blurred = np.asarray(gaussian_filter(blurred, sigma, mode="nearest"), dtype=np.float32)
        radius = self.disk_radius_nm / pixel_size_nm
        if radius > 0.25:
            blurred = _disk_blur(blurred, radius)
        return blurred


def _disk_blur(image: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    reach = int(np.ceil(radius + 0.5))
    if reach > max(image.shape):
        raise InputError(
            f"the probe's disk has a radius of {radius:.3g} pixels, more than the frame; reduce the defocus"
        )
    # The disk's share of each pixel, from 8 x 8 points.
    fine = (np.arange(8 * (2 * reach + 1)) + 0.5) / 8 - reach - 0.5
    inside = np.hypot(fine[:, None], fine) <= radius
    kernel = inside.reshape(2 * reach + 1, 8, 2 * reach + 1, 8).mean(axis=(1, 3))
    padded = np.pad(image, reach, mode="edge")
    blurred = fftconvolve(padded, (kernel / kernel.sum()).astype(np.float32), mode="valid")
    return np.clip(blurred, image.min(), image.max())  # rounding of the transform may step over them


def collected(depth: NDArray[np.floating], mode: DetectorMode) -> NDArray[np.float32]:
    """Return the share of the beam that a detector collects behind an optical depth: 1 - exp(-m), or exp(-m)."""
    depth = np.asarray(depth, dtype=np.float32)
    return -np.expm1(-depth) if mode.dark_field else np.exp(-depth)
