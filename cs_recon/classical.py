"""Reconstruction without learning: interpolation, and FISTA with an orthogonal wavelet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import gaussian_filter

from cs_recon.batch import make_batch
from cs_recon.device import pick_device
from cs_recon.ista import fista, shrink
from cs_recon.noise import estimate_noise
from cs_recon.reconstruction import Reconstruction, reconstructors
from cs_recon.wavelets import OrthogonalWavelet
from simulate.errors import InputError, check_positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cs_recon.batch import ScanBatch
    from simulate.measurement import Measurement

WARM_ITERATIONS = 15
SMALLEST_THRESHOLD = 1 / 512
REFINEMENTS = 3


@reconstructors.register("nearest", "each pixel takes the value of the nearest sample (scipy)")
def nearest(measurement: Measurement, *, device: str = "cpu", smooth_px: float = 0.0) -> Reconstruction:
    """Nearest-neighbour interpolation; samples are kept as they are. Computed on the CPU.

    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result, for noisy scans.
    """
    return _result(measurement, _smoothed(_nearest(measurement), smooth_px), "nearest")


@reconstructors.register("linear", "linear interpolation between samples, nearest outside their hull (scipy)")
def linear(measurement: Measurement, *, device: str = "cpu", smooth_px: float = 0.0) -> Reconstruction:
    """Piecewise linear interpolation on the Delaunay triangulation of the samples. Computed on the CPU.

    Outside the samples' convex hull, and where they do not span a plane, the nearest sample is taken.
    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result, for noisy scans.
    """
    image = _nearest(measurement)
    missing = np.argwhere(~measurement.mask)
    points = np.argwhere(measurement.mask)
    if len(missing) and np.linalg.matrix_rank(points - points[0]) == 2:
        values = LinearNDInterpolator(points, measurement.samples)(missing)
        inside = np.isfinite(values)
        image[tuple(missing[inside].T)] = values[inside]
    return _result(measurement, _smoothed(image, smooth_px), "linear")


@reconstructors.register("biharmonic", "the smoothest (thin-plate) surface through the samples (scikit-image)")
def biharmonic(measurement: Measurement, *, device: str = "cpu", smooth_px: float = 0.0) -> Reconstruction:
    r"""Biharmonic inpainting: :math:`\Delta^2 x = 0` off the samples. Computed on the CPU.

    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result, for noisy scans.

    References
    ----------
    Damelin, Hoang, "On surface completion and image inpainting by biharmonic functions", Int. J. Math. Math. Sci. 2018,
    3950312, https://doi.org/10.1155/2018/3950312.
    """
    from skimage.restoration import inpaint_biharmonic

    offset, scale = measurement.samples.mean(), measurement.samples.std() or 1.0
    filled = np.where(measurement.mask, (measurement.values - offset) / scale, 0)
    image = inpaint_biharmonic(filled, ~measurement.mask, split_into_regions=False)
    return _result(measurement, _smoothed(image * scale + offset, smooth_px), "biharmonic")


@reconstructors.register("fista", "l1 norm of an orthogonal wavelet by FISTA, threshold by the discrepancy principle")
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
    return _result(measurement, image, "fista", trace={"objective": objective}, info=info)


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


def _smoothed(image: NDArray, smooth_px: float) -> NDArray[np.float64]:
    if not 0 <= smooth_px < np.inf:
        raise InputError(f"smooth_px is {smooth_px}; expected a width in pixels of at least 0")
    return gaussian_filter(image, smooth_px, mode="nearest") if smooth_px else image


def _nearest(measurement: Measurement) -> NDArray[np.float64]:
    image = measurement.values.copy()
    missing = np.argwhere(~measurement.mask)
    if len(missing):
        image[tuple(missing.T)] = NearestNDInterpolator(np.argwhere(measurement.mask), measurement.samples)(missing)
    return image


def _result(
    measurement: Measurement,
    image: NDArray,
    method: str,
    *,
    trace: dict[str, list[float]] | None = None,
    info: dict[str, object] | None = None,
) -> Reconstruction:
    return Reconstruction(
        image.astype(np.float32),
        None,
        method,
        pixel_size_nm=measurement.pixel_size_nm,
        trace=trace or {},
        info=info or {},
        name=measurement.name,
    )
