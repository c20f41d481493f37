r"""Log-normal, normal and Weibull distributions fitted to weighted particle sizes by maximum likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAMILIES = ("log-normal", "normal", "weibull")
_LEAST_SPREAD = 1e-9


def fit_distributions(sizes: NDArray[np.float64], weights: NDArray[np.float64]) -> pd.DataFrame:
    r"""Fit each family to sizes.

    Parameters
    ----------
    sizes : ndarray, shape (N,)
        Ascending, above 0.
    weights : ndarray, shape (N,)
        How many particles each stands for.

    Returns
    -------
    pandas.DataFrame
        One row a family (`FAMILIES`), best first: `location` and `scale` (log-normal: geometric mean and geometric
        standard deviation; normal: mean and standard deviation; Weibull: scale and shape), `ks` (Kolmogorov-Smirnov
        distance), `p_value` of it and `aic`, :math:`4 - 2 \log L` with the weights scaled to the effective number of
        particles. The p-value is that of known parameters; fitted ones make it too large: it can reject a family
        but not confirm one. No rows for fewer than 3 different sizes, or sizes that are equal but for rounding.

    Examples
    --------
    >>> sizes = np.sort(np.random.default_rng(0).lognormal(2, 0.3, 500))
    >>> fits = fit_distributions(sizes, np.ones(500))
    >>> fits.index[0], fits.loc["log-normal", ["location", "scale"]].astype(float).round(1).tolist()
    ('log-normal', [7.3, 1.4])
    """
    columns = ["location", "scale", "ks", "p_value", "aic"]
    if np.unique(sizes).size < 3 or np.ptp(np.log(sizes)) < _LEAST_SPREAD:
        return pd.DataFrame(columns=columns, index=pd.Index([], name="family"), dtype=np.float64)
    share = weights / weights.sum()
    effective_n = 1 / float((share**2).sum())
    rows = []
    for family in FAMILIES:
        location, scale = _fit(family, sizes, share)
        law = distribution(family, location, scale)
        cumulative = law.cdf(sizes)
        above = np.cumsum(share)
        ks = float(np.maximum(above - cumulative, cumulative - (above - share)).max())
        likelihood = effective_n * float(share @ law.logpdf(sizes))
        p_value = float(stats.kstwobign.sf(ks * np.sqrt(effective_n)))
        rows.append((location, scale, ks, p_value, 4 - 2 * likelihood))
    table = pd.DataFrame(rows, columns=columns, index=pd.Index(FAMILIES, name="family"))
    return table.sort_values("aic")


def distribution(family: str, location: float, scale: float) -> Any:
    """Return a fitted family as a frozen scipy.stats distribution, its parameters as `fit_distributions` has them."""
    if family == "log-normal":
        return stats.lognorm(np.log(scale), scale=location)
    if family == "normal":
        return stats.norm(location, scale)
    return stats.weibull_min(scale, scale=location)


def _fit(family: str, sizes: NDArray, share: NDArray) -> tuple[float, float]:
    logs = np.log(sizes)
    log_mean = float(share @ logs)
    log_sd = float(np.sqrt(share @ (logs - log_mean) ** 2))
    if family == "log-normal":
        return float(np.exp(log_mean)), float(np.exp(log_sd))
    if family == "normal":
        mean = float(share @ sizes)
        return mean, float(np.sqrt(share @ (sizes - mean) ** 2))
    # The likelihood's derivative in the shape k, in logs so that powers do not overflow.
    centred = logs - logs.max()

    def slope(k: float) -> float:
        powers = share * np.exp(k * centred)
        return float(powers @ centred / powers.sum() - 1 / k - share @ centred)

    # It rises from minus infinity to a positive value: far from the guess where a few sizes lie far from the rest.
    low = high = np.pi / np.sqrt(6) / log_sd
    while slope(low) > 0:
        low /= 2
    while slope(high) < 0:
        high *= 2
    shape = high if low == high else float(optimize.brentq(slope, low, high))  # pyright: ignore[reportArgumentType]
    scale = np.exp(logs.max()) * float(share @ np.exp(shape * centred)) ** (1 / shape)
    return float(scale), float(shape)
