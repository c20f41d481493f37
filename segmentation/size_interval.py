r"""A confidence interval on each particle's size, from how sure the image and the masks are of its outline.

An outline that is displaced by :math:`\delta(s)` along its normal encloses :math:`\oint \delta\,\mathrm{d}s` more. What
counts for the size is therefore the mean displacement around it, :math:`\bar\delta`; its variance is the sum of

1. the image's error: a pixel's error :math:`\sigma` moves a level line by
   :math:`\sigma_r = \sigma / \lvert\nabla I\rvert`. Along an outline of length :math:`P` such errors are alike over one
   width of the edge :math:`\ell = \Delta I / \lvert\nabla I\rvert` (with the height :math:`\Delta I` of the particle
   above its surroundings), finer detail being what the image does not resolve, so that the mean keeps
   :math:`\sigma_r^2 \min(1, \ell / P)`;
2. what the whole outline shares, as where on a blurred edge the method draws it: a share :math:`c` of the variance of a
   single point, :math:`c \max(\sigma_m, \sigma_r)^2`. A point's standard deviation as the network sees it,
   :math:`\sigma_m`, is half the mean distance between the outlines of probability 0.16 and 0.84, as it would be of a
   normal distribution: the area between them over :math:`2 P`;
3. where pixels are counted, that their number in a shape laid at random onto the grid has the variance
   :math:`0.0728\,P` (in pixels), which displaces by :math:`\sqrt{0.0728 / P}`.

It knows of no systematic error: a method that draws outlines elsewhere than where the particle ends, as a threshold
does on the thin rim of a sphere, is off by that.

Then :math:`\sigma_A = P \sigma_{\bar\delta}` and :math:`\sigma_D = 2 \sigma_A / \pi D`, and the interval is
:math:`D \pm z\,\sigma_D`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, special

from segmentation.circles import backgrounds
from segmentation.instances import Instances, check_image_of, compact_labels
from segmentation.outlines import mask_areas
from simulate.errors import InputError, check_within, pixel_size_pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

COMMON_SHARE = 0.4
r"""The share :math:`c` of a point's variance that the whole outline has in common; the one number that is fitted.

It was chosen on 32 simulated validation scenes (10, 30 and 100 % of the pixels, 30 to 50 counts) as the round number
with which 95 % intervals hold the true diameter 94 to 96 % of the time; the coverage is checked on others."""

PIXEL_COUNT_VARIANCE = 0.0728
r"""Variance of a shape's pixel count over its perimeter in pixels: :math:`\sum_n r_2(n) n^{-3/2} / 4 \pi^3`.

D. G. Kendall, "On the number of lattice points inside a random oval", Quart. J. Math. 19 (1948)."""

GRADIENT_PX = 1.0
"""Width of the Gaussian derivative that the edge's steepness is taken with."""


