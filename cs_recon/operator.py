"""The measurement operator of a sparse scan, under every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class MaskedScan:
    r"""Keep the scanned pixels: :math:`A x = m \odot x`, on batches of images (B, 1, H, W).

    Data stay on the frame's grid with zeros where nothing was scanned, so :math:`A = A^T = A^\dagger` and
    :math:`\|A\| = 1`. Method names are deepinv's.

    Parameters
    ----------
    mask : Tensor of float, shape (B, 1, H, W)
        1 where the pixel was scanned, 0 elsewhere.
    weights : Tensor, shape (B, 1, H, W), optional
        Statistical weight of each sample in (0, 1], for scans whose dwell differs by pixel; 1 if None.
    """

    mask: Tensor
    weights: Tensor | None = None

    def A(self, x: Tensor) -> Tensor:
        """Scan the image `x`."""
        return self.mask * x

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint to data `y`."""
        return self.mask * y

    def A_dagger(self, y: Tensor) -> Tensor:
        """Apply the pseudo-inverse to data `y`: the zero-filled image."""
        return self.mask * y

    def gradient(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Return :math:`A^T W (A x - y)`, the gradient of :math:`\tfrac12 \|A x - y\|_W^2`."""
        residual = self.A(x) - y
        return self.A_adjoint(residual if self.weights is None else self.weights * residual)

    def prox_l2(self, x: Tensor, y: Tensor, gamma: Tensor | float) -> Tensor:
        r"""Return :math:`\arg\min_z \tfrac{\gamma}{2} \|A z - y\|_W^2 + \tfrac12 \|z - x\|^2`."""
        weight = gamma * (self.mask if self.weights is None else self.mask * self.weights)
        return (x + weight * y) / (1 + weight)
