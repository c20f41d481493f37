"""A sparse approximate inverse of a covariance of scattered samples, to precondition its systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial import KDTree

from cs_recon.classical.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NEIGHBOURS = 24
CHUNK = 16384


@dataclass(frozen=True, eq=False)
class Vecchia:
    r"""The factor :math:`G` of :math:`(M K M^T + N)^{-1} \approx G^T G`, sparse and triangular.

    Row :math:`i` holds the weights by which sample :math:`i` is foretold from its nearest samples before it (in
    row-major order), divided by the standard deviation of the error.

    Attributes
    ----------
    columns : Tensor of int, shape (B, N, m)
        Pixel (row-major) of the entries of each row; rows beyond a scan's samples, and columns beyond its
        neighbours, have zero entries.
    entries : Tensor, shape (B, N, m)

    References
    ----------
    Vecchia, "Estimation and model identification for continuous spatial processes", J. R. Stat. Soc. B 50, 297 (1988),
    https://doi.org/10.1111/j.2517-6161.1988.tb01729.x.
    Kolotilina, Yeremin, "Factorized sparse approximate inverse preconditionings I", SIAM J. Matrix Anal. Appl. 14, 45
    (1993), https://doi.org/10.1137/0614004.
    """

    columns: Tensor
    entries: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply :math:`G^T G` to images (B, 1, H, W) that are zero off the samples."""
        flat = x.flatten(1)
        columns = self.columns.flatten(1)
        foretold = (flat.gather(1, columns).reshape(self.entries.shape) * self.entries).sum(-1, keepdim=True)
        spread = (self.entries * foretold).flatten(1)
        return torch.zeros_like(flat).scatter_add(1, columns, spread).reshape(x.shape)

    def repeated(self, count: int) -> Vecchia:
        """Return the factor of a batch that is `count` times this one's."""
        return Vecchia(self.columns.repeat(count, 1, 1), self.entries.repeat(count, 1, 1))


def vecchia(kinds: Sequence[str], length_px: Tensor, sill: Tensor, mask: Tensor, variance: Tensor) -> Vecchia:
    """Return the factor for kernels (a kind, length and variance for each scan), masks and noise (B, 1, H, W)."""
    factors = [
        _one(kind, float(length), float(v), mask[i, 0], variance[i, 0])
        for i, (kind, length, v) in enumerate(zip(kinds, length_px, sill, strict=True))
    ]
    # To one shape: rows for the scan with most samples, and where one has fewer samples than neighbours, columns.
    rows, cols = (max(entries.shape[axis] for _, entries in factors) for axis in (0, 1))
    padded = [
        [torch.nn.functional.pad(x, (0, cols - x.shape[1], 0, rows - x.shape[0])) for x in factor] for factor in factors
    ]
    columns, entries = (torch.stack(parts) for parts in zip(*padded, strict=True))
    return Vecchia(columns, entries)


def _one(kind: str, length: float, sill: float, mask: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    points = np.argwhere(mask.cpu().numpy() > 0)
    near = np.asarray(KDTree(points).query(points, k=min(2 * NEIGHBOURS, len(points)))[1]).reshape(len(points), -1)
    # Earlier neighbours first, nearest first among them; then the sample itself fills the places that are left.
    own = np.arange(len(points))[:, None]
    order = np.argsort(near >= own, axis=1, kind="stable")[:, :NEIGHBOURS]
    chosen = np.take_along_axis(near, order, axis=1)
    earlier = torch.from_numpy(np.hstack([chosen < own, np.ones_like(own, bool)])).to(mask.device)
    chosen = torch.from_numpy(np.hstack([np.where(chosen < own, chosen, own), own])).to(mask.device)
    where = torch.from_numpy(points).to(mask.device)
    noise = variance[where[:, 0], where[:, 1]].double()
    entries = [
        _rows(kind, length, sill, where[part].double(), noise[part], used)
        for part, used in zip(chosen.split(CHUNK), earlier.split(CHUNK), strict=True)
    ]
    pixels = where[:, 0] * mask.shape[1] + where[:, 1]
    return pixels[chosen], torch.cat(entries).to(variance.dtype)


def _rows(kind: str, length: float, sill: float, at: Tensor, noise: Tensor, used: Tensor) -> Tensor:
    r"""Return the rows of the factor: :math:`\Sigma_i^{-1} e_i` over the root of its last entry."""
    eye = torch.eye(at.shape[1], dtype=at.dtype, device=at.device)
    difference = at[:, :, None] - at[:, None]
    covariance = sill * kernel(kind, difference.square().sum(-1).sqrt() / length) + noise[:, :, None] * eye
    both = used[:, :, None] & used[:, None]
    covariance = torch.where(both, covariance, eye)
    factor = torch.linalg.cholesky(covariance + 1e-7 * sill * eye)
    last = torch.zeros_like(noise)[..., None]
    last[:, -1] = 1
    solution = torch.cholesky_solve(last, factor)[..., 0]
    return torch.where(used, solution / solution[:, -1:].sqrt(), 0.0)