def mean_displacement_sd(
    instances: Instances,
    image: ArrayLike | None = None,
    *,
    sigma: ArrayLike | None = None,
    perimeter: NDArray[np.float64],
    counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    r"""Return the standard deviation :math:`\sigma_{\bar\delta}` of each outline's mean displacement along its normal.

    Parameters
    ----------
    instances : Instances
        The particles.
    image : array_like, shape (H, W), optional
        The image they were found on; `instances.intensity` if None.
    sigma : array_like, shape (H, W), optional
        Standard deviation of the image's error, in its unit, as of `Reconstruction.sigma`. Without it only the masks
        tell.
    perimeter : ndarray, shape (N,)
        In nm, or in pixels where no pixel size is known.
    counted : ndarray of bool, shape (N,)
        Whether the size is a count of pixels.

    Returns
    -------
    ndarray of float64, shape (N,)
        In the unit of `perimeter`; at most the radius of the disk of equal area.

    Raises
    ------
    InputError
        If there is neither sigma nor a mask, sigma without an image, or an array that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:40, :40]
    >>> image = 1 / (1 + np.exp(np.hypot(y - 20, x - 20) - 10))  # an edge with the steepness 1/4
    >>> particles = Instances((image > 0.5).astype(int), intensity=image)
    >>> sure = np.full(image.shape, 0.1)
    >>> options = {"perimeter": np.array([62.8]), "counted": np.array([False])}
    >>> mean_displacement_sd(particles, sigma=sure, **options).round(2).tolist()
    [0.35]
    """
    if sigma is None and instances.masks is None:
        raise InputError(
            f"the particles of method {instances.method!r} have no mask probabilities; expected sigma beside them "
            "(the reconstruction's) to tell how sure their sizes are"
        )
    sizes = pixel_size_pair(instances.pixel_size_nm)
    pixel = float(np.sqrt(sizes[0] * sizes[1]))
    n_labels = len(instances)
    radius = np.sqrt(np.bincount(compact_labels(instances.labels, instances.ids).ravel(), minlength=n_labels + 1)[1:])
    radius *= pixel / np.sqrt(np.pi)
    own, kept = np.zeros(n_labels), np.zeros(n_labels)
    if sigma is not None:
        own, width = _edges(instances, image, sigma)
        kept = np.minimum(1, width / perimeter)
    of_masks = np.zeros(n_labels)
    if instances.masks is not None:
        outer, inner = mask_areas(instances, [special.ndtr(-1.0), special.ndtr(1.0)]).T
        of_masks = pixel**2 * (outer - inner) / (2 * perimeter)
        # Where no outline of 0.84 exists, all that is within the other one is unsure.
        of_masks = np.where(inner > 0, of_masks, np.maximum(of_masks, pixel * np.sqrt(outer / np.pi) / 2))
    variance = own**2 * kept + COMMON_SHARE * np.maximum(own, of_masks) ** 2
    variance += counted * (PIXEL_COUNT_VARIANCE * pixel**3 / perimeter)
    return np.minimum(np.sqrt(variance), radius)


def size_intervals(
    diameter: NDArray[np.float64],
    perimeter: NDArray[np.float64],
    displacement_sd: NDArray[np.float64],
    confidence: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Lower and upper limit of each equivalent diameter, :math:`D \pm z \, 2 P \sigma_{\bar\delta} / \pi D`.

    Parameters
    ----------
    diameter, perimeter, displacement_sd : ndarray, shape (N,)
        Equivalent diameters, perimeters and standard deviations of the outlines' mean displacements, in one unit.
    confidence : float
        Probability that the interval holds the true value, above 0 and below 1.

    Returns
    -------
    low, high : ndarray of float64, shape (N,)
        `low` is at least 0.

    Examples
    --------
    >>> low, high = size_intervals(np.array([10.0]), np.array([10 * np.pi]), np.array([0.5]))
    >>> round(float(low[0]), 2), round(float(high[0]), 2)
    (8.04, 11.96)
    """
    check_confidence(confidence)
    reach = float(special.ndtri((1 + confidence) / 2)) * 2 * perimeter * displacement_sd / (np.pi * diameter)
    return np.maximum(diameter - reach, 0), diameter + reach


def check_confidence(confidence: float) -> None:
    """Raise `InputError` unless the confidence is above 0 and below 1."""
    check_within(confidence, "confidence", 0, 1)
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence:g}; expected a number above 0 and below 1, e.g. 0.95")


def _edges(
    instances: Instances, image: ArrayLike | None, sigma: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Displacement :math:`\sigma_r` and width :math:`\ell` of each particle's edge, infinite where it has none."""
    intensity = instances.intensity if image is None else check_image_of(image, instances.shape)
    if intensity is None:
        raise InputError("there is sigma but no image; expected the image that it belongs to")
    unsure = np.asarray(sigma)
    if unsure.dtype.kind not in "uif" or unsure.shape != instances.shape:
        raise InputError(
            f"sigma has shape {unsure.shape} and type {unsure.dtype}; expected real numbers of the label map's shape "
            f"{instances.shape}"
        )
    if not (np.isfinite(unsure).all() and unsure.min() >= 0):
        raise InputError("sigma holds negative, NaN or infinite values; expected standard deviations of at least 0")
    n_labels = len(instances)
    compact = compact_labels(instances.labels, instances.ids)
    sizes = pixel_size_pair(instances.pixel_size_nm)
    slopes = [
        ndimage.gaussian_filter1d(
            ndimage.gaussian_filter1d(intensity, GRADIENT_PX, axis=axis, order=1),
            GRADIENT_PX,
            axis=1 - axis,
        )
        / sizes[axis]
        for axis in (0, 1)
    ]
    rows, cols = np.nonzero(_edge_pixels(compact))
    index = compact[rows, cols] - 1
    n_edge = np.bincount(index, minlength=n_labels)
    steepness = np.bincount(index, weights=np.hypot(slopes[0][rows, cols], slopes[1][rows, cols]), minlength=n_labels)
    error = np.bincount(index, weights=unsure[rows, cols], minlength=n_labels)
    inside = np.bincount(compact.ravel(), weights=intensity.ravel(), minlength=n_labels + 1)[1:]
    inside /= np.bincount(compact.ravel(), minlength=n_labels + 1)[1:]
    height = np.abs(inside - backgrounds(intensity, compact, n_labels)[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        displacement = np.where(error > 0, error / steepness, 0.0)
        width = height * n_edge / steepness
    # No edge but the frame's: nobody knows where it ends. No background: all of the outline is displaced alike.
    return np.where(n_edge == 0, np.inf, displacement), np.where(np.isnan(width), np.inf, width)


def _edge_pixels(compact: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of particles beside another label or the background (not beside the frame's edge).

    >>> _edge_pixels(np.array([[1, 1, 1, 0]], dtype=np.int32)).tolist()
    [[False, False, True, False]]
    """
    edge = np.zeros(compact.shape, dtype=bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = compact[here] != compact[there]
        edge[here] |= differ
        edge[there] |= differ
    return edge & (compact > 0)
