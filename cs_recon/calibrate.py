"""Calibrate a network's uncertainty on frames that training did not see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import make_batch
from cs_recon.widening import widened
from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from cs_recon.batch import ScanBatch
    from cs_recon.networks import NetworkOutput
    from cs_recon.training_data import Pair

Z90 = 1.6449
"""Half-width of the central 90 % interval of a normal distribution, in standard deviations."""

RATIOS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Sampling ratios at which sigma is calibrated."""

FACTORS = (1e-6, 1e6)
"""Limits of a factor on sigma: a network without error, as on full scans without noise, would get 0."""

CASES = ("untold", "told", "widened")
"""Scans whose noise is estimated from their samples, and those of told noise, before and after sigma is widened by what
the samples tell (`widening.widened`)."""


@dataclass(frozen=True)
class SigmaCalibration:
    """The factors on a network's sigma by sampling ratio, linear in its logarithm between the calibrated ones.

    Attributes
    ----------
    ratios : tuple of float
        The calibrated ones, rising.
    untold, told, widened : tuple of float
        The factor at each ratio, in each of `CASES`.

    Examples
    --------
    >>> SigmaCalibration((0.01, 1.0), untold=(2.0, 1.0), told=(1.0, 1.0), widened=(0.9, 0.8)).at(0.1, "untold")
    1.5
    """

    ratios: tuple[float, ...] = (1.0,)
    untold: tuple[float, ...] = (1.0,)
    told: tuple[float, ...] = (1.0,)
    widened: tuple[float, ...] = (1.0,)

    def at(self, ratio: float, case: str) -> float:
        """Return the factor at a sampling ratio, in one of `CASES`."""
        return float(np.interp(np.log(ratio), np.log(self.ratios), getattr(self, case)))

    def times(self, factor: float) -> SigmaCalibration:
        """Return the calibration with every factor multiplied."""
        return SigmaCalibration(self.ratios, *(tuple(factor * each for each in getattr(self, case)) for case in CASES))

    def as_dict(self) -> dict[str, list[float]]:
        """Return it as a plain dictionary, for weight files."""
        factors = {case: [float(f"{factor:.5g}") for factor in getattr(self, case)] for case in CASES}
        return {"ratios": list(self.ratios), **factors}

    @classmethod
    def of(cls, record: object) -> SigmaCalibration:
        """Read what `as_dict` wrote; every factor is 1 where nothing was (None)."""
        if record is None:
            return cls()
        got = f"the sigma calibration is {str(record)[:200]}"
        try:
            ratios, *factors = (tuple(map(float, record[name])) for name in ("ratios", *CASES))  # pyright: ignore[reportIndexIssue]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{got}; expected its ratios and the factors {', '.join(CASES)}: train or adapt weights of an earlier "
                "version again"
            ) from None
        rising = all(before < after for before, after in pairwise((0.0, *ratios, math.inf)))
        low, high = FACTORS
        fitting = all(len(each) == len(ratios) > 0 and all(low <= x <= high for x in each) for each in factors)
        if not (rising and fitting):
            raise InputError(f"{got}; expected rising positive ratios and as many factors from {low:g} to {high:g}")
        return cls(ratios, *factors)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A validation scan as the network sees it, with its errors (1, 1, H, W), normalised as the batch is."""

    told: bool
    batch: ScanBatch
    image: Tensor
    sigma: Tensor
    error: Tensor

    def coverage(self, factor: float, *, widen: bool) -> float:
        """Return the share of the frame within the 90 % intervals, sigma multiplied."""
        sigma = factor * self.sigma
        if widen:
            sigma, _ = widened(self.batch, self.image, sigma)
        rows, cols = self.batch.shape
        return float((self.error <= Z90 * sigma[..., :rows, :cols]).double().mean())


def calibrate_sigma(
    run: Callable[[ScanBatch], NetworkOutput],
    pairs: Callable[[float], Iterable[Pair]],
    *,
    multiple: int,
    device: torch.device | str = "cpu",
) -> SigmaCalibration:
    r"""Return the factors on sigma with which 90 % of the pixels lie within :math:`\pm 1.645\,\sigma` at each ratio.

    Every frame counts alike: with a factor the mean of their shares is 90 % (split conformal calibration). Scans of
    told noise have one before and one after widening, and the others one; where all pairs are of one sort, the others
    get their factors.

    Parameters
    ----------
    run : callable
        The network.
    pairs : callable
        Gives validation pairs of a sampling ratio.
    multiple : int
        What the network wants image sides to be multiples of.
    device : torch.device or str
        Where the network is.

    References
    ----------
    Angelopoulos, Bates, "Conformal prediction: a gentle introduction", Found. Trends Mach. Learn. 16, 494 (2023),
    https://doi.org/10.1561/2200000101.
    """
    factors: dict[str, list[float]] = {case: [] for case in CASES}
    for ratio in RATIOS:
        with torch.inference_mode():
            seen = [_look(run, pair, multiple, device) for pair in pairs(ratio)]
            for case in CASES:
                # A network can be trained on scans of one sort alone.
                frames = [one for one in seen if one.told == (case != "untold")] or seen
                factors[case].append(_factor(frames, widen=case == "widened"))
    return SigmaCalibration(RATIOS, *(tuple(factors[case]) for case in CASES))


def _look(run: Callable[[ScanBatch], NetworkOutput], pair: Pair, multiple: int, device: torch.device | str) -> _Seen:
    batch = make_batch([pair.scan], multiple=multiple, device=device)
    out = run(batch)
    clean = torch.from_numpy(np.asarray(pair.clean, dtype=np.float64)).to(device)
    error = (batch.denormalise(out.image) - clean).abs() / batch.scale
    return _Seen(pair.scan.noise_is_told, batch, out.image, out.log_sigma.double().exp(), error)


def _factor(frames: Sequence[_Seen], *, widen: bool) -> float:
    """Return the factor with which 90 % of the pixels are held, by bisection."""
    low, high = (math.log(limit) for limit in FACTORS)
    while high - low > 1e-5:
        middle = (low + high) / 2
        held = np.mean([frame.coverage(math.exp(middle), widen=widen) for frame in frames])
        low, high = (low, middle) if held >= 0.9 else (middle, high)
    return math.exp(high)


def coverage(truth: NDArray, image: NDArray, sigma: NDArray) -> float:
    r"""Return the share of pixels whose truth lies within :math:`\pm 1.645\,\sigma` of the image (nominal 0.9)."""
    return float(np.mean(np.abs(truth - image) <= Z90 * sigma))
