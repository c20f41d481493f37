"""Denoising of a full scan: the rival of a sparse one at equal dose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import make_batch
from cs_recon.classical.block_matching import bm3d
from cs_recon.classical.gaussian_process import regress
from cs_recon.device import pick_device
from cs_recon.noise import usual_exposures
from cs_recon.noise_levels import with_noise
from cs_recon.noise_models import (
    generalised_anscombe,
    inverse_generalised_anscombe,
    inverse_stabilised_above,
    stabilised_above,
)
from cs_recon.reconstruction import Reconstruction, reconstructors, result
from simulate.errors import check_positive

if TYPE_CHECKING:
    from simulate.measurement import Measurement

SMALLEST_NOISE = 1e-3


@reconstructors.register_each(
    "full-scan", "denoise a full scan (BM3D on stabilised counts); pixels without a sample are filled first"
)
def full_scan_denoise(measurement: Measurement, *, device: str = "auto", noise: float | None = None) -> Reconstruction:
    r"""Denoise a scan of every pixel, for comparing a fast full scan with a sparse one of the same dose.

    Counts are stabilised to noise of variance 1 by the generalised Anscombe transformation, denoised by BM3D and
    brought back by the exact unbiased inverse. Without counts the noise is taken for Gaussian, of the standard
    deviation that the measurement knows; if it knows none, it is estimated by level (`noise_levels.with_noise`) and
    stabilised alike. Exposures that differ from pixel to pixel count by their harmonic mean.

    It is meant for full scans. Pixels that were not scanned are filled first by the posterior mean of a Gaussian
    process, which is smooth where the samples are noisy, so that on a sparse scan this is no more than that method with
    a denoiser behind it; ``info["filled"]`` tells the share.

    Parameters
    ----------
    measurement : Measurement
        The scan.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    noise : float, optional
        Standard deviation of the noise that BM3D removes: in the unit of the values, everywhere the same, or, where the
        counts are known, in units of the stabilised noise, which is 1. Of noise estimated by level,
        ``info["noise"]`` tells that of the commonest level.

    References
    ----------
    Mäkitalo, Foi, "Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise", IEEE TIP
    22, 91 (2013), https://doi.org/10.1109/TIP.2012.2202675.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import Measurement
    >>> counts = np.random.default_rng(0).poisson(20.0, (32, 32))
    >>> scan = Measurement(counts, np.ones((32, 32), bool), counts_per_unit=1.0)
    >>> bool(np.abs(full_scan_denoise(scan).image - 20).mean() < 0.5)
    True
    """
    if noise is not None:
        check_positive(noise, "noise")
    known = with_noise(measurement)
    batch = make_batch([known], multiple=1, device=pick_device(device))
    # The variance of a value goes with one over its exposure: so does the exposure that stands for all.
    exposure = float(1 / np.mean(1 / usual_exposures(measurement)))
    read_noise = known.read_noise / exposure**0.5
    by_level = measurement.counts_per_unit is None and noise is None
    counts = known.counts_per_unit if by_level else measurement.counts_per_unit
    arguments = None if counts is None else (counts * exposure, known.black_level, read_noise)
    forward = stabilised_above if by_level else generalised_anscombe
    back = inverse_stabilised_above if by_level else inverse_generalised_anscombe
    with torch.inference_mode():
        image = batch.y
        if not measurement.mask.all():
            image = torch.where(batch.scan.mask > 0, batch.y, regress([measurement], batch).mean)
        if arguments is None:
            removed = read_noise if noise is None else noise
            sigma = max(removed / float(batch.scale), SMALLEST_NOISE)
            denoised = batch.denormalise(bm3d(image, torch.full_like(batch.noise, sigma)))
        else:
            sigma = 1.0 if noise is None else noise
            removed = read_noise if by_level else sigma
            stabilised = forward(batch.denormalise(image), *arguments)
            centre = stabilised.mean()
            clean = bm3d((stabilised - centre).float(), torch.full_like(batch.noise, sigma)).double() + centre
            denoised = back(clean, *arguments)
    info = {"noise": removed, "stabilised": arguments is not None, "filled": 1 - measurement.ratio}
    return result(measurement, denoised[0, 0].cpu().numpy(), "full-scan", info=info)
