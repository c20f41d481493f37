"""Samples of the neighbouring frames, carried along with what moved, as further samples of a frame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from cs_recon.noise_levels import with_noise
from simulate.measurement import LARGEST_EXPOSURE_RATIO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from cs_recon.reconstruction import Reconstruction
    from simulate.measurement import Measurement

LARGEST_MISFIT = 3.0
"""Mean square difference, in what the two sigmas allow for, up to which a sample is believed to show the same place."""
MISFIT_BLUR_PX = 2.0
CARRIED_EXPOSURE = 0.4
"""What a carried sample's exposure counts for: it is a little displaced, and not quite of this moment."""
FEWEST_FITTING = 0.85
"""Share of another frame's samples that must fit for any to be taken: else it shows another scene or brightness."""
FLOW = {"tightness": 1.0, "num_warp": 3, "num_iter": 5}
"""Settings of the optical flow: image and smooth flow are coupled less than by scikit-image's defaults; few rounds."""


def with_neighbours(
    scan: Measurement, own: Reconstruction, others: Iterable[tuple[Measurement, Reconstruction]]
) -> Measurement:
    """Return a scan with the samples of other frames added where the scene has moved them.

    The optical flow between the reconstructions says where each sample went; there, at the nearest pixel, it counts
    as one of less exposure. Samples are left out where the frames, the motion undone, differ by more than their sigmas
    allow for: what appeared, vanished or moved too far.

    Parameters
    ----------
    scan, own : Measurement, Reconstruction
        The frame and what was made of it alone.
    others : iterable of (Measurement, Reconstruction)
        Frames of the same shape and unit.

    Returns
    -------
    Measurement
        Exposures are the sums of those of the samples at a pixel. With samples of other frames its noise counts as
        estimated.

    References
    ----------
    Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007,
    https://doi.org/10.1007/978-3-540-74936-3_22.
    """
    weight = _exposure(scan)
    total = weight * scan.values
    carried = False
    for other, image in others:
        added, moved = _carried(scan, own, other, image)
        carried |= bool(added.any())
        weight += CARRIED_EXPOSURE * added
        total += CARRIED_EXPOSURE * moved
    mask = weight > 0
    values = np.divide(total, weight, out=np.zeros_like(total), where=mask)
    # What was carried may widen the range of the exposures beyond what a scan may have.
    exposure = np.where(mask, np.maximum(weight, weight.max() / LARGEST_EXPOSURE_RATIO * (1 + 1e-9)), 0)
    # Carried samples scatter by their own noise and by where they were put, not by that of their exposures here: it is
    # told of the frame alone.
    own_noise = with_noise(scan)
    estimated = own_noise.noise_is_estimated or carried
    return replace(own_noise, values=values, mask=mask, exposure=exposure, path=None, noise_is_estimated=estimated)


def _carried(
    scan: Measurement, own: Reconstruction, other: Measurement, image: Reconstruction
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return exposures, and samples times exposure, of another frame where the scene has moved them, in a frame's unit.

    All zero if the two do not show the same scene: fewer than `FEWEST_FITTING` of the samples fit.
    """
    weight, total = np.zeros(scan.shape), np.zeros(scan.shape)
    (rows, cols), sources = _arrivals(other, _above(other, image), _above(scan, own))
    if rows.size < FEWEST_FITTING * np.count_nonzero(other.mask):
        return weight, total
    added = _exposure(other)[sources]
    if scan.counts_per_unit is not None and other.counts_per_unit is not None:
        added = added * (other.counts_per_unit / scan.counts_per_unit)
    np.add.at(weight, (rows, cols), added)
    np.add.at(total, (rows, cols), added * (other.values[sources] - other.black_level + scan.black_level))
    return weight, total


def _above(scan: Measurement, image: Reconstruction) -> Reconstruction:
    """Return a reconstruction without its scan's black level, which may differ from frame to frame."""
    return replace(image, image=image.image - np.float32(scan.black_level))


def _arrivals(
    other: Measurement, image: Reconstruction, own: Reconstruction
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return the pixels of the frame to which another one's samples went, and those from which they came."""
    down, right = _flow(image.image, own.image)
    rows, cols = np.indices(other.shape)
    arrival = np.stack([rows + down, cols + right])
    misfit = np.square(_at(own.image, arrival) - image.image)
    allowed = np.square(_at(_sigma(own), arrival)) + np.square(_sigma(image))
    misfit, allowed = (gaussian_filter(term, MISFIT_BLUR_PX) for term in (misfit, allowed))
    target = np.rint(arrival).astype(np.intp)
    inside = (target >= 0).all(axis=0) & (target[0] < other.shape[0]) & (target[1] < other.shape[1])
    from_row, from_col = np.nonzero(other.mask & inside & (misfit <= LARGEST_MISFIT * allowed))
    to_row, to_col = target[:, from_row, from_col]
    return (to_row, to_col), (from_row, from_col)


def _flow(moving: NDArray[np.float32], fixed: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far (rows, columns) each pixel of one image moves to where it is in the other one, in pixels."""
    from skimage.registration import optical_flow_tvl1

    low, high = np.percentile(fixed, [0.1, 99.9])
    span = max(float(high - low), float(np.finfo(np.float32).tiny))
    first, second = ((np.asarray(image, dtype=np.float64) - low) / span for image in (moving, fixed))
    return optical_flow_tvl1(first.astype(np.float32), second.astype(np.float32), **FLOW)


def _at(image: NDArray, places: NDArray[np.float64]) -> NDArray[np.float64]:
    return map_coordinates(np.asarray(image, dtype=np.float64), places, order=1, mode="nearest")


def _sigma(reconstruction: Reconstruction) -> NDArray[np.float64]:
    assert reconstruction.sigma is not None, "learned methods give one"
    return np.asarray(reconstruction.sigma, dtype=np.float64)


def _exposure(scan: Measurement) -> NDArray[np.float64]:
    return scan.mask.astype(np.float64) if scan.exposure is None else scan.exposure.copy()
