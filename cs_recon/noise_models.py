r"""The noise of detected electrons: Poisson counts and Gaussian read-out, its variance and its stabilisation.

A value :math:`v` of a pixel with signal :math:`s` and relative exposure :math:`e` is

.. math:: v = b + \frac{\mathrm{Poisson}(c\,e\,(s - b)) + \mathcal N(0, e\,c^2 \sigma^2)}{c\,e}

with the counts per unit :math:`c`, the black level :math:`b` and the read noise :math:`\sigma`, as in `Measurement`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import gammaln

from simulate.errors import check_positive, check_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from cs_recon.batch import ScanBatch
    from simulate.measurement import Measurement

LARGEST_VARIANCE = 1e12
"""Of a normalised sample's noise: a sample of more tells nothing, and its square must fit single precision."""

_LARGEST_TABLE_COUNT = 1000.0
"""Above, as for read noise of so large a variance, the asymptote of the inverse is exact to 1e-3 of a count."""


def noise_variance(
    signal: Tensor,
    counts_per_unit: float | None,
    black_level: float = 0.0,
    read_noise: float = 0.0,
    exposure: Tensor | float = 1.0,
) -> Tensor:
    r"""Return the variance of values measured where the true signal is `signal`.

    .. math:: \mathrm{Var}(v) = \frac{\max(s - b, 0) / c + \sigma^2}{e}

    Parameters
    ----------
    signal : Tensor, any shape
        True signal, in the unit of the values.
    counts_per_unit : float or None
        Detected electrons per unit; None where there is no counting noise.
    black_level, read_noise : float
        In the unit of the values.
    exposure : Tensor or float
        Relative exposure of each pixel, above 0.

    Examples
    --------
    >>> noise_variance(torch.tensor([10.0, 20.0]), counts_per_unit=2.0, exposure=torch.tensor([1.0, 4.0])).tolist()
    [5.0, 2.5]
    """
    variance = torch.full_like(signal, read_noise**2)
    if counts_per_unit is not None:
        variance = variance + (signal - black_level).clamp(min=0) / counts_per_unit
    return variance / exposure


def generalised_anscombe(
    values: Tensor, counts_per_unit: float, black_level: float = 0.0, read_noise: float = 0.0
) -> Tensor:
    r"""Return values whose noise has variance 1 nearly everywhere.

    .. math:: f(v) = 2 \sqrt{\max(n + \tfrac38 + s^2, 0)}, \quad n = c (v - b),\ s = c \sigma

    Parameters
    ----------
    values : Tensor, any shape
        Measured values.
    counts_per_unit, black_level, read_noise : float
        As in `Measurement`; for a longer exposure multiply the counts per unit and divide the read noise's square.

    References
    ----------
    Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika 35, 246 (1948),
    https://doi.org/10.1093/biomet/35.3-4.246; with read noise: Starck, Murtagh, Bijaoui, "Image Processing and Data
    Analysis", Cambridge 1998.

    Examples
    --------
    >>> counts = torch.poisson(torch.full((100_000,), 20.0), generator=torch.Generator().manual_seed(0))
    >>> round(float(generalised_anscombe(counts, 1.0).std()), 2)
    1.0
    """
    gain, spread = _electrons(counts_per_unit, black_level, read_noise)
    return 2 * (gain * (values - black_level) + 0.375 + spread**2).clamp(min=0).sqrt()


def inverse_generalised_anscombe(
    stabilised: Tensor, counts_per_unit: float, black_level: float = 0.0, read_noise: float = 0.0
) -> Tensor:
    r"""Return the signal whose stabilised values have the mean `stabilised`: the exact unbiased inverse.

    The algebraic inverse of :math:`f` is biased at few counts, since :math:`E[f(v)] \ne f(E[v])`. This one inverts
    :math:`s \mapsto E[f(v) \mid s]`, computed by summing over the counts and integrating over the read noise; above
    a thousand counts, or of so large a variance of the read noise, by its asymptote :math:`D^2/4 - 1/8 - s^2`.
    Below the mean of zero signal it gives the black level.

    Parameters
    ----------
    stabilised : Tensor, any shape
        Denoised values of `generalised_anscombe`.
    counts_per_unit, black_level, read_noise : float
        As given to `generalised_anscombe`.

    References
    ----------
    Mäkitalo, Foi, "Optimal inversion of the Anscombe transformation in low-count Poisson image denoising", IEEE TIP
    20, 99 (2011), https://doi.org/10.1109/TIP.2010.2056693; "Optimal inversion of the generalized Anscombe
    transformation for Poisson-Gaussian noise", IEEE TIP 22, 91 (2013), https://doi.org/10.1109/TIP.2012.2202675.
    """
    gain, spread = _electrons(counts_per_unit, black_level, read_noise)
    closed = stabilised**2 / 4 - 0.125 - spread**2
    if spread**2 > _LARGEST_TABLE_COUNT:
        return black_level + closed.clamp(min=0) / gain
    counts, means = (torch.from_numpy(table).to(stabilised) for table in _table(round(spread, 6)))
    inside = stabilised.clamp(float(means[0]), float(means[-1])).contiguous()
    upper = torch.searchsorted(means, inside).clamp(1, len(means) - 1)
    share = (inside - means[upper - 1]) / (means[upper] - means[upper - 1])
    tabled = counts[upper - 1] + share * (counts[upper] - counts[upper - 1])
    return black_level + torch.where(stabilised > means[-1], closed, tabled) / gain


