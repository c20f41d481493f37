"""Calibrate a network's uncertainty on frames that training did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import make_batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from cs_recon.unrolled import UnrolledISTA
    from simulate.measurement import Measurement

Z90 = 1.6449
"""Half-width of the central 90 % interval of a normal distribution, in standard deviations."""


def sigma_temperature(
    network: UnrolledISTA, pairs: Iterable[tuple[Measurement, NDArray]], *, device: torch.device | str = "cpu"
) -> float:
    r"""Return the factor on sigma with which 90 % of the pixels of `pairs` lie within :math:`\pm 1.645\,\sigma`.

    Every frame counts alike: the factor is the 90 % quantile of the error over :math:`1.645\,\sigma`, pooled over
    equally many pixels of each (split conformal calibration with a normalised score).

    References
    ----------
    Angelopoulos, Bates, "A gentle introduction to conformal prediction", Found. Trends Mach. Learn. 16, 494 (2023),
    https://doi.org/10.1561/2200000101.
    """
    ratios: list[NDArray] = []
    with torch.inference_mode():
        for measurement, clean in pairs:
            batch = make_batch([measurement], multiple=network.config.multiple, device=device)
            out = network(batch)
            rows, cols = measurement.shape
            image = batch.denormalise(out.image)[0, 0].cpu().numpy()
            sigma = (out.log_sigma[0, 0, :rows, :cols].double().exp() * batch.scale[0, 0]).cpu().numpy()
            ratio = np.abs(image - clean) / (Z90 * sigma)
            # Cut to one number of pixels a frame, evenly spread.
            ratios.append(np.quantile(ratio, np.linspace(0, 1, 2001)))
    return float(np.quantile(np.concatenate(ratios), 0.9))


def coverage(truth: NDArray, image: NDArray, sigma: NDArray) -> float:
    r"""Return the share of pixels whose truth lies within :math:`\pm 1.645\,\sigma` of the image (nominal 0.9)."""
    return float(np.mean(np.abs(truth - image) <= Z90 * sigma))
