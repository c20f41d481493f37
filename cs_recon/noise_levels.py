r"""How the noise of untold counts grows with the signal, from the samples alone.

`estimate_noise` finds the noise of the commonest level, which on particles over vacuum is that of nothing. Here the
scatter of near samples is taken by level: with :math:`\gamma_k(d)`, half the mean squared difference of samples at a
distance :math:`d` whose mean lies in the bin k of levels, at two distances :math:`d_1 < d_2`,

.. math:: v_k = \gamma_k(d_1) - \frac{\gamma_k(d_2) - \gamma_k(d_1)}{(d_2 / d_1)^p - 1}

is what noise leaves of it without structure that grows as :math:`d^p`. Where samples lie side by side nearly
everywhere, fourth differences along a line take the place of :math:`\gamma_k(d_1)` and second ones that of
:math:`\gamma_k(d_2)`, in which structure makes at least `_SECOND` times as much; along rows or columns, whichever tells
less. The slope from the commonest level :math:`m` and its noise :math:`\sigma^2` is the second smallest of
:math:`(v_k - \sigma^2) / (m_k - m)` (of three bins or fewer the smallest): edges, which scatter most, lie between
levels, and what all levels but one agree on is no edge. So

.. math:: \mathrm{Var}(v) = \sigma^2 + \max(s - m, 0) / c, \quad 1 / c \ge 0

mostly has too little noise rather than too much. Where what is bright is hardly larger than the distance of the samples
(small spots, lattice fringes), no scatter tells noise from structure, and :math:`\sigma` alone is told; fringes of
about three times that distance still pass for noise. Only brighter levels may be noisier, as of counts; of an inverted
frame it finds :math:`\sigma` alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import norm

from cs_recon.noise import (
    estimate_noise_unexposed,
    inverse_exposures,
    near_pairs,
    spread_counts,
    triple_sums,
    triples,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulate.measurement import Measurement

_QUANTILE = 0.25
"""Of the absolute differences in a bin: up to half of them may be across edges."""
_DENSE = 0.5
"""Share of the pixels with two neighbours in their row, from which on differences along lines tell enough."""
_MOST_PIXELS, _MOST_SAMPLES, _BAND = 2**21, 200_000, 64
"""Of larger dense scans every second, third ... line is looked at, of other ones bands of rows."""
_NEAREST = 0.1
"""Share of the pairs of neighbours that count as near."""
_POWER, _SECOND = 1.75, 3.5
"""Of 1.5 to 2, on frames and scans that no table shows: less gains less, more takes structure for noise. The other is
what second differences of the sharpest spot there is, a Gaussian of one pixel, are to fourth ones."""
_BRIGHT, _BESIDE, _TOGETHER = 0.5, 0.25, 0.68
"""Of the way to the highest level: where a sample is bright, and where one beside it is of the same particle; and the
share of such ones from which on particles are larger than the distance."""
_FEWEST_LEVELS, _MOST_LEVELS, _FEWEST_A_LEVEL = 2, 6, 40
_FARTHEST, _FAR = 0.995, 1 / 3
"""The quantile of the samples that is the highest level, and the share of the way there where a level is another."""


def with_noise(measurement: Measurement) -> Measurement:
    r"""Return a measurement that tells its noise, estimated by level from its samples if it did not.

    What it tells is `read_noise` :math:`\sigma`, and, if brighter levels are noisier, `counts_per_unit` :math:`c` with
    the `black_level` :math:`m`, the commonest level (not what zero electrons give). If that is 0, as of a smooth scan
    without noise, the noise stays unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import Measurement
    >>> frame = np.where(np.hypot(*np.mgrid[-64:64, -64:64]) < 30, 50.0, 1.0)  # one disk over nearly nothing
    >>> scan = Measurement(np.random.default_rng(0).poisson(frame), np.ones(frame.shape, bool))
    >>> told = with_noise(scan)
    >>> [round(float(told.noise_sigma(level)) ** 2) for level in (1, 50)]  # in truth 1 and 50
    [1, 55]
    """
    if measurement.noise_is_known:
        return measurement
    read_noise = estimate_noise_unexposed(measurement)
    level = float(np.median(measurement.samples))
    slope = _slope(measurement, level, read_noise**2)
    estimated = replace(measurement, read_noise=read_noise, noise_is_estimated=True)
    return estimated if slope <= 0 else replace(estimated, counts_per_unit=1 / slope, black_level=level)


def _slope(measurement: Measurement, level: float, variance: float) -> float:
    """Return the slope of the noise's variance above the commonest level, 0 where too few samples are brighter."""
    values, added = spread_counts(measurement)
    mask, inverse = measurement.mask, inverse_exposures(measurement)
    dense = triples(mask).mean() >= _DENSE
    # The lower of two neighbours is no hot pixel.
    tops = np.minimum(values[:, 1:], values[:, :-1])[mask[:, 1:] & mask[:, :-1]] if dense else measurement.samples
    reach = float(np.quantile(tops, _FARTHEST)) - level
    if reach <= 0:
        return 0.0
    if dense:
        kinds = _dense(values, mask, inverse)
    else:
        every = -(-int(mask.sum()) // _MOST_SAMPLES)
        bands = np.arange(len(mask)) // _BAND % every == 0
        seen = mask[bands]
        bright = level + _BRIGHT * reach, level + _BESIDE * reach
        kinds = _sparse(values[bands][seen], seen, inverse[bands][seen], bright)
    # What only one direction shows are fringes.
    return max(min((_slope_of(kind, level, reach, variance + added) for kind in kinds), default=0.0), 0.0)


class _Differences(NamedTuple):
    """Differences of the noise's variance, and ones that structure adds `growth + 1` times as much to; their levels."""

    means: NDArray[np.float64]
    near: NDArray[np.float64]
    far_means: NDArray[np.float64]
    far: NDArray[np.float64]
    growth: float


def _slope_of(kind: _Differences, level: float, reach: float, variance: float) -> float:
    """Return the slope from the commonest level that brighter ones agree on, 0 of too few."""
    height, beside = (kind.means - level) / reach, (kind.far_means - level) / reach
    order = np.flatnonzero(height >= _FAR)
    levels = min(len(order) // _FEWEST_A_LEVEL, _MOST_LEVELS)
    if levels < _FEWEST_LEVELS:
        return 0.0
    slopes = np.zeros(levels)
    for number, part in enumerate(np.array_split(order[np.argsort(height[order], kind="stable")], levels)):
        noise = _scatter(kind.near[part])
        far = (beside >= height[part[0]]) & (beside <= height[part[-1]])
        if np.count_nonzero(far) >= _FEWEST_A_LEVEL:
            noise -= max(_scatter(kind.far[far]) - noise, 0.0) / kind.growth
        slopes[number] = (noise - variance) / (height[part].mean() * reach)
    return float(np.sort(slopes)[1 if levels > _FEWEST_LEVELS + 1 else 0])


def _dense(values: NDArray, mask: NDArray[np.bool_], inverse: NDArray) -> Iterator[_Differences]:
    """Yield fourth differences, and second ones, of samples side by side, along rows and along columns."""
    for axes in ((0, 1), (1, 0)):
        lines = slice(None, None, -(-mask.size // _MOST_PIXELS))
        value, seen, weight = (array.transpose(axes)[lines] for array in (values, mask, inverse))
        fives = triples(seen)[:, :-2] & triples(seen)[:, 2:]
        means = triple_sums(value, (1 / 3, 1 / 3, 1 / 3))[:, 1:-1][fives]
        second = triple_sums(value, (1, -2, 1))
        noise = triple_sums(weight, (1, 4, 1))[:, 1:-1][fives]
        fourth, most = triple_sums(second, (1, -2, 1))[fives], _fourth_noise(weight)[fives]
        yield _Differences(means, fourth / np.sqrt(most), means, second[:, 1:-1][fives] / np.sqrt(noise), _SECOND - 1)


def _fourth_noise(weight: NDArray) -> NDArray[np.float64]:
    """Return the variance of fourth differences (1, -4, 6, -4, 1) of noise of these variances."""
    return triple_sums(weight, (1, 0, 1))[:, 1:-1] * 16 + weight[:, 2:-2] * 36 + weight[:, :-4] + weight[:, 4:]


def _sparse(
    samples: NDArray, mask: NDArray[np.bool_], inverse: NDArray, bright: tuple[float, float]
) -> Iterator[_Differences]:
    """Yield differences of near samples, and of ones at twice their distance, unless what is bright is too small.

    `bright` are the levels above which a sample is bright, and one beside a bright one is of the same particle.
    """
    own, other, squared = near_pairs(np.argwhere(mask))
    first, second = samples[own], samples[other]
    reach = max(float(np.quantile(squared, _NEAREST)), 2.0)
    near, far = squared <= reach, (squared > reach) & (squared <= 4 * reach)
    tops = near & (np.maximum(first, second) >= bright[0])
    together = np.count_nonzero(tops & (np.minimum(first, second) >= bright[1]))
    if far.any() and together >= _TOGETHER * np.count_nonzero(tops):
        means, differences = (first + second) / 2, (first - second) / np.sqrt(inverse[own] + inverse[other])
        growth = (squared[far].mean() / squared[near].mean()) ** (_POWER / 2) - 1
        yield _Differences(means[near], differences[near], means[far], differences[far], growth)


def _scatter(differences: NDArray[np.float64]) -> float:
    """Return the variance of differences, most of which are noise."""
    return float(np.quantile(np.abs(differences), _QUANTILE) / norm.ppf((1 + _QUANTILE) / 2)) ** 2
