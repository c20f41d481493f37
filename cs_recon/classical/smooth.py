"""The smoothest image that explains the samples: constrained least squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cs_recon.classical.driver import Plan, log_grid, reconstruct_by
from cs_recon.classical.iterate import misfit
from cs_recon.linear_estimate import conjugate_gradients
from cs_recon.reconstruction import Reconstruction, reconstructors
from cs_recon.transforms import laplacian_eigenvalues

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from cs_recon.classical.iterate import State
    from cs_recon.operator import MaskedScan
    from simulate.measurement import Measurement


@reconstructors.register("cls", "smoothness: constrained least squares with the Laplacian by conjugate gradients")
def cls(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    smoothness: float | None = None,
    rule: str = "auto",
    iterations: int = 200,
    tolerance: float = 1e-4,
) -> list[Reconstruction]:
    r"""Minimise :math:`\tfrac12 \|A x - y\|_W^2 + \tfrac{\lambda}{2} \|L x\|^2` by conjugate gradients.

    :math:`L` is the Laplacian with Neumann borders, diagonal in the cosine basis, in which the system with the mask
    replaced by its mean is solved in closed form: the preconditioner.

    Parameters
    ----------
    measurements : sequence of Measurement
        Scans of one shape.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    smoothness : float, optional
        :math:`\lambda`. Chosen by `rule` if None.
    rule : {"auto", "discrepancy", "held-out"}
        How to choose, see `automatic`.
    iterations : int
        At most this many at the final smoothness.
    tolerance : float
        Stop when an iteration changes the image by less than this share of its norm.

    Returns
    -------
    list of Reconstruction
        With the objective of every iteration at the final smoothness in ``trace["objective"]``.

    References
    ----------
    Hunt, "The application of constrained least squares estimation to image restoration by digital computer", IEEE
    Trans. Comput. C-22, 805 (1973), https://doi.org/10.1109/TC.1973.5009169.
    """
    plan = Plan("cls", "smoothness", log_grid(100.0, 1e-4, 13), "discrepancy", walk_iterations=30)
    return reconstruct_by(
        plan, solve_smooth, measurements, device=device, value=smoothness, rule=rule, iterations=iterations,
        tolerance=tolerance,
    )  # fmt: skip


def solve_smooth(scan: MaskedScan, y: Tensor, parameter: Tensor, start: State) -> Iterator[tuple[State, Tensor]]:
    r"""Yield the iterates of preconditioned conjugate gradients for :math:`(A^T W A + \lambda L^2) x = A^T W y`."""
    # Beyond this a mode is gone: more would only bring the rounding of single precision in.
    penalty = (parameter * laplacian_eigenvalues(y) ** 2).clamp(max=1e6)
    for x, penalised in conjugate_gradients(scan, y, penalty, start[0]):
        yield (x,), misfit(scan, x, y) + 0.5 * (x * penalised).sum(dim=(1, 2, 3))
