"""The one normalisation of images before any segmentation network, in training and in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def normalise(image: NDArray) -> NDArray[np.float32]:
    r"""Return ``2 (image - q50) / (q99.5 - q0.5)`` with the image's quantiles: the same for any unit, gain and offset.

    Quantiles rather than extremes, so that a hot pixel does not flatten the rest.
    """
    # Every n-th pixel is enough for quantiles of a large frame.
    step = max(1, image.size // 100_000)
    low, middle, high = np.quantile(image.ravel()[::step], [0.005, 0.5, 0.995])
    spread = high - low
    if spread <= 0:
        low, high = float(image.min()), float(image.max())
        spread = high - low if high > low else 1.0
    return (2 * (image - middle) / spread).astype(np.float32)
