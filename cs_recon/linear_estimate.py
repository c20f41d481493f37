"""The linear estimate of an image from a sparse scan, under a stationary prior, by conjugate gradients."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import torch

from cs_recon.operator import MaskedScan
from cs_recon.transforms import dct2, idct2, laplacian_eigenvalues

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from cs_recon.batch import ScanBatch

CORNER = 0.2
"""Spatial frequency (rad/pixel) beyond which the prior's power falls."""
SMALLEST_VARIANCE = 3e-5
"""Noise variance (of a signal of variance 1) that noise-free samples count as, so that the system can be solved."""

NOISY = 0.05
"""Noise (in standard deviations of the samples) from which on a scan counts as noisy."""
FAST_ITERATIONS = 10
"""Iterations that are nearly enough for noisy scans: what the later ones change is mostly below their noise."""


def conjugate_gradients(scan: MaskedScan, y: Tensor, penalty: Tensor, start: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    r"""Yield the iterates of preconditioned conjugate gradients for :math:`(A^T W A + C^T P C)\,x = A^T W y`.

    :math:`C` is the cosine transform and :math:`P` the diagonal `penalty` on it, so that with the mask replaced by its
    mean :math:`d` the system is solved in closed form: the preconditioner, :math:`z = (d + C^T P C)^{-1} r`. It gives
    the penalty's product for nothing, :math:`C^T P C z = r - d z`: an iteration takes two transforms.

    Parameters
    ----------
    scan : MaskedScan
        The operator, with its weights.
    y : Tensor, shape (B, 1, H, W)
        Samples, zero outside the mask.
    penalty : Tensor, shape (B, 1, H, W) or broadcast to it
        Non-negative weights of the cosine coefficients.
    start : Tensor, shape (B, 1, H, W)
        Where to begin.

    Yields
    ------
    x, penalised : Tensor, shape (B, 1, H, W)
        The iterate, and :math:`C^T P C\,x`, the penalty's gradient there.
    """
    zero = torch.zeros_like(y)
    mean = scan.gradient(torch.ones_like(y), zero).mean(dim=(1, 2, 3), keepdim=True)

    def precondition(r: Tensor) -> Tensor:
        return idct2(dct2(r) / (mean + penalty))

    x, penalised = start, idct2(dct2(start) * penalty)
    r = -scan.gradient(x, y) - penalised
    z = precondition(r)
    p, p_penalised = z, r - mean * z
    product = _dot(r, z)
    while True:
        curved = scan.gradient(p, zero) + p_penalised
        # At the solution the direction vanishes: 0 / 0 is a step of 0.
        step = product / _dot(p, curved).clamp(min=1e-30)
        x, penalised, r = x + step * p, penalised + step * p_penalised, r - step * curved
        z = precondition(r)
        new = _dot(r, z)
        turn = new / product.clamp(min=1e-30)
        p, p_penalised = z + turn * p, r - mean * z + turn * p_penalised
        product = new
        yield x, penalised


@torch.no_grad()
def linear_estimate(
    batch: ScanBatch, iterations: int = 25, *, noisy_iterations: int = 25, all_noisy: bool | None = None
) -> Tensor:
    r"""Return the posterior mean (B, 1, H, W) of a batch's images under one Gaussian prior for all of them.

    .. math:: \hat x = \arg\min_x \sum_{i \in \text{mask}} \frac{(x_i - y_i)^2}{\sigma_i^2} + \sum_k
              \frac{|X_k|^2}{S_k}, \qquad S_k \propto (\mu_k + c^2)^{-2}

    with the cosine coefficients :math:`X_k`, the Laplacian's eigenvalues :math:`\mu_k` (squared spatial frequency) and
    a mean power of 1, the variance to which scans are normalised: a Matern process of smoothness 1, about as rough as
    micrographs. What a batch's `sigma` says of the noise sets how much is smoothed; nothing is chosen by scan.

    Parameters
    ----------
    batch : ScanBatch
        The scans.
    iterations : int
        Conjugate gradients from `ScanBatch.x0`.
    noisy_iterations : int
        The same for scans of at least `NOISY` noise; no more than `iterations`.
    all_noisy : bool, optional
        Whether all scans are that noisy; if None, it is asked of the batch.

    References
    ----------
    Rasmussen, Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, section 4.2.
    """
    told = (batch.y, batch.scan.mask, batch.sigma, batch.noise, batch.x0)
    if batch.y.device.type == "cpu":
        # One by one: some processors round the transforms of several images otherwise than those of one, which the
        # iterations magnify ten thousandfold. Nothing is lost there.
        each = zip(*(part.split(1) for part in told), strict=True)
        return torch.cat([
            _estimate(y, mask, sigma, noise, start, iterations, noisy_iterations, None)
            for y, mask, sigma, noise, start in each
        ])  # fmt: skip
    return _estimate(*told, iterations, noisy_iterations, all_noisy)


def _estimate(
    y: Tensor,
    mask: Tensor,
    sigma: Tensor,
    noise: Tensor,
    start: Tensor,
    iterations: int,
    noisy_iterations: int,
    all_noisy: bool | None,
) -> Tensor:
    variance = noise.square() + SMALLEST_VARIANCE
    scan = MaskedScan(mask, variance / (sigma.square() + SMALLEST_VARIANCE))
    power = (laplacian_eigenvalues(y) + CORNER**2) ** -2
    penalty = variance * power.mean() / power
    estimate = start
    noisy = noise >= NOISY
    # Asked only where it matters and is not known: a GPU stops until it has answered.
    if all_noisy is None:
        all_noisy = noisy_iterations < iterations and bool(noisy.all())
    count = min(noisy_iterations, iterations) if all_noisy else iterations
    for index, (x, _) in enumerate(islice(conjugate_gradients(scan, y, penalty, estimate), count)):
        # Scan by scan, so that the result does not depend on what else is in the batch.
        estimate = x if index < noisy_iterations else torch.where(noisy, estimate, x)
    return estimate


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)
