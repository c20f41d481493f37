"""Which particles a dose can show: what a detector may be asked for, may learn from, and may be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage
from skimage.segmentation import expand_labels, find_boundaries

from segmentation.instances import compact_labels, label_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.measurement import Measurement

ROSE = 5.0
"""Signal-to-noise ratio from which on a feature is seen reliably."""
MIN_AREA_PX = 16
"""Particles of which others leave fewer pixels to see are not asked for."""
_SURROUNDINGS_PX = 10.0
_GRAIN_AREA_PX = 12.0
_RIM_PX = 2
_BLOCK_PX = 4
"""Where particles are judged by the way, surroundings are smoothed in such blocks: in a tenth of the time."""


def rose_snr(
    frame: NDArray, labels: NDArray[np.int32], *, peak_counts: float | None = None, ratio: float = 1.0
) -> NDArray[np.float64]:
    r"""Return each particle's signal-to-noise ratio as a whole.

    .. math:: \mathrm{SNR} = \frac{|\bar I_p - \bar I_b|}{\sqrt{\sigma_c^2 / (r A) + \sigma_g^2 a_g / A}}

    with the mean intensities of particle and its surroundings (about 10 pixels around, other particles excluded), the
    particle's visible area :math:`A`, the sampling ratio :math:`r`, the counting noise :math:`\sigma_c` of a pixel of
    the surroundings' brightness, and the grain of the film: the standard deviation :math:`\sigma_g` of the surroundings
    over patches of :math:`a_g` = 12 pixels.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        The clean frame, at least 0.
    labels : ndarray of int32, shape (H, W)
        Its particles.
    peak_counts : float, optional
        Counts at the brightest pixel; without counting noise if None.
    ratio : float
        Share of the pixels that are scanned.

    Returns
    -------
    ndarray of float64, shape (N,)
        In ascending order of the labels.

    References
    ----------
    Rose, "The sensitivity performance of the human eye on an absolute scale", J. Opt. Soc. Am. 38, 196 (1948),
    https://doi.org/10.1364/JOSA.38.000196: from 5 on a feature is seen reliably.
    """
    contrast = _contrast(frame, labels)
    brightest = float(np.max(frame))
    noise = contrast.grain
    if peak_counts:
        level = np.maximum(contrast.around, 0.02 * brightest)
        noise = noise + level * brightest / peak_counts / (ratio * contrast.area)
    return np.abs(contrast.signal) / np.sqrt(np.maximum(noise, 1e-12 * brightest**2))


def found_snr(image: NDArray, labels: NDArray[np.int32], scan: Measurement | None = None) -> NDArray[np.float64]:
    r"""Return the signal-to-noise ratio of each particle that was found, judged by the image it was found on.

    As `rose_snr`, with the noise :math:`\sigma_c` that the scan's own counts, read noise and exposures tell, if they
    do. A reconstruction is smooth, so that what noise leaves of itself in it counts as grain; below 1, a particle
    differs from its surroundings by less than these differ from themselves.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        The image, in the unit of the scan.
    labels : ndarray of int32, shape (H, W)
        The particles.
    scan : Measurement, optional
        What the image was made from; without one, or with one whose noise is not known, the image alone tells.

    Returns
    -------
    ndarray of float64, shape (N,)
        In ascending order of the labels; infinite where nothing varies around a particle.
    """
    contrast = _contrast(image, labels, _BLOCK_PX)
    noise = contrast.grain
    if scan is not None and scan.noise_is_known:
        exposed = scan.ratio if scan.exposure is None else float(scan.exposure[scan.mask].sum()) / scan.mask.size
        black = scan.black_level
        level = np.maximum(contrast.around, black + 0.02 * (float(np.max(image)) - black))
        noise = noise + scan.noise_sigma(level) ** 2 / (exposed * contrast.area)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.abs(contrast.signal) / np.sqrt(noise), nan=0.0, posinf=np.inf)


class _Contrast(NamedTuple):
    """Of each particle (N,): its contrast, the mean around it, the variance that grain gives its mean, its area."""

    signal: NDArray[np.float64]
    around: NDArray[np.float64]
    grain: NDArray[np.float64]
    area: NDArray[np.int64]


def _contrast(frame: NDArray, labels: NDArray[np.int32], block: int = 1) -> _Contrast:
    """Compare particles with their surroundings, which are smoothed exactly or in blocks of so many pixels a side."""
    ids = label_ids(labels)
    if ids.size == 0:
        none = np.zeros(0)
        return _Contrast(none, none, none, np.zeros(0, dtype=np.int64))
    compact = compact_labels(labels, ids)
    image = np.asarray(frame, dtype=np.float64)
    background = (compact == 0).astype(np.float64)
    empty = background.sum()
    # A little of the frame's mean stands in where a heap of particles leaves no surroundings to see.
    weight = _smooth(background, block) + 1e-3
    level = (background * image).sum() / empty if empty else image.min()
    mean = _spread((_smooth(background * image, block) + 1e-3 * level) / weight, image.shape, block)
    spread = _spread(_smooth(background * (image - mean) ** 2, block) / weight, image.shape, block)
    inside = np.flatnonzero(compact)
    particle = compact.ravel()[inside]
    area = np.bincount(particle, minlength=ids.size + 1)[1:]
    signal, around, grain = (
        np.bincount(particle, x.ravel()[inside], ids.size + 1)[1:] / area for x in (image, mean, spread)
    )
    return _Contrast(signal - around, around, grain * _GRAIN_AREA_PX / area, area)


def _smooth(image: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """Return an image as a Gaussian of `_SURROUNDINGS_PX` leaves it, one value for each block of pixels."""
    if block > 1:
        rows, cols = (-side % block for side in image.shape)
        if rows or cols:
            image = np.pad(image, ((0, rows), (0, cols)), mode="symmetric")
        # Rows first, which lie together: three times as fast as both at once.
        image = image.reshape(-1, block, image.shape[1]).mean(axis=1)
        image = image.reshape(image.shape[0], -1, block).mean(axis=2)
    return ndimage.gaussian_filter(image, _SURROUNDINGS_PX / block)


def _spread(blocks: NDArray[np.float64], shape: tuple[int, ...], block: int) -> NDArray[np.float64]:
    """Return an image of `shape` with the value of its block in every pixel."""
    if block == 1:
        return blocks
    return blocks.repeat(block, axis=0).repeat(block, axis=1)[: shape[0], : shape[1]]


def outline_snr(
    frame: NDArray, labels: NDArray[np.int32], *, peak_counts: float, ratio: float = 1.0
) -> NDArray[np.float64]:
    r"""Return how surely each particle's outline can be told from its middle.

    .. math:: \mathrm{SNR} = \frac{|\bar I_m - \bar I_o|}{\sqrt{\sigma_c^2 (1 / r A_m + 1 / r A_o)}}

    with the mean intensities of its middle (index m) and of a rim of two pixels on both sides of its outline (o), their
    areas :math:`A`, the sampling ratio :math:`r` and the counting noise :math:`\sigma_c` of a pixel of their mean
    brightness. In a heap of equally dark particles each differs from the film by far, and none from its neighbours.

    Parameters
    ----------
    frame, labels, peak_counts, ratio : ndarray, ndarray, float, float
        As of `rose_snr`.

    Returns
    -------
    ndarray of float64, shape (N,)
        In ascending order of the labels.
    """
    ids = label_ids(labels)
    if ids.size == 0:
        return np.zeros(0)
    compact = compact_labels(labels, ids)
    image = np.asarray(frame, dtype=np.float64)
    edge = ndimage.binary_dilation(find_boundaries(compact, mode="thick"), iterations=_RIM_PX - 1)
    middle = np.where(edge, 0, compact)
    # Of the smallest nothing is left within the rim: they are told by the whole of them.
    small = np.bincount(middle.ravel(), minlength=ids.size + 1) == 0
    middle = np.where(small[compact], compact, middle)
    rim = np.where(edge & (middle == 0), expand_labels(compact, _RIM_PX), 0)
    rimmed = np.bincount(rim.ravel(), minlength=ids.size + 1)[1:] > 0
    areas = [np.maximum(np.bincount(part.ravel(), minlength=ids.size + 1)[1:], 1) for part in (middle, rim)]
    inner, outer = (np.bincount(part.ravel(), image.ravel(), ids.size + 1)[1:] for part in (middle, rim))
    inner, outer = inner / areas[0], outer / areas[1]
    level = np.maximum((inner + outer) / 2, 0.02 * image.max())
    noise = level * image.max() / peak_counts * (1 / areas[0] + 1 / areas[1]) / ratio
    # Where neighbours as small leave no rim, or the particle fills the frame, no outline is to be seen.
    return np.where(rimmed, np.abs(inner - outer), 0) / np.sqrt(noise)


def visible(
    labels: NDArray[np.int32],
    frame: NDArray | None = None,
    *,
    peak_counts: float | None = None,
    ratio: float = 1.0,
    snr: float = ROSE,
) -> NDArray[np.int32]:
    """Return a label map of the particles that can be seen: of enough pixels and, where a frame is given, enough SNR.

    Parameters
    ----------
    labels : ndarray of int32, shape (H, W)
        All particles.
    frame, peak_counts, ratio : ndarray, float, float
        As of `rose_snr`.
    snr : float
        The smallest signal-to-noise ratio.
    """
    keep = np.bincount(labels.ravel()) >= MIN_AREA_PX
    if frame is not None:
        ids = label_ids(labels)
        keep[ids] &= rose_snr(frame, labels, peak_counts=peak_counts, ratio=ratio) >= snr
    keep[0] = False
    return np.where(keep[labels], labels, 0).astype(np.int32)
