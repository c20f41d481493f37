"""Sparse reconstruction by FISTA with an orthogonal wavelet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import make_batch
from cs_recon.device import pick_device
from cs_recon.ista import fista, shrink
from cs_recon.noise import estimate_noise
from cs_recon.reconstruction import Reconstruction, register_each, result
from cs_recon.wavelets import OrthogonalWavelet
from simulate.errors import InputError, check_positive

if TYPE_CHECKING:
    from cs_recon.batch import ScanBatch
    from simulate.measurement import Measurement

WARM_ITERATIONS = 15
SMALLEST_THRESHOLD = 1 / 512
REFINEMENTS = 3


@register_each("fista", "l1 norm of an orthogonal wavelet by FISTA, threshold by the discrepancy principle")
def fista_wavelet(
    measurement: Measurement,
    *,
    device: str = "cpu",
    wavelet: str = "sym4",
    threshold: float | None = None,
    iterations: int = 150,
    tolerance: float = 2e-4,
) -> Reconstruction:
    r"""Minimise :math:`\tfrac12 \|A x - y\|_W^2 + \lambda \|\Psi x\|_1` by FISTA.

    Parameters
    ----------
    measurement : Measurement
        The scan.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    wavelet : str
        An orthogonal wavelet of PyWavelets.
    threshold : float, optional
        :math:`\lambda` in units of the samples' standard deviation. If None it is halved from 1, a few iterations
        each, until the residual falls to the noise (discrepancy principle; the noise is told by the counts or
        estimated), or to 1/512; the solution then starts from there.
    iterations : int
        At most this many iterations at the final threshold.
    tolerance : float
        Stop when an iteration changes the image by less than this share of its norm.

    Returns
    -------
    Reconstruction
        With the objective of every iteration at the final threshold in ``trace["objective"]``.
    """
    if iterations < 1:
        raise InputError(f"iterations is {iterations}; expected 1 or more")
    if threshold is not None:
        check_positive(threshold, "threshold", "it is in units of the samples' standard deviation")
    levels = max(1, min(5, int(np.log2(min(measurement.shape))) - 2))
    transform = OrthogonalWavelet(wavelet, levels)
    batch = make_batch([measurement], multiple=2**levels, device=pick_device(device))
    noise = _rms_noise(measurement, batch)
    x = batch.x0
    with torch.inference_mode():
        if threshold is None:
            threshold = 1.0
            x, _ = _solve(batch, transform, x, threshold, WARM_ITERATIONS, tolerance)
            while threshold > SMALLEST_THRESHOLD and _residual(batch, x) > noise:
                threshold /= 2
                x, _ = _solve(batch, transform, x, threshold, WARM_ITERATIONS, tolerance)
            # The last halving may have gone far below the noise: go back by quarters of it.
            for _ in range(REFINEMENTS if threshold < 1 else 0):
                larger = threshold * 2 ** (1 / (REFINEMENTS + 1))
                tried, _ = _solve(batch, transform, x, larger, WARM_ITERATIONS, tolerance)
                if _residual(batch, tried) > noise:
                    break
                x, threshold = tried, larger
        x, objective = _solve(batch, transform, x, threshold, iterations, tolerance)
        image = batch.denormalise(x)[0, 0].cpu().numpy()
    info = {"wavelet": wavelet, "threshold": threshold, "iterations": len(objective)}
    return result(measurement, image, "fista", trace={"objective": objective}, info=info)


def _solve(
    batch: ScanBatch, transform: OrthogonalWavelet, x: torch.Tensor, threshold: float, iterations: int, tolerance: float
) -> tuple[torch.Tensor, list[float]]:
    """Run FISTA to its stopping rule and return the last iterate and the objective's trace."""
    prox = shrink(transform, [threshold] * transform.levels)
    trace: list[float] = []
    previous = x
    iterates = fista(x, lambda point: batch.scan.gradient(point, batch.y), prox)
    for new, _ in zip(iterates, range(iterations), strict=False):
        misfit = 0.5 * float((batch.scan.gradient(new, batch.y) * (batch.scan.A(new) - batch.y)).sum())
        details = transform.analysis(new)[1:]
        trace.append(misfit + threshold * sum(float(band.abs().sum()) for band in details))
        change = float((new - previous).norm() / new.norm().clamp(min=1e-12))
        previous = new
        if change < tolerance:
            break
    return previous, trace


def _residual(batch: ScanBatch, x: torch.Tensor) -> float:
    """Root mean square of the residual over the samples, normalised units."""
    misfit = batch.scan.A(x) - batch.y
    return float((misfit.square().sum() / batch.scan.mask.sum()).sqrt())


def _rms_noise(measurement: Measurement, batch: ScanBatch) -> float:
    if not measurement.noise_is_known:
        return estimate_noise(measurement) / float(batch.scale)
    return float(((batch.scan.mask * batch.sigma.square()).sum() / batch.scan.mask.sum()).sqrt())
