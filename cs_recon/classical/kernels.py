"""Covariance kernels of a Gaussian process and their parameters from clusters of neighbouring samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from torch import Tensor

KERNELS = ("matern12", "matern32", "matern52", "gaussian")

LENGTHS_PX = tuple(float(x) for x in np.geomspace(0.7, 45, 13))
SILLS = (0.3, 0.6, 1.0, 2.0)
"""Candidates for the variance of the process, in units of the samples'."""

NOISES = (0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
"""Candidates for an unknown noise's standard deviation, in units of the samples', beside the estimate from them."""

CLUSTERS, CLUSTER = 16, 64


@dataclass(frozen=True, eq=False)
class KernelFit:
    """The most likely parameters of each scan of a batch.

    Attributes
    ----------
    kind : tuple of str
        Name of the kernel of each scan.
    length_px, variance, noise : Tensor, shape (B, 1, 1, 1)
        The length, the variance of the process, and the noise's standard deviation where it was unknown.
    """

    kind: tuple[str, ...]
    length_px: Tensor
    variance: Tensor
    noise: Tensor


def kernel(kind: str, distance: Tensor) -> Tensor:
    r"""Return the correlation at a distance :math:`d` in units of the length.

    :math:`e^{-d}`, :math:`(1 + \sqrt3 d) e^{-\sqrt3 d}`, :math:`(1 + \sqrt5 d + 5 d^2 / 3) e^{-\sqrt5 d}` (Matérn of
    order 1/2, 3/2, 5/2), or :math:`e^{-d^2/2}`.

    Examples
    --------
    >>> kernel("gaussian", torch.tensor([0.0, 2.0]))
    tensor([1.0000, 0.1353])
    """
    if kind == "gaussian":
        return torch.exp(-0.5 * distance**2)
    if kind == "matern12":
        return torch.exp(-distance)
    # Beyond some hundred lengths nothing is left, where polynomials of single precision end, infinity times zero.
    scaled = distance.clamp(max=1e4) * (3**0.5 if kind == "matern32" else 5**0.5)
    polynomial = 1 + scaled if kind == "matern32" else 1 + scaled + scaled**2 / 3
    return polynomial * torch.exp(-scaled)


def most_likely(
    y: Tensor, mask: Tensor, variance: Tensor, known: Tensor, *,
    kind: str | None = None, length_px: float | None = None, seed: int = 0,
) -> KernelFit:  # fmt: skip
    r"""Return the kernel and parameters that maximise a composite likelihood of each scan's samples.

    Clusters of 64 neighbouring samples about random centres are taken for independent draws of the process, so that the
    likelihood is a product of small Gaussian densities; candidates are a grid of kind, length, variance and, where it
    is unknown, noise.

    Parameters
    ----------
    y, mask, variance : Tensor, shape (B, 1, H, W)
        Samples, where they are, and the variance of their noise, told or estimated.
    known : Tensor of bool, shape (B,)
        Whether that variance is to be believed.
    kind, length_px : optional
        A kernel or length that is given.
    seed : int
        Of the cluster's centres.

    References
    ----------
    Vecchia, "Estimation and model identification for continuous spatial processes", J. R. Stat. Soc. B 50, 297 (1988),
    https://doi.org/10.1111/j.2517-6161.1988.tb01729.x.
    """
    fits = [_fit_one(y[i, 0], mask[i, 0], variance[i, 0], bool(known[i]), kind, length_px, seed) for i in range(len(y))]
    numbers = torch.tensor([fit[1:] for fit in fits], dtype=y.dtype, device=y.device)[:, :, None, None, None]
    return KernelFit(tuple(fit[0] for fit in fits), numbers[:, 0], numbers[:, 1], numbers[:, 2])


def _fit_one(
    y: Tensor, mask: Tensor, variance: Tensor, known: bool, kind: str | None, length_px: float | None, seed: int
) -> tuple[str, float, float, float]:
    points = np.argwhere(mask.cpu().numpy() > 0)
    size = min(CLUSTER, len(points))
    centres = np.random.default_rng(seed).choice(len(points), min(CLUSTERS, len(points)), replace=False)
    members = np.asarray(KDTree(points).query(points[centres], k=size)[1]).reshape(-1, size)
    at = torch.from_numpy(points[members]).to(y.device)
    values, noise = (x[at[..., 0], at[..., 1]].double() for x in (y, variance))
    distance = torch.cdist(at.double(), at.double())
    eye = torch.eye(size, dtype=torch.float64, device=y.device)
    best = (-torch.inf, "matern32", length_px or 4.0, 1.0, 0.1)
    noises = [None] if known else [*NOISES, float(noise.mean()) ** 0.5]
    sills = torch.tensor(SILLS, dtype=torch.float64, device=y.device)[:, None, None, None]
    for name in KERNELS if kind is None else (kind,):
        for length in LENGTHS_PX if length_px is None else (length_px,):
            correlation = kernel(name, distance / length)
            for sd in noises:
                diagonal = noise if sd is None else torch.full_like(noise, sd**2)
                covariance = sills * correlation + (diagonal.clamp(min=1e-4)[..., None] + 1e-6) * eye
                likelihood = _log_likelihood(covariance, values)
                top = int(likelihood.argmax())
                if float(likelihood[top]) > best[0]:
                    best = (float(likelihood[top]), name, length, float(SILLS[top]), sd or 0.0)
    return best[1:]


def _log_likelihood(covariance: Tensor, values: Tensor) -> Tensor:
    """Return the log-likelihood (S,) of clusters of values (C, N) with mean 0 and covariances (S, C, N, N)."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    white = torch.linalg.solve_triangular(factor, values[..., None].expand(*covariance.shape[:-1], 1), upper=False)
    logdet = factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=(-1, -2))
    total = -0.5 * white.square().sum(dim=(-1, -2, -3)) - logdet
    return torch.where((failed > 0).any(dim=-1), -torch.inf, total)
