"""Variable-density sampling: more pixels where a weight image says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError
from simulate.schemes.order import hilbert_curve, in_raster_order, marked, pixel_count
from simulate.schemes.registry import scheme

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.schemes.registry import Positions, Prior


@scheme(
    "variable-density", "random pixels, denser where a weight image (prior) is higher, spread evenly", needs_prior=True
)
def variable_density(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    r"""Exactly ``round(ratio * H * W)`` pixels, each with the probability of `inclusion_probabilities`.

    Systematic sampling along the Hilbert curve: with the sums :math:`S_i` of the probabilities along the curve and one
    uniform :math:`u`, the pixels at which :math:`S_i` passes :math:`u, u + 1, u + 2, \dots`. So the samples spread over
    the frame about as evenly as the weights allow. A pixel of weight 0 is never visited.

    References
    ----------
    Madow, "On the theory of systematic sampling, II", Annals of Mathematical Statistics 20, 333-354 (1949),
    https://doi.org/10.1214/aoms/1177729988; along a space-filling curve: Stevens and Olsen, "Spatially balanced
    sampling of natural resources", Journal of the American Statistical Association 99, 262-278 (2004),
    https://doi.org/10.1198/016214504000000250.
    """
    assert prior is not None
    count = pixel_count(shape, ratio)
    probability = inclusion_probabilities(prior, count).ravel()
    taken = probability == 1
    curve = hilbert_curve(shape)
    along = curve[(probability > 0)[curve] & ~taken[curve]]
    left = count - int(taken.sum())
    if left > 0:
        sums = np.cumsum(probability[along]) * (left / probability[along].sum())
        step = np.arange(left)
        picks = np.searchsorted(sums, rng.random() + step, side="right")
        # Rounding of the sums may make a pick a double or put it behind the end: hold them distinct.
        picks = np.minimum(np.maximum.accumulate(picks - step) + step, along.size - left + step)
        taken |= marked(along[picks], shape)
    return in_raster_order(taken, shape)


def inclusion_probabilities(weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    r"""Return the probability of each pixel to be visited, :math:`\min(1, c w)` with the sum `count`.

    Parameters
    ----------
    weights : numpy.ndarray, shape (H, W)
        Finite weights of at least 0.
    count : int
        How many pixels are visited.

    Raises
    ------
    InputError
        If fewer than `count` pixels have a weight.

    Examples
    --------
    >>> inclusion_probabilities(np.array([[0.0, 1.0, 2.0, 9.0]]), 2).round(3)
    array([[0.   , 0.333, 0.667, 1.   ]])
    """
    reachable = np.count_nonzero(weights)
    if reachable < count:
        raise InputError(
            f"the prior has a weight above 0 at {reachable} of {weights.size} pixels, but the ratio asks for {count}; "
            f"expected a ratio of at most {reachable / weights.size:.3g}, or a prior with weight at more pixels"
        )
    # Weights a billion times smaller than the largest count as that small, so that their sums do not vanish.
    scaled = np.where(weights > 0, np.maximum(weights / weights.max(), 1e-9), 0.0)
    falling = -np.sort(-scaled, axis=None)[:reachable]
    rest = np.cumsum(falling[::-1])[::-1]
    # With the k largest weights certain, the others share count - k; take the fewest for which none exceeds 1.
    k = np.arange(count)
    n_certain = int(np.argmax((count - k) * falling[:count] <= rest[:count]))
    certain = scaled > falling[n_certain]
    n_certain = int(np.count_nonzero(certain))
    return np.where(certain, 1.0, np.minimum(scaled * ((count - n_certain) / rest[n_certain]), 1.0))
