r"""How the noise of untold counts grows with the signal, from the samples alone.

`estimate_noise` finds the noise of the commonest level, which on particles over vacuum is that of nothing. Here the
scatter of near samples is taken by level: with :math:`\gamma_k(d)`, half the mean squared difference of samples at a
distance :math:`d` whose mean lies in the bin k of levels, at two distances :math:`d_1 < d_2`,

.. math:: v_k = \gamma_k(d_1) - \frac{\gamma_k(d_2) - \gamma_k(d_1)}{(d_2 / d_1)^p - 1}

is what noise leaves of it without structure that grows as :math:`d^p`. Where samples lie side by side nearly
everywhere, second differences need no such correction. The slope from the commonest level :math:`m` and its noise
:math:`\sigma^2` is the second smallest of :math:`(v_k - \sigma^2) / (m_k - m)`: edges, which scatter most, lie between
levels, and what all levels but one agree on is no edge. So

.. math:: \mathrm{Var}(v) = \sigma^2 + \max(s - m, 0) / c, \quad 1 / c \ge 0

errs on the side of too little noise. Only brighter levels may be noisier, as of counts; of an inverted frame it finds
:math:`\sigma` alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from cs_recon.noise import estimate_noise_unexposed, inverse_exposures, near_pairs, spread_counts, triples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.measurement import Measurement

_QUANTILE = 0.25
"""Of the absolute differences in a bin: up to half of them may be across edges."""
_DENSE = 0.5
"""Share of the pixels from which on second differences along rows tell enough."""
_MOST_PIXELS = 2**21
"""Of larger dense scans every second, third ... row is looked at."""
_NEAREST = 0.1
"""Share of the pairs of neighbours that count as near."""
_POWER = 1.75
"""Of 1.5 to 2, on frames and scans that no table shows: less gains less, more takes structure for noise."""
_FEWEST_LEVELS, _MOST_LEVELS, _FEWEST_A_LEVEL = 2, 6, 40
_FARTHEST, _FAR = 0.995, 1 / 3
"""The quantile of the samples that is the highest level, and the share of the way there where a level is another."""


def with_noise(measurement: Measurement) -> Measurement:
    r"""Return a measurement that tells its noise, estimated by level from its samples if it did not.

    What it tells is `read_noise` :math:`\sigma`, and, if brighter levels are noisier, `counts_per_unit` :math:`c` with
    the `black_level` :math:`m`, the commonest level (not what zero electrons give). Of samples without any noise it
    tells none.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import Measurement
    >>> frame = np.where(np.hypot(*np.mgrid[-64:64, -64:64]) < 30, 50.0, 1.0)  # one disk over nearly nothing
    >>> scan = Measurement(np.random.default_rng(0).poisson(frame), np.ones(frame.shape, bool))
    >>> told = with_noise(scan)
    >>> [round(float(told.noise_sigma(level)) ** 2) for level in (1, 50)]  # in truth 1 and 50
    [1, 54]
    """
    if measurement.noise_is_known:
        return measurement
    read_noise = estimate_noise_unexposed(measurement)
    level = float(np.median(measurement.samples))
    slope = _slope(measurement, level, read_noise**2)
    if slope <= 0:
        return replace(measurement, read_noise=read_noise)
    return replace(measurement, read_noise=read_noise, counts_per_unit=1 / slope, black_level=level)


def _slope(measurement: Measurement, level: float, variance: float) -> float:
    """Return the slope of the noise's variance above the commonest level, 0 where too few samples are brighter."""
    values, added = spread_counts(measurement)
    mask, inverse = measurement.mask, inverse_exposures(measurement)
    reach = float(np.quantile(measurement.samples, _FARTHEST)) - level
    if reach <= 0:
        return 0.0
    if triples(mask).mean() >= _DENSE:
        rows = slice(None, None, -(-mask.size // _MOST_PIXELS))
        values, inverse, at = values[rows], inverse[rows], triples(mask[rows])
        means = (values[:, :-2] + values[:, 1:-1] + values[:, 2:])[at] / 3
        spread = (inverse[:, :-2] + 4 * inverse[:, 1:-1] + inverse[:, 2:])[at]
        differences = (values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:])[at] / np.sqrt(spread)
        near, far, growth = np.ones(means.size, bool), np.zeros(means.size, bool), np.inf
    else:
        own, other, squared = near_pairs(np.argwhere(mask))
        samples, weights = values[mask], inverse[mask]
        means = (samples[own] + samples[other]) / 2
        differences = (samples[own] - samples[other]) / np.sqrt(weights[own] + weights[other])
        first = max(float(np.quantile(squared, _NEAREST)), 2.0)
        near, far = squared <= first, (squared > first) & (squared <= 4 * first)
        if not far.any():
            return 0.0
        growth = (squared[far].mean() / squared[near].mean()) ** (_POWER / 2) - 1
    height = (means - level) / reach
    order = np.flatnonzero(near & (height >= _FAR))
    levels = min(len(order) // _FEWEST_A_LEVEL, _MOST_LEVELS)
    if levels < _FEWEST_LEVELS:
        return 0.0
    slopes = []
    for part in np.array_split(order[np.argsort(height[order], kind="stable")], levels):
        noise = _scatter(differences[part])
        beside = far & (height >= height[part[0]]) & (height <= height[part[-1]])
        if growth < np.inf and np.count_nonzero(beside) >= _FEWEST_A_LEVEL:
            noise -= max(_scatter(differences[beside]) - noise, 0.0) / growth
        slopes.append((noise - added - variance) / (height[part].mean() * reach))
    return max(sorted(slopes)[1 if levels > _FEWEST_LEVELS + 1 else 0], 0.0)


def _scatter(differences: NDArray[np.float64]) -> float:
    """Return the variance of differences, most of which are noise."""
    return float(np.quantile(np.abs(differences), _QUANTILE) / norm.ppf((1 + _QUANTILE) / 2)) ** 2
