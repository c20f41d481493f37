r"""Iterative shrinkage-thresholding: one step, looped by the solvers here and unrolled by the network.

The problem is :math:`\min_x \tfrac12 \|A x - y\|_W^2 + \lambda \|\Psi x\|_1`.

References
----------
Daubechies, Defrise, De Mol, "An iterative thresholding algorithm for linear inverse problems with a sparsity
constraint", Comm. Pure Appl. Math. 57, 1413 (2004), https://doi.org/10.1002/cpa.20042.
Beck, Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM J. Imaging Sci. 2,
183 (2009), https://doi.org/10.1137/080716542.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from cs_recon.wavelets import soft_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from cs_recon.wavelets import OrthogonalWavelet


def ista_step(
    x: Tensor,
    gradient: Callable[[Tensor], Tensor],
    prox: Callable[[Tensor], Tensor],
    step: Tensor | float,
) -> Tensor:
    r"""Return :math:`\mathrm{prox}(x - t \nabla f(x))`, one step of ISTA."""
    return prox(x - step * gradient(x))


def shrink(wavelet: OrthogonalWavelet, thresholds: Sequence[Tensor | float]) -> Callable[[Tensor], Tensor]:
    r"""Return the proximal operator of :math:`\sum_l t_l \|\Psi_l x\|_1` over the detail levels, coarse to fine.

    The approximation is left alone, since it is not sparse.
    """

    def prox(x: Tensor) -> Tensor:
        approximation, *details = wavelet.analysis(x)
        kept = [soft_threshold(band, t) for band, t in zip(details, thresholds, strict=True)]
        return wavelet.synthesis([approximation, *kept])

    return prox


def ista(
    x: Tensor,
    gradient: Callable[[Tensor], Tensor],
    proxes: Iterable[Callable[[Tensor], Tensor]],
    step: float = 1.0,
) -> Iterator[Tensor]:
    """Yield the iterates of ISTA from `x`, one for each of `proxes`, which may change from step to step, or not end."""
    for prox in proxes:
        x = ista_step(x, gradient, prox, step)
        yield x


def fista(
    x: Tensor,
    gradient: Callable[[Tensor], Tensor],
    prox: Callable[[Tensor], Tensor],
    step: float = 1.0,
) -> Iterator[Tensor]:
    """Yield the iterates of FISTA from `x`, without end: the caller decides when to stop.

    Momentum is reset, for each image of the batch by itself, where it points uphill (O'Donoghue, Candès 2015,
    https://doi.org/10.1007/s10208-013-9150-3).
    """
    previous, ahead = x, x
    t = x.new_ones((len(x), *[1] * (x.ndim - 1)))
    while True:
        new = ista_step(ahead, gradient, prox, step)
        uphill = ((ahead - new) * (new - previous)).flatten(1).sum(dim=1).reshape(t.shape) > 0
        t = torch.where(uphill, 1.0, t)
        t_next = (1 + (1 + 4 * t * t).sqrt()) / 2
        ahead = new + (t - 1) / t_next * (new - previous)
        previous, t = new, t_next
        yield new