def stabilised_above(
    values: Tensor, counts_per_unit: float, black_level: float = 0.0, read_noise: float = 0.0
) -> Tensor:
    """Return `generalised_anscombe`, continued as a straight line below the black level.

    For noise that grows above a level and is the read noise everywhere below it, as `noise_levels.with_noise` finds it.

    Examples
    --------
    >>> found = stabilised_above(torch.tensor([-5.0, 0.0, 5.0]), 1.0, read_noise=1.0)
    >>> [round(float(value), 2) for value in found]
    [-1.92, 2.35, 5.05]
    """
    gain, spread = _electrons(counts_per_unit, black_level, read_noise)
    root = (0.375 + spread**2) ** 0.5
    below = (gain * (values - black_level)).clamp(max=0)
    return generalised_anscombe(values.clamp(min=black_level), counts_per_unit, black_level, read_noise) + below / root


def inverse_stabilised_above(
    stabilised: Tensor, counts_per_unit: float, black_level: float = 0.0, read_noise: float = 0.0
) -> Tensor:
    """Return the signal of `stabilised_above`, above the black level by the exact unbiased inverse."""
    gain, spread = _electrons(counts_per_unit, black_level, read_noise)
    root = (0.375 + spread**2) ** 0.5
    above = inverse_generalised_anscombe(stabilised, counts_per_unit, black_level, read_noise)
    below = black_level + (stabilised - 2 * root) * root / gain
    return torch.where(stabilised < 2 * root, below, above.clamp(min=black_level))


def _electrons(counts_per_unit: float, black_level: float, read_noise: float) -> tuple[float, float]:
    gain = check_positive(counts_per_unit, "counts_per_unit")
    check_within(black_level, "black_level", -np.inf)
    check_within(read_noise, "read_noise")
    return gain, gain * read_noise


@lru_cache(maxsize=16)
def _table(spread: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean counts and, for each, the mean of the stabilised values, for a read noise of `spread` counts."""
    # Even in the square root, along which the mean is almost straight; far beyond the read noise in any case.
    root = np.linspace(0, np.sqrt(max(_LARGEST_TABLE_COUNT, 50 * spread**2)), 2000)
    mean = root**2
    nodes, weights = np.polynomial.hermite_e.hermegauss(64 if spread else 1)
    weights = weights / weights.sum()
    stabilised = np.empty_like(mean)
    for index, value in enumerate(mean):
        half = 9 * np.sqrt(value) + 25
        counts = np.arange(max(0, np.floor(value - half)), np.ceil(value + half) + 1)
        log = counts * np.log(value) - value - gammaln(counts + 1) if value else np.where(counts == 0, 0.0, -np.inf)
        noisy = counts[:, None] + 0.375 + spread**2 + spread * nodes[None, :]
        stabilised[index] = np.exp(log) @ (2 * np.sqrt(np.maximum(noisy, 0))) @ weights
    return mean, stabilised


def batch_variance(measurements: Sequence[Measurement], batch: ScanBatch, signal: Tensor) -> Tensor:
    """Return the variance (B, 1, H, W) of the samples of a batch where the signal is `signal` (B, 1, H, W).

    Both normalised as the batch is. Where neither counts nor read noise are known it is the batch's estimate; else
    pixels that were not scanned have the exposure 1.
    """
    variances = []
    for index, scan in enumerate(measurements):
        if not scan.noise_is_known:
            variances.append(batch.sigma[index : index + 1].double().square())
            continue
        exposure: Tensor | float = 1.0
        if scan.exposure is not None:
            full = np.ones(signal.shape[-2:])
            full[: scan.shape[0], : scan.shape[1]] = np.where(scan.mask, scan.exposure, 1.0)
            exposure = torch.from_numpy(full).to(signal.device)[None, None]
        scale, offset = batch.scale[index], batch.offset[index]
        physical = signal[index : index + 1].double() * scale + offset
        known = noise_variance(physical, scan.counts_per_unit, scan.black_level, scan.read_noise, exposure)
        variances.append(known / scale**2)
    return torch.cat(variances).clamp(max=LARGEST_VARIANCE).to(signal.dtype)


def precision_weights(mask: Tensor, variance: Tensor, ratio: float = 100.0) -> Tensor:
    r"""Return the weights :math:`W = \bar v / v` for the data term, from the variance (B, 1, H, W) of the samples.

    :math:`\bar v` is the harmonic mean over the samples, so that the mean weight of the samples is 1 and a parameter
    means what it does without weights. No weight exceeds another by more than `ratio`; all are 1 without noise.
    """
    count = mask.sum(dim=(1, 2, 3), keepdim=True)
    largest = (mask * variance).amax(dim=(1, 2, 3), keepdim=True)
    precision = torch.where(largest > 0, 1 / variance.clamp(min=largest.clamp(min=1e-30) / ratio), 1.0)
    return precision / ((mask * precision).sum(dim=(1, 2, 3), keepdim=True) / count)
