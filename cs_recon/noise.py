"""How noisy the samples of a scan are, told by its counts or estimated from the samples themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.measurement import Measurement

LONGEST_EXPOSURE = 10.0
"""Times the median: one pixel where the beam was parked would make all others worth nothing beside it."""

_ENOUGH = 200
_MAD_TO_SIGMA = 1.4826
_NEIGHBOURS = 12
_MOST_BINS, _FEWEST_PAIRS = 8, 40
_MOST_SAMPLES = 50_000
_FEWEST_A_LEVEL, _LEVEL_TOLERANCE = 8, 1e-3
"""Samples of a level, in the mean, from which on levels are taken for steps, and how far they may lie off them."""


def estimate_noise(measurement: Measurement) -> float:
    r"""Estimate the standard deviation of the noise of the samples, in their unit.

    From second differences of horizontally adjacent samples where there are enough of them,
    :math:`(v_{j-1} - 2 v_j + v_{j+1}) / \sqrt 6`. Else from the variogram, half the squared difference of two samples
    as a function of their distance :math:`d`: structure makes it grow with distance, noise alone is left at none, so

    .. math:: \gamma(d) = \sigma^2 + a\,d^p, \quad \sigma^2 \ge 0,\ a \ge 0

    is fitted to the pairs of near samples, binned by distance, with the power :math:`p` (1, 1.5 or 2) that fits best.
    All by the median absolute deviation, which edges move little. Counts, which come in steps, are spread over their
    steps first. Where exposures differ, each difference is divided by what its samples' exposures make of the noise.

    Where most samples are of an empty background, it is the noise there that is found. Counts make more of it on
    particles, which `noise_levels.with_noise` finds; still tell `Measurement.counts_per_unit` where it is known (1 for
    counted electrons).

    Returns
    -------
    float
        That of a sample of the median exposure, at least 0. Of few samples (below a hundred) it is uncertain to a
        factor of two.

    References
    ----------
    The intercept is geostatistics' nugget: Cressie, "Statistics for Spatial Data", Wiley 1993,
    https://doi.org/10.1002/9781119115151.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import Measurement
    >>> noisy = np.random.default_rng(0).normal(5, 0.5, (64, 64))
    >>> round(estimate_noise(Measurement(noisy, np.ones((64, 64), bool))), 1)
    0.5
    """
    return estimate_noise_unexposed(measurement) / typical_exposure(measurement) ** 0.5


def estimate_noise_unexposed(measurement: Measurement) -> float:
    """Return `estimate_noise` for the exposure 1, as `Measurement.read_noise` says it."""
    values, added = spread_counts(measurement)
    found = _scatter(values, measurement.mask, inverse_exposures(measurement))
    return float(np.sqrt(max(found**2 - added, 0.0)))


def spread_counts(measurement: Measurement) -> tuple[NDArray[np.float64], float]:
    """Return the values, counts spread evenly over their steps, and the variance that adds at the exposure 1.

    Between whole counts the median of differences would jump.
    """
    step = _step(measurement.samples)
    if not step:
        return measurement.values, 0.0
    spread = np.random.default_rng(0).uniform(-step / 2, step / 2, measurement.shape)
    return measurement.values + spread, typical_exposure(measurement) * step**2 / 12


def inverse_exposures(measurement: Measurement) -> NDArray[np.float64]:
    """Return one over the exposures (H, W), 1 where nothing was scanned or if they are unknown."""
    inverse = np.ones(measurement.shape)
    if measurement.exposure is not None:
        np.divide(1.0, measurement.exposure, out=inverse, where=measurement.mask)
    return inverse


def triples(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where three pixels in a row are in a mask, (H, W - 2)."""
    return mask[:, :-2] & mask[:, 1:-1] & mask[:, 2:]


