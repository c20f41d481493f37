"""Plug-and-play reconstruction: a denoiser in place of the regulariser of half-quadratic splitting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from cs_recon.batch import make_batch
from cs_recon.classical.block_matching import filter_groups, match_blocks
from cs_recon.classical.gaussian_process import regress
from cs_recon.device import pick_device
from cs_recon.reconstruction import Reconstruction, reconstructors, result
from simulate.errors import InputError, check_count, check_positive, check_within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from simulate.measurement import Measurement

    Denoiser = Callable[[Tensor, Tensor], Tensor]

REMATCH_EVERY = 4
SENSIBLE = (1e-6, 1e6)
"""Limits of sigma and trust, far beyond what serves, within which single precision can tell the terms apart."""
FIRST, LAST = 1.0, 0.25
"""Strength of the denoiser at the first and the last iteration, in units of the samples' noise."""

SMALLEST_FIRST, SMALLEST_LAST = 0.1, 0.01
"""Least strengths, in units of the samples' standard deviation: what was not scanned is uncertain without noise too."""


@reconstructors.register("pnp", "plug-and-play: half-quadratic splitting with a block-matching denoiser (BM3D)")
def plug_and_play(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    denoiser: Denoiser | None = None,
    sigmas: tuple[float, float] | None = None,
    trust: float = 0.25,
    iterations: int = 16,
) -> list[Reconstruction]:
    r"""Reconstruct by alternating a data step and a denoiser of falling strength :math:`\sigma_k`.

    .. math::

        z_k &= \arg\min_z \tfrac12 \|A z - y\|_V^2 + \tfrac{\lambda}{2 \sigma_k^2} \|z - x_{k-1}\|^2 \\
        x_k &= \mathrm{denoise}(z_k, \sigma_k)

    with the variance :math:`V` of the noise of each sample. It starts from the posterior mean of a Gaussian process
    (see `gaussian_process`); :math:`\sigma_k` falls from 1 to 1/4 of the samples' noise, evenly in the logarithm.

    Parameters
    ----------
    measurements : sequence of Measurement
        Scans of one shape.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    denoiser : callable, optional
        ``denoiser(images, sigma)`` from images (B, 1, H, W) and the noise's standard deviation (B, 1, 1, 1) to images;
        both are normalised so that the samples have mean 0 and variance 1. If None, hard thresholding of groups of
        similar blocks (the first pass of BM3D), which are matched anew every fourth iteration.
    sigmas : (float, float), optional
        :math:`\sigma` of the first and the last iteration in units of the samples' standard deviation; from the noise
        if None, and not below 0.1 and 0.01.
    trust : float
        :math:`\lambda`: more trusts the denoiser more and the samples less.
    iterations : int
        How many.

    Returns
    -------
    list of Reconstruction
        With the relative change of each iteration in ``trace["change"]`` and the root mean square of the residual, in
        units of the noise, in ``trace["residual"]``.

    References
    ----------
    Venkatakrishnan, Bouman, Wohlberg, "Plug-and-play priors for model based reconstruction", GlobalSIP 2013,
    https://doi.org/10.1109/GlobalSIP.2013.6737048.
    Zhang et al., "Plug-and-play image restoration with deep denoiser prior", IEEE TPAMI 44, 6360 (2022),
    https://doi.org/10.1109/TPAMI.2021.3088914.
    """
    if denoiser is not None and not callable(denoiser):
        raise InputError(f"denoiser is {denoiser!r}; expected a function of images and sigma, or None for BM3D")
    if sigmas is not None:
        if not isinstance(sigmas, tuple | list) or len(sigmas) != 2:
            raise InputError(f"sigmas is {sigmas!r}; expected two numbers, of the first and the last iteration")
        for value in sigmas:
            check_positive(value, "sigmas", "they are in units of the samples' standard deviation")
            check_within(value, "sigmas", *SENSIBLE)
    check_within(check_positive(trust, "trust"), "trust", *SENSIBLE)
    check_count(iterations, "iterations", 1)
    iterations = int(iterations)
    batch = make_batch(list(measurements), multiple=1, device=pick_device(device))
    mask, y = batch.scan.mask, batch.y
    changes, residuals = [], []
    with torch.inference_mode():
        start = regress(measurements, batch)
        x, variance = start.mean, start.process.variance
        if sigmas is None:
            samples = mask.sum(dim=(-1, -2), keepdim=True)
            noise = ((mask * variance).sum(dim=(-1, -2), keepdim=True) / samples).sqrt()
            first, last = (FIRST * noise).clamp(min=SMALLEST_FIRST), (LAST * noise).clamp(min=SMALLEST_LAST)
        else:
            first, last = (torch.full_like(batch.noise, value) for value in sigmas)
        denoise = denoiser or BlockDenoiser()
        for step in range(iterations):
            sigma = first * (last / first) ** (step / max(1, iterations - 1))
            weight = trust * variance / sigma.square()
            z = torch.where(mask > 0, (y + weight * x) / (1 + weight), x)
            new = denoise(z, sigma)
            changes.append(_norm(new - x) / _norm(new).clamp(min=1e-12))
            residuals.append(_norm(mask * (new - y) / variance.sqrt()) / _norm(mask))
            x = new
        images = batch.denormalise(x).cpu().numpy()
    change, residual = torch.stack(changes).cpu(), torch.stack(residuals).cpu()
    return [
        result(
            m,
            images[i, 0],
            "pnp",
            trace={"change": change[:, i].tolist(), "residual": residual[:, i].tolist()},
            info={
                "sigmas": (float(first[i]), float(last[i])),
                "trust": trust,
                "iterations": iterations,
                "denoiser": "bm3d" if denoiser is None else getattr(denoiser, "__name__", type(denoiser).__name__),
            },
        )
        for i, m in enumerate(measurements)
    ]


class BlockDenoiser:
    """Hard thresholding of groups of similar blocks, which are matched anew every few calls only.

    Holds the groups between calls: one object serves one reconstruction.
    """

    def __init__(self, every: int = REMATCH_EVERY) -> None:
        self.every, self.calls, self.groups = every, 0, None

    def __call__(self, image: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images (B, 1, H, W) of noise `sigma` (B, 1, 1, 1)."""
        if self.groups is None or self.calls % self.every == 0:
            self.groups = match_blocks(image)
        self.calls += 1
        return filter_groups(image, self.groups, sigma)


def _norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)
