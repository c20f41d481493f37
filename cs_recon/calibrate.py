"""Calibrate a network's uncertainty on frames that training did not see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import make_batch
from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from cs_recon.batch import ScanBatch
    from cs_recon.networks import NetworkOutput
    from cs_recon.training_data import Pair

Z90 = 1.6449
"""Half-width of the central 90 % interval of a normal distribution, in standard deviations."""

RATIOS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Sampling ratios at which sigma is calibrated."""

SMALLEST_FACTOR = 1e-6
"""A network without error, as on full scans without noise, gets this factor: none may be zero."""


@dataclass(frozen=True)
class SigmaCalibration:
    """The factor on a network's sigma by sampling ratio, linear in its logarithm between the calibrated ones.

    Examples
    --------
    >>> SigmaCalibration((0.01, 1.0), (2.0, 1.0)).at(0.1)
    1.5
    """

    ratios: tuple[float, ...] = (1.0,)
    factors: tuple[float, ...] = (1.0,)

    def at(self, ratio: float) -> float:
        """Return the factor at a sampling ratio."""
        return float(np.interp(np.log(ratio), np.log(self.ratios), self.factors))

    def times(self, factor: float) -> SigmaCalibration:
        """Return the calibration with every factor multiplied."""
        return SigmaCalibration(self.ratios, tuple(factor * each for each in self.factors))

    def as_dict(self) -> dict[str, list[float]]:
        """Return it as a plain dictionary, for weight files."""
        return {"ratios": list(self.ratios), "factors": [float(f"{factor:.5g}") for factor in self.factors]}

    @classmethod
    def of(cls, record: object) -> SigmaCalibration:
        """Read what `as_dict` wrote; the factor is 1 where nothing was (None)."""
        if record is None:
            return cls()
        try:
            ratios, factors = (tuple(map(float, record[name])) for name in ("ratios", "factors"))  # pyright: ignore[reportIndexIssue]
        except (KeyError, TypeError, ValueError):
            raise InputError(f"the sigma calibration is {record!r}; expected its ratios and factors") from None
        rising = all(before < after for before, after in pairwise((0.0, *ratios, math.inf)))
        if not (len(ratios) == len(factors) > 0 and rising and all(0 < factor < math.inf for factor in factors)):
            raise InputError(
                f"the sigma calibration is {record!r}; expected rising positive ratios and as many positive factors"
            )
        return cls(ratios, factors)


def calibrate_sigma(
    run: Callable[[ScanBatch], NetworkOutput],
    pairs: Callable[[float], Iterable[Pair]],
    *,
    multiple: int,
    device: torch.device | str = "cpu",
) -> SigmaCalibration:
    r"""Return the factors on sigma with which 90 % of the pixels lie within :math:`\pm 1.645\,\sigma` at each ratio.

    Every frame counts alike: a factor is the 90 % quantile of the error over :math:`1.645\,\sigma`, pooled over
    equally many pixels of each (split conformal calibration with a normalised score).

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
    factors: list[float] = []
    for ratio in RATIOS:
        scores: list[NDArray] = []
        with torch.inference_mode():
            for pair in pairs(ratio):
                batch = make_batch([pair.scan], multiple=multiple, device=device)
                out = run(batch)
                rows, cols = pair.scan.shape
                image = batch.denormalise(out.image)[0, 0].cpu().numpy()
                sigma = (out.log_sigma[0, 0, :rows, :cols].double().exp() * batch.scale[0, 0]).cpu().numpy()
                score = np.abs(image - pair.clean) / (Z90 * sigma)
                # Cut to one number of pixels a frame, evenly spread.
                scores.append(np.quantile(score, np.linspace(0, 1, 2001)))
        factors.append(max(SMALLEST_FACTOR, float(np.quantile(np.concatenate(scores), 0.9))))
    return SigmaCalibration(RATIOS, tuple(factors))


def coverage(truth: NDArray, image: NDArray, sigma: NDArray) -> float:
    r"""Return the share of pixels whose truth lies within :math:`\pm 1.645\,\sigma` of the image (nominal 0.9)."""
    return float(np.mean(np.abs(truth - image) <= Z90 * sigma))
