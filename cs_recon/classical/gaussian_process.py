"""Gaussian-process regression (kriging) on the pixel grid: posterior mean and standard deviation by FFTs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from cs_recon.batch import make_batch
from cs_recon.classical.kernels import KERNELS, kernel, most_likely
from cs_recon.classical.vecchia import vecchia
from cs_recon.device import pick_device
from cs_recon.noise_models import batch_variance
from cs_recon.reconstruction import Reconstruction, reconstructors, result
from simulate.errors import InputError, check_count, check_positive, check_within, nearest_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cs_recon.batch import ScanBatch
    from cs_recon.classical.kernels import KernelFit
    from cs_recon.classical.vecchia import Vecchia
    from simulate.measurement import Measurement

SMALLEST_NOISE = 0.01
"""Floor of the noise's standard deviation in units of the samples': single precision can solve down to there."""

MARGIN = 128
"""The torus is wider than the frame by this many pixels, so that opposite borders hardly see each other."""


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    r"""A stationary Gaussian process on a torus of pixels, seen through a mask with noise.

    With the spectrum :math:`S` of its covariance :math:`K = F^* S F`, the mask :math:`M` and the noise's variance
    :math:`N`, the posterior mean of data :math:`y` is :math:`K M^T (M K M^T + N)^{-1} y`.

    Attributes
    ----------
    spectrum : Tensor, shape (B, 1, P, Q // 2 + 1)
        Eigenvalues of the covariance on the torus of P x Q pixels.
    mask, variance : Tensor, shape (B, 1, H, W)
        1 where there is a sample; the variance of its noise.
    precondition : Vecchia
        A sparse approximate inverse of the samples' covariance.
    torus : (int, int)
        P and Q, at least H and W.
    """

    spectrum: Tensor
    mask: Tensor
    variance: Tensor
    precondition: Vecchia
    torus: tuple[int, int]

    def covariance(self, x: Tensor) -> Tensor:
        """Apply the covariance of the process on the frame to images (B, 1, H, W)."""
        full = torch.fft.irfft2(torch.fft.rfft2(x, s=self.torus) * self.spectrum, s=self.torus)
        return full[..., : x.shape[-2], : x.shape[-1]]

    def system(self, x: Tensor) -> Tensor:
        """Apply the covariance of the samples, noise included."""
        return self.mask * (self.covariance(self.mask * x) + self.variance * x)

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw `count` images of the prior for each scan, and noisy data of each: both (count B, 1, H, W).

        Scans of a batch share their random numbers, so that each gets what it would get by itself.
        """
        rows, cols = self.mask.shape[-2:]
        white = torch.randn((count, 1, 1, *self.torus), generator=generator).to(self.spectrum)
        field = torch.fft.irfft2(torch.fft.rfft2(white) * self.spectrum.sqrt()[None], s=self.torus)[..., :rows, :cols]
        noise = torch.randn((count, 1, 1, rows, cols), generator=generator).to(field) * self.variance.sqrt()[None]
        return field.flatten(0, 1), (self.mask * (field + noise)).flatten(0, 1)

    def repeated(self, count: int) -> GaussianProcess:
        """Return the process of a batch that is `count` times this one's."""
        spectrum, mask, variance = (x.repeat(count, 1, 1, 1) for x in (self.spectrum, self.mask, self.variance))
        return GaussianProcess(spectrum, mask, variance, self.precondition.repeated(count), self.torus)


@dataclass(frozen=True, eq=False)
class Regression:
    """A Gaussian process fitted to scans, all in the units of their batch.

    Attributes
    ----------
    mean : Tensor, shape (B, 1, H, W)
        The posterior mean.
    process : GaussianProcess
        The process, with the noise of the samples.
    fit : KernelFit
        Its parameters.
    residuals : Tensor, shape (steps + 1, B)
        Relative residuals of the conjugate gradients.
    """

    mean: Tensor
    process: GaussianProcess
    fit: KernelFit
    residuals: Tensor


@reconstructors.register("gp", "Gaussian process with a Matérn or Gaussian kernel: posterior mean and sd by FFTs")
def gaussian_process(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    kind: str | None = None,
    length_px: float | None = None,
    samples: int = 12,
    iterations: int = 60,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> list[Reconstruction]:
    r"""Reconstruct by Gaussian-process regression, which in geostatistics is called kriging.

    The image is taken for a stationary Gaussian process about the samples' mean with covariance
    :math:`v\,k(|p - q| / \ell)` whose samples have noise of known variance each (from the counts, at a first guess of
    the signal) or, where nothing is known of it, of one variance estimated with the rest. The kernel's products are
    FFTs on a torus wider than the frame; the linear system is solved by conjugate gradients, preconditioned by the
    sparse factor of `vecchia.Vecchia`. The standard deviation is that of posterior samples: draw an image and its
    noisy data from the prior, and correct it by the posterior mean of what its data miss of the measured ones.

    Parameters
    ----------
    measurements : sequence of Measurement
        Scans of one shape.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    kind : {"matern12", "matern32", "matern52", "gaussian"}, optional
        The kernel; the most likely one if None.
    length_px : float, optional
        :math:`\ell` in pixels; the most likely one if None. Kind, length, variance :math:`v` and unknown noise
        maximise the likelihood of clusters of neighbouring samples taken for independent (composite likelihood).
    samples : int
        Posterior samples for the standard deviation, 0 for none of it; an odd number is rounded up. Its relative error
        is a little below :math:`1/\sqrt{2 n}`, thanks to a slight smoothing of the variance.
    iterations : int
        At most this many conjugate-gradient steps.
    tolerance : float
        Stop when the residual falls to this share of the data's norm.
    seed : int
        Of the posterior samples and the clusters.

    Returns
    -------
    list of Reconstruction
        With the relative residual of every step in ``trace["residual"]``.

    References
    ----------
    Rasmussen, Williams, Gaussian Processes for Machine Learning, MIT Press (2006).
    Wilson, Nickisch, "Kernel interpolation for scalable structured Gaussian processes (KISS-GP)", ICML 2015.
    Dietrich, Newsam, "Fast and exact simulation of stationary Gaussian processes through circulant embedding of the
    covariance matrix", SIAM J. Sci. Comput. 18, 1088 (1997), https://doi.org/10.1137/S1064827592240555.
    Papandreou, Yuille, "Gaussian sampling by local perturbations", NIPS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import measure, scan_path
    >>> frame = np.sin(np.add.outer(np.arange(32.0), np.arange(32.0)) / 5)
    >>> scan = measure(frame, scan_path("random", (32, 32), 0.3, rng=0))
    >>> bool(np.abs(gaussian_process([scan])[0].image - frame).mean() < 0.02)
    True
    """
    if kind is not None and kind not in KERNELS:
        raise InputError(f"kind is {kind!r}{nearest_name(str(kind), KERNELS)}; expected one of {', '.join(KERNELS)}")
    if length_px is not None:
        check_positive(length_px, "length_px")
    check_count(samples, "samples")
    check_count(iterations, "iterations", 1)
    check_count(seed, "seed")
    check_within(check_positive(tolerance, "tolerance"), "tolerance", high=0.5)
    samples, iterations, seed = 2 * -(-int(samples) // 2), int(iterations), int(seed)  # they are drawn in pairs
    batch = make_batch(list(measurements), multiple=1, device=pick_device(device))
    generator = torch.Generator().manual_seed(seed % 2**63)
    with torch.inference_mode():
        found = regress(
            measurements, batch, kind=kind, length_px=length_px, iterations=iterations, tolerance=tolerance, seed=seed
        )
        fit, variance, residuals = found.fit, found.process.variance, found.residuals
        # Scans of a batch that were done earlier waited for the others.
        steps = (residuals > tolerance).sum(dim=0).clamp(max=len(residuals) - 1).tolist()
        images = batch.denormalise(found.mean).cpu().numpy()
        sds = None
        if samples:
            sds = (posterior_sd(found.process, samples, iterations, tolerance, generator) * batch.scale).cpu().numpy()
    return [
        result(
            m,
            images[i, 0],
            "gp",
            sigma=None if sds is None else sds[i, 0],
            trace={"residual": residuals[: steps[i] + 1, i].tolist()},
            info={
                "kind": fit.kind[i],
                "length_px": float(fit.length_px[i]),
                "sd": float(fit.variance[i].sqrt() * batch.scale[i]),
                "noise": float(variance[i].mean().sqrt() * batch.scale[i]),
                "iterations": steps[i],
                "samples": samples,
            },
        )
        for i, m in enumerate(measurements)
    ]


def regress(
    measurements: Sequence[Measurement], batch: ScanBatch, *,
    kind: str | None = None, length_px: float | None = None, iterations: int = 60, tolerance: float = 1e-3,
    seed: int = 0,
) -> Regression:  # fmt: skip
    """Fit a Gaussian process to the scans of a batch and return its posterior mean, in the batch's units.

    The noise of single counts told by themselves would trust the low ones most: all samples get the mean variance
    first, and then that of the first posterior mean.
    """
    mask = batch.scan.mask
    known = torch.tensor([m.noise_is_known for m in measurements], device=mask.device)[:, None, None, None]
    variance = (mask * batch.sigma**2).sum((1, 2, 3), keepdim=True) / mask.sum((1, 2, 3), keepdim=True)
    variance = variance.expand_as(mask)
    fit = most_likely(batch.y, mask, variance, known.flatten(), kind=kind, length_px=length_px, seed=seed)
    variance = torch.where(known, variance, fit.noise**2).clamp(min=SMALLEST_NOISE**2)
    data = mask * batch.y
    process = make_process(fit.kind, fit.length_px, fit.variance, mask, variance)
    weights, residuals = conjugate_gradients(process, data, iterations, tolerance)
    mean = process.covariance(weights)
    if bool(known.any()):
        # No count is nearly without noise where the signal only seems to be 0.
        at_mean = torch.maximum(batch_variance(measurements, batch, mean), 0.1 * variance)
        process = make_process(fit.kind, fit.length_px, fit.variance, mask, torch.where(known, at_mean, variance))
        weights, residuals = conjugate_gradients(process, data, iterations, tolerance)
        mean = process.covariance(weights)
    return Regression(mean, process, fit, residuals)


def make_process(
    kinds: Sequence[str], length_px: Tensor, sill: Tensor, mask: Tensor, variance: Tensor
) -> GaussianProcess:
    """Return the process of kernels (one kind, length (B, 1, 1, 1) and variance `sill` each) on a torus."""
    torus = tuple(_fast_size(side + MARGIN) for side in mask.shape[-2:])
    lags = [torch.minimum(torch.arange(n), n - torch.arange(n)).to(mask) for n in torus]
    distance = (lags[0][:, None] ** 2 + lags[1][None] ** 2).sqrt()
    spectra = [
        torch.fft.rfft2(float(v) * kernel(kind, distance / float(length))).real.clamp(min=0)
        for kind, length, v in zip(kinds, length_px, sill, strict=True)
    ]
    near = vecchia(kinds, length_px, sill, mask, variance)
    return GaussianProcess(torch.stack(spectra)[:, None], mask, variance, near, (torus[0], torus[1]))


def conjugate_gradients(
    process: GaussianProcess, y: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    r"""Solve :math:`(M K M^T + N) w = y` for each image of a batch.

    Returns
    -------
    w : Tensor, shape (B, 1, H, W)
    residuals : Tensor, shape (steps + 1, B)
        :math:`\|y - (M K M^T + N) w\| / \|y\|` before each step and at the end.

    References
    ----------
    Hestenes, Stiefel, "Methods of conjugate gradients for solving linear systems", J. Res. NBS 49, 409 (1952),
    https://doi.org/10.6028/jres.049.044.
    """
    size = _dot(y, y).sqrt().clamp(min=1e-12)
    w, r = torch.zeros_like(y), y
    z = process.precondition(r)
    direction, old = z, _dot(r, z)
    residuals = [(_dot(r, r).sqrt() / size).flatten()]
    for _ in range(iterations):
        if bool((residuals[-1] <= tolerance).all()):
            break
        image = process.system(direction)
        # A scan that is done rests: its step is 0, so that a batch gives what each scan gives by itself.
        going = (residuals[-1] > tolerance)[:, None, None, None]
        step = torch.where(going, old / _dot(direction, image).clamp(min=1e-30), 0.0)
        w, r = w + step * direction, r - step * image
        z = process.precondition(r)
        new = _dot(r, z)
        direction = torch.where(going, z + new / old.clamp(min=1e-30) * direction, direction)
        old = torch.where(going, new, old)
        residuals.append((_dot(r, r).sqrt() / size).flatten())
    return w, torch.stack(residuals)


def posterior_sd(
    process: GaussianProcess, count: int, iterations: int, tolerance: float, generator: torch.Generator
) -> Tensor:
    """Return the posterior standard deviation (B, 1, H, W), from `count` samples of the posterior."""
    squares = torch.zeros_like(process.mask)
    several = process.repeated(2)
    for _ in range(-(-count // 2)):
        field, data = process.sample(2, generator)
        weights, _ = conjugate_gradients(several, data, iterations, tolerance)
        squares += (field - several.covariance(weights)).square().unflatten(0, (2, -1)).sum(0)
    variance = squares / (2 * -(-count // 2))
    blur = variance.new_tensor([0.25, 0.5, 0.25])
    smooth = F.pad(variance, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(smooth, torch.outer(blur, blur)[None, None]).sqrt()


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(dim=(-1, -2), keepdim=True)


def _fast_size(size: int) -> int:
    """Return the smallest even number of at least `size` with no prime factor above 5."""
    size += size % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
