"""The one normalisation of images before any segmentation network, in training and in use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def level_and_spread(image: NDArray) -> tuple[float, float]:
    r"""Return the level and the spread that :math:`2 (x - \text{level}) / \text{spread}` normalises an image by.

    The median, and the distance of the 0.5 % from the 99.5 % quantile: the same for any unit, gain and offset.
    Quantiles rather than extremes, so that a hot pixel does not flatten the rest.
    """
    # Every n-th pixel is enough for quantiles of a large frame, if all its columns are among them alike.
    step = max(1, image.size // 100_000)
    while math.gcd(step, image.shape[-1]) > 1:
        step += 1
    low, middle, high = (float(q) for q in np.quantile(image.ravel()[::step], [0.005, 0.5, 0.995]))
    spread = high - low
    if spread <= 0:
        low, high = float(image.min()), float(image.max())
        spread = high - low if high > low else 1.0
    return middle, spread
