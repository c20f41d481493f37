r"""At which size a network sees a frame: the one at which it is surest of what it finds.

Networks find particles of 8 to 220 pixels and know those of 15 to 100 best. On a frame of larger ones they see the
texture within, letters and dirt. Seen at half or a quarter of its size it is a frame like those they know, and they are
sure of fewer and better particles: their own scores tell which size to take (detectors for all sizes by an image
pyramid: Singh, Davis, "An analysis of scale invariance in object detection - SNIP", CVPR 2018,
https://doi.org/10.1109/CVPR.2018.00377).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from segmentation.instances import Instances

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SMALLEST_SIDE_PX = 120
"""Frames are not seen smaller than this."""
SMALLEST_MEDIAN_PX = 16.0
"""A reduced frame has particles of at least this diameter in the median, or too much was reduced away."""
SURE = 0.9
"""Particles with this score on a larger view, and that of the chosen view's in the mean, are added where it shows none
and are too small for it: one network's 0.8 is another's doubt."""
_TAKEN_SHARE = 0.2


def octaves(shape: tuple[int, int]) -> list[float]:
    """Return the scales 1, 1/2, 1/4, ... at which a frame still has `SMALLEST_SIDE_PX`.

    >>> octaves((512, 640))
    [1.0, 0.5, 0.25]
    """
    found = [1.0]
    while min(shape) * found[-1] / 2 >= SMALLEST_SIDE_PX:
        found.append(found[-1] / 2)
    return found


def surest(
    look: Callable[[float, list[int]], list[Instances]], shape: tuple[int, int], n_frames: int = 1
) -> list[tuple[Instances, float]]:
    r"""Return what is found on each of some frames at the scale that suits it, and that scale.

    Of the octaves the one whose detections have the largest mean score, among those whose median diameter is at least
    `SMALLEST_MEDIAN_PX` as seen (at full size of any diameter); and of a reduced one and the scales half an octave
    beside it again the surest. Sure detections of larger views are added, see `SURE`.

    Parameters
    ----------
    look : callable
        From a scale, above 0 to 1, and the numbers of some frames to what is found on them, with scores, on the full
        frame's pixels.
    shape : (int, int)
        The frames'.
    n_frames : int
        How many there are; those that need a scale are looked at together.

    Returns
    -------
    list of (Instances, float)
    """
    seen: list[dict[float, Instances]] = [{} for _ in range(n_frames)]

    def see(wanted: dict[float, list[int]]) -> None:
        for scale, frames in wanted.items():
            for frame, found in zip(frames, look(scale, frames), strict=True):
                seen[frame][scale] = found

    see({scale: list(range(n_frames)) for scale in octaves(shape)})
    beside: dict[float, list[int]] = {}
    for frame, views in enumerate(seen):
        for scale in _half_octaves(_best(views), shape):
            beside.setdefault(scale, []).append(frame)
    see(beside)
    return [_of_views(views) for views in seen]


def _half_octaves(best: float, shape: tuple[int, int]) -> list[float]:
    """Return the scales half an octave beside the surest octave, if that is a reduced one.

    Those of two octaves are the same number, so that frames that need it are looked at together.

    >>> _half_octaves(0.25, (800, 800))[1] == _half_octaves(0.5, (800, 800))[0]
    True
    """
    beside = [] if best == 1 else [math.sqrt(best**2 / 2), math.sqrt(2 * best**2)]
    return [scale for scale in beside if min(shape) * scale >= SMALLEST_SIDE_PX]


def _of_views(seen: dict[float, Instances]) -> tuple[Instances, float]:
    """Return the surest view of a frame, with what larger ones are sure of and it shows too small, and its scale."""
    best = _best(seen)
    found, least = seen[best], max(SURE, _sureness(seen[best], best))
    for scale in sorted(scale for scale in seen if scale > best):
        found = _with_small(found, seen[scale], best, least)
    return found, float(best)


def shrunk(image: NDArray, scale: float) -> NDArray[np.float64]:
    """Return an image at a scale of at most 1, each pixel the mean (by a triangular window) of those it stands for.

    >>> shrunk(np.kron([[0.0, 8.0]], np.ones((4, 4))), 0.25).round(2).tolist()
    [[1.14, 6.86]]
    """
    if scale == 1:
        return np.asarray(image, dtype=np.float64)
    size = [max(1, round(side * scale)) for side in image.shape]
    given = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float64))[None, None]
    return F.interpolate(given, size=size, mode="bilinear", antialias=True, align_corners=False)[0, 0].numpy()


def _best(seen: dict[float, Instances]) -> float:
    """Return the scale of the surest detections, the larger one of two as sure."""
    return max(seen, key=lambda scale: (_sureness(seen[scale], scale), scale))


def _sureness(found: Instances, scale: float) -> float:
    if len(found) == 0 or (scale < 1 and float(np.median(_diameters(found))) * scale < SMALLEST_MEDIAN_PX):
        return -1.0
    return float(found.scores.mean())


def _diameters(found: Instances) -> NDArray[np.float64]:
    """Return equivalent circular diameters of what is seen of each particle, in pixels of the full frame."""
    return np.sqrt(4 * np.bincount(found.labels.ravel(), minlength=1)[found.ids] / np.pi)


def _with_small(found: Instances, larger: Instances, scale: float, least: float) -> Instances:
    """Add a larger view's particles scored `least` that a view at `scale` shows too small, where it shows none."""
    areas = np.bincount(larger.labels.ravel(), minlength=1)
    taken = np.bincount(larger.labels[found.labels > 0], minlength=areas.size)
    added = larger.only(
        (larger.scores >= least)
        & (_diameters(larger) * scale < SMALLEST_MEDIAN_PX)
        & (taken[larger.ids] <= _TAKEN_SHARE * areas[larger.ids])
    )
    if len(added) == 0:
        return found
    first = int(found.labels.max())
    under = np.where(added.labels > 0, added.labels + first, 0)
    masks = None if found.masks is None or added.masks is None else np.concatenate([found.masks, added.masks])
    return Instances(
        np.where(found.labels > 0, found.labels, under).astype(np.int32),
        boxes=np.concatenate([found.boxes, added.boxes]),
        scores=np.concatenate([found.scores, added.scores]),
        masks=masks,
    )
