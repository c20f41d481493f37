"""The alternating direction method of multipliers, for any transform and any penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

State = tuple["Tensor", ...]


def admm(
    start: State,
    analysis: Callable[[Tensor], Tensor],
    update: Callable[[Tensor], Tensor],
    prox: Callable[[Tensor], Tensor],
    rho: Tensor | float,
    *,
    relaxation: float = 1.6,
) -> Iterator[tuple[State, Tensor]]:
    r"""Yield the iterates of ADMM for :math:`\min_x f(x) + g(K x)`, without end: the caller decides when to stop.

    With the split :math:`z = K x` and the multiplier :math:`w`, one iteration is

    .. math::
        x &\leftarrow \arg\min_x f(x) + \tfrac{\rho}{2} \|K x - (z - w/\rho)\|^2 \\
        z &\leftarrow \mathrm{prox}_{g/\rho}(h + w/\rho), \quad h = \alpha K x + (1 - \alpha) z \\
        w &\leftarrow w + \rho (h - z)

    Parameters
    ----------
    start : tuple of Tensor
        ``(x,)``, or the last state of another run (perhaps with another :math:`\rho`), to go on from there.
    analysis : callable
        :math:`K`.
    update : callable
        From :math:`q = z - w/\rho` to the minimiser :math:`x`. Where :math:`K^T K = I` this is
        :math:`\mathrm{prox}_{f/\rho}(K^T q)`.
    prox : callable
        :math:`\mathrm{prox}_{g/\rho}`.
    rho : Tensor or float
        Penalty parameter; decides how fast, not where to.
    relaxation : float
        :math:`\alpha` in (0, 2).

    Yields
    ------
    state : tuple of Tensor
        ``(x, z, w)``.
    transformed : Tensor
        :math:`K x`.

    References
    ----------
    Boyd, Parikh, Chu, Peleato, Eckstein, "Distributed optimization and statistical learning via the alternating
    direction method of multipliers", Found. Trends Mach. Learn. 3, 1 (2011), https://doi.org/10.1561/2200000016.
    """
    if len(start) == 3:
        _, z, w = start
    else:
        z = analysis(start[0])
        w = z * 0
    while True:
        x = update(z - w / rho)
        transformed = analysis(x)
        h = relaxation * transformed + (1 - relaxation) * z
        z = prox(h + w / rho)
        w = w + rho * (h - z)
        yield (x, z, w), transformed
