"""How noisy the samples of a scan are, told by its counts or estimated from the samples themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from simulate.measurement import Measurement

_ENOUGH = 200
_MAD_TO_SIGMA = 1.4826


def estimate_noise(measurement: Measurement) -> float:
    r"""Estimate the standard deviation of the noise of the samples, in their unit.

    From second differences of horizontally adjacent samples where there are enough of them,
    :math:`(v_{j-1} - 2 v_j + v_{j+1}) / \sqrt 6`, else from differences of nearest neighbours,
    :math:`(v_i - v_j) / \sqrt 2`; by the median absolute deviation, which edges move little. At sparse sampling,
    where neighbours are far apart, structure makes the estimate too large rather than too small.

    Returns
    -------
    float
        At least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import Measurement
    >>> noisy = np.random.default_rng(0).normal(5, 0.5, (64, 64))
    >>> round(estimate_noise(Measurement(noisy, np.ones((64, 64), bool))), 1)
    0.5
    """
    values, mask = measurement.values, measurement.mask
    triples = mask[:, :-2] & mask[:, 1:-1] & mask[:, 2:]
    if np.count_nonzero(triples) >= _ENOUGH:
        second = values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:]
        return _robust_sigma(second[triples] / np.sqrt(6))
    positions = np.argwhere(mask)
    if len(positions) < 3:
        return 0.0
    neighbours = np.asarray(KDTree(positions).query(positions, k=2)[1])
    samples = measurement.samples
    return _robust_sigma((samples - samples[neighbours[:, 1]]) / np.sqrt(2))


def _robust_sigma(differences: np.ndarray) -> float:
    # About the median for a trend; about a quarter of low-count differences are exactly 0, so the MAD alone may vanish.
    mad = float(np.median(np.abs(differences - np.median(differences)))) * _MAD_TO_SIGMA
    return mad if mad > 0 else float(np.std(differences))
