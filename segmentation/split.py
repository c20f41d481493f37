"""From maps of particle and depth to a label map: particles that touch are parted between their deepest places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from segmentation.instances import Instances, compact_labels, label_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

CORE = 0.5
"""Depth from which on a pixel belongs to the core of its particle."""
_CORE_AREA_PX = 3
_EIGHT = np.ones((3, 3), dtype=bool)


def depth_map(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    r"""Return how deep in its particle each pixel lies, relative to its deepest pixel.

    .. math:: d(p) = \frac{\mathrm{dist}(p, \text{outline of the particle of } p)}{\max_q \mathrm{dist}(q)}

    Parameters
    ----------
    labels : ndarray of int, shape (H, W)
        A label map; outlines lie between pixels of different labels. The frame's edge is no outline: a particle that is
        cut is deepest where it is cut.

    Returns
    -------
    ndarray of float32, shape (H, W)
        0 outside, above 0 to 1 inside.

    Examples
    --------
    >>> depth_map(np.array([[0, 3, 3, 3, 3, 3, 0]] * 7, dtype=np.int32))[3].astype(float).round(2).tolist()
    [0.0, 0.2, 0.6, 1.0, 0.6, 0.2, 0.0]
    """
    ids = label_ids(labels)
    if ids.size == 0:
        return np.zeros(labels.shape, dtype=np.float32)
    compact = compact_labels(labels, ids)
    # On a grid of twice the density outlines get pixels of their own, so that those of touching particles count.
    doubled = np.zeros((2 * compact.shape[0] - 1, 2 * compact.shape[1] - 1), dtype=bool)
    doubled[1::2, ::2] = compact[1:] != compact[:-1]
    doubled[::2, 1::2] = compact[:, 1:] != compact[:, :-1]
    if not doubled.any():
        return (compact > 0).astype(np.float32)
    distance = np.asarray(ndimage.distance_transform_edt(~doubled))[::2, ::2]
    largest = ndimage.maximum(distance, compact, np.arange(1, ids.size + 1))
    return np.where(compact > 0, distance / np.concatenate([[1.0], largest])[compact], 0).astype(np.float32)


def split(
    particle: NDArray[np.float32], depth: NDArray[np.float32], *, threshold: float = 0.5, min_area_px: int = 12
) -> Instances:
    """Part the particles of a frame by a watershed of depth from the cores on.

    Parameters
    ----------
    particle, depth : ndarray of float32, shape (H, W)
        Probability of particle, and relative depth, each from 0 to 1.
    threshold : float
        Probability from which on a pixel is particle.
    min_area_px : int
        Smaller particles are dropped.

    Returns
    -------
    Instances
        Scores are the mean probability over each particle.
    """
    from skimage.segmentation import watershed

    inside = particle >= threshold
    cores, n_cores = _parts(inside & (depth >= CORE))
    if n_cores:
        areas = np.bincount(cores.ravel())
        cores[areas[cores] < _CORE_AREA_PX] = 0
    # A particle that has no core of its own, a small one mostly, is one as a whole.
    regions, n_regions = _parts(inside)
    if n_regions == 0:
        return Instances(np.zeros(particle.shape, dtype=np.int32))
    with_core = np.zeros(n_regions + 1, dtype=bool)
    with_core[regions[cores > 0]] = True
    markers = np.where(inside & ~with_core[regions], regions + n_cores, cores)
    labels = watershed(-depth, markers, connectivity=2, mask=inside).astype(np.int32)
    areas = np.bincount(labels.ravel())
    labels[areas[labels] < min_area_px] = 0
    ids = label_ids(labels)
    scores = ndimage.mean(particle, labels, ids) if ids.size else np.zeros(0)
    return Instances(compact_labels(labels, ids), scores=np.clip(scores, 0, 1).astype(np.float32))


def _parts(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return the labels of the connected parts (corners connect), and their number."""
    labels = np.zeros(inside.shape, dtype=np.int32)
    number = int(ndimage.label(inside, structure=_EIGHT, output=labels))  # pyright: ignore[reportArgumentType]
    return labels, number
