"""Reconstruction of least total variation: piecewise constant images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from cs_recon.admm import admm
from cs_recon.classical.driver import Plan, log_grid, reconstruct_by
from cs_recon.classical.iterate import Solver, misfit
from cs_recon.reconstruction import Reconstruction, reconstructors
from cs_recon.transforms import differences, differences_adjoint, solve_screened_poisson
from cs_recon.wavelets import soft_threshold
from simulate.errors import check_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from cs_recon.classical.iterate import State
    from cs_recon.operator import MaskedScan
    from simulate.measurement import Measurement

_RHO = 3.0
"""ADMM's penalty parameter in multiples of the weight."""

_BALANCE = 10.0
"""How much more the split of the differences is penalised than that of the image: sets the speed alone."""


@reconstructors.register("tv", "total variation (isotropic or anisotropic) by ADMM")
def tv(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    weight: float | None = None,
    rule: str = "auto",
    weighting: str = "exposure",
    anisotropic: bool = False,
    iterations: int = 150,
    tolerance: float = 2e-4,
) -> list[Reconstruction]:
    r"""Minimise :math:`\tfrac12 \|A x - y\|_W^2 + \lambda \sum_i |(D x)_i|` by ADMM.

    :math:`|(D x)_i|` is the length of the gradient at a pixel, or with `anisotropic` the sum of the absolute
    differences along rows and columns.

    Parameters
    ----------
    measurements : sequence of Measurement
        Scans of one shape.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    weight : float, optional
        :math:`\lambda` in units of the samples' standard deviation. Chosen by `rule` if None.
    rule : {"auto", "discrepancy", "held-out"}
        How to choose, see `automatic`.
    weighting : {"exposure", "variance"}
        Weigh samples by their exposure, or by one over their variance, which the counts tell.
    anisotropic : bool
        Which of the two penalties.
    iterations : int
        At most this many at the final weight.
    tolerance : float
        Stop when an iteration changes the image by less than this share of its norm.

    Returns
    -------
    list of Reconstruction
        With the objective of every iteration at the final weight in ``trace["objective"]``.

    References
    ----------
    Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 60, 259 (1992),
    https://doi.org/10.1016/0167-2789(92)90242-F. By splitting: Goldstein, Osher, "The split Bregman method for
    L1-regularized problems", SIAM J. Imaging Sci. 2, 323 (2009), https://doi.org/10.1137/080725891.
    """
    check_kind(anisotropic, "anisotropic", bool)
    plan = Plan("tv", "weight", log_grid(3.0, 1e-3, 11), "discrepancy")
    return reconstruct_by(
        plan, tv_solver(anisotropic=anisotropic), measurements, device=device, value=weight, rule=rule,
        iterations=iterations, tolerance=tolerance, weighting=weighting, info={"anisotropic": anisotropic},
    )  # fmt: skip


def tv_solver(*, anisotropic: bool) -> Solver:
    r"""Return the solver of `tv`.

    ADMM on :math:`K = (I; \sqrt b D)`: the image and its differences are both split off, so that the linear step is a
    division in the cosine basis.
    """
    root = _BALANCE**0.5

    def penalty(d: Tensor) -> Tensor:
        return d.abs().sum(dim=(1, 2, 3)) if anisotropic else d.norm(dim=1).sum(dim=(1, 2))

    def solver(scan: MaskedScan, y: Tensor, parameter: Tensor, start: State) -> Iterator[tuple[State, Tensor]]:
        rho = _RHO * parameter

        def analysis(x: Tensor) -> Tensor:
            return torch.cat([x, root * differences(x)], dim=1)

        def update(q: Tensor) -> Tensor:
            return solve_screened_poisson(q[:, :1] + root * differences_adjoint(q[:, 1:]), _BALANCE)

        def prox(z: Tensor) -> Tensor:
            image, d = scan.prox_l2(z[:, :1], y, 1 / rho), z[:, 1:]
            limit = parameter / (rho * root)
            if anisotropic:
                return torch.cat([image, soft_threshold(d, limit)], dim=1)
            length = d.norm(dim=1, keepdim=True)
            return torch.cat([image, d * (F.relu(length - limit) / length.clamp(min=1e-30))], dim=1)

        for state, transformed in admm(start, analysis, update, prox, rho):
            yield state, misfit(scan, state[0], y) + parameter.flatten() * penalty(transformed[:, 1:] / root)

    return solver