def triple_sums(values: NDArray, weights: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return weighted sums of three values in a row, (H, W - 2)."""
    return weights[0] * values[:, :-2] + weights[1] * values[:, 1:-1] + weights[2] * values[:, 2:]


def near_pairs(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return pairs of samples, each with its nearest ones, as their numbers and squared distances."""
    queried = positions[:: max(1, len(positions) // _MOST_SAMPLES)]
    count = min(_NEIGHBOURS + 1, len(positions))
    distances, neighbours = (np.asarray(found) for found in KDTree(positions).query(queried, k=count))
    own = np.repeat(np.arange(len(positions))[:: max(1, len(positions) // _MOST_SAMPLES)], count - 1)
    return own, np.ravel(neighbours[:, 1:]), np.square(np.ravel(distances[:, 1:]), dtype=np.float64)


def _step(samples: NDArray[np.float64]) -> float:
    """Return the step between the levels that samples take where they are few, as of counted electrons, else 0."""
    part = samples[:: max(1, len(samples) // _MOST_SAMPLES)]
    levels = np.unique(part)
    if not 2 <= len(levels) <= len(part) // _FEWEST_A_LEVEL:
        return 0.0
    step = float(np.diff(levels).min())
    number = (levels - levels[0]) / step
    return step if np.abs(number - np.rint(number)).max() < _LEVEL_TOLERANCE else 0.0


def _scatter(values: NDArray[np.float64], mask: NDArray[np.bool_], inverse: NDArray[np.float64]) -> float:
    """Return the standard deviation of the noise of the values under a mask, over the root of the inverse exposures."""
    at = triples(mask)
    if np.count_nonzero(at) >= _ENOUGH:
        second, spread = triple_sums(values, (1, -2, 1)), triple_sums(inverse, (1, 4, 1))
        return _robust_sigma(second[at] / np.sqrt(spread[at]))
    positions = np.argwhere(mask)
    if len(positions) < 3:
        return 0.0
    return _nugget(positions, values[mask], inverse[mask])


def typical_exposure(measurement: Measurement) -> float:
    """Return the median exposure of the samples, 1 if they have none."""
    return 1.0 if measurement.exposure is None else float(np.median(measurement.exposure[measurement.mask]))


def usual_exposures(measurement: Measurement) -> NDArray[np.float64]:
    """Return the samples' exposures (N,), those beyond `LONGEST_EXPOSURE` medians cut to that; 1 if they have none."""
    if measurement.exposure is None:
        return np.ones(int(measurement.mask.sum()))
    return np.minimum(measurement.exposure[measurement.mask], LONGEST_EXPOSURE * typical_exposure(measurement))


def exposure_weights(measurement: Measurement) -> NDArray[np.float64]:
    """Return weights of at most 1 (H, W), in proportion to the exposures as far as those are usual."""
    if measurement.exposure is None:
        return np.ones(measurement.shape)
    usual = usual_exposures(measurement)
    weights = np.zeros(measurement.shape)
    weights[measurement.mask] = usual / usual.max()
    return weights


def _nugget(positions: NDArray[np.int64], samples: NDArray[np.float64], inverse: NDArray[np.float64]) -> float:
    """Return the square root of the variogram at distance 0, differences being those of the exposure 1."""
    own, other, squared = near_pairs(positions)
    half = (samples[own] - samples[other]) / np.sqrt(inverse[own] + inverse[other])
    # Both of a pair count each other as neighbours: about half of the pairs are independent.
    bins = min(_MOST_BINS, len(half) // (2 * _FEWEST_PAIRS))
    if bins < 2:
        nearest = squared.reshape(-1, min(_NEIGHBOURS, len(positions) - 1))[:, 0]
        return _robust_sigma(half[squared <= nearest.max()])
    order = np.argsort(squared, kind="stable")
    gamma = np.array([_robust_sigma(part) ** 2 for part in np.array_split(half[order], bins)])
    distance = np.array([np.sqrt(part.mean()) for part in np.array_split(squared[order], bins)])
    if gamma.max() == 0:
        return 0.0
    weights = 1 / np.maximum(gamma, 1e-3 * gamma.max())
    fits = [
        nnls(weights[:, None] * np.stack([np.ones_like(distance), (distance / distance[-1]) ** power], axis=1),
             weights * gamma)
        for power in (1.0, 1.5, 2.0)
    ]  # fmt: skip
    nugget = min(fits, key=lambda fit: fit[1])[0][0]
    return float(np.sqrt(nugget))


def _robust_sigma(differences: NDArray[np.float64]) -> float:
    # About the median for a trend; about a quarter of low-count differences are exactly 0, so the MAD alone may vanish.
    mad = float(np.median(np.abs(differences - np.median(differences)))) * _MAD_TO_SIGMA
    return mad if mad > 0 else float(np.std(differences))
