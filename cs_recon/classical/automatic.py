r"""Regularisation parameters from the scan itself, since a user has no ground truth.

Both rules walk down a grid of parameters, each solution starting from the one before (a "continuation"), for all scans
of a batch at once, and from a flat image at the largest: a better guess, not yet smoothed after a few iterations, would
pass for its solution:

- *discrepancy*: the parameter at which the residual falls to the noise, :math:`\|A x - y\|_W^2 = N \sigma^2`;
- *held-out*: that which best predicts a tenth of the samples from the others.

References
----------
Morozov, "On the solution of functional equations by the method of regularization", Soviet Math. Dokl. 7, 414 (1966).
Hale, Yin, Zhang, "Fixed-point continuation for l1-minimization", SIAM J. Optim. 19, 1107 (2008),
https://doi.org/10.1137/070698920.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from cs_recon.classical.iterate import Solution, Solver, State, misfit, run, usable
from cs_recon.operator import MaskedScan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

HELD_OUT_SHARE = 0.1
FEWEST_SAMPLES = 40
"""Scans of fewer have no samples to spare: the discrepancy principle decides."""

PAST_THE_BEST = 2
"""Grid steps after the lowest held-out error at which the walk stops."""

_TOLERANCE = 1e-4


def choose(
    solver: Solver,
    scan: MaskedScan,
    y: Tensor,
    noise: Tensor,
    *,
    rule: str,
    walk: tuple[Sequence[float], int],
) -> tuple[Tensor, Tensor]:
    """Choose a parameter for each scan by a rule.

    Parameters
    ----------
    solver : Solver
        See `iterate.Solver`.
    scan, y : MaskedScan, Tensor
        Operator and samples (B, 1, H, W).
    noise : Tensor, shape (B,)
        Root mean square of the weighted noise of the samples.
    rule : {"discrepancy", "held-out"}
        How to choose; scans of fewer than `FEWEST_SAMPLES` samples go by discrepancy in any case.
    walk : (sequence of float, int)
        Parameters from large to small, evenly spaced in the logarithm, and the iterations at each.

    Returns
    -------
    parameter : Tensor, shape (B, 1, 1, 1)
    x : Tensor, shape (B, 1, H, W)
        The walk's image at the grid's nearest parameter, to start from.
    """
    few = scan.mask.sum(dim=(1, 2, 3)) < FEWEST_SAMPLES
    if rule == "held-out" and not bool(few.all()):
        parameter, x = _by_held_out(solver, scan, y, walk)
        if not bool(few.any()):
            return parameter, x
        other, started = _by_discrepancy(solver, scan, y, noise, walk)
        chosen = few[:, None, None, None]
        return torch.where(chosen, other, parameter), torch.where(chosen, started, x)
    return _by_discrepancy(solver, scan, y, noise, walk)


def continuation(
    solver: Solver, scan: MaskedScan, y: Tensor, x0: Tensor, parameter: Tensor, walk: tuple[Sequence[float], int]
) -> Tensor:
    """Return the images after walking down the grid to each scan's own parameter (B, 1, 1, 1)."""
    grid, iterations = walk
    state = (x0,)
    smallest = float(parameter.min())
    for value in grid:
        state = _go_on(run(solver(scan, y, parameter.clamp(min=value), state), y, iterations, _TOLERANCE), y)
        if value <= smallest:
            break
    return state[0]


def held_out(mask: Tensor, share: float = HELD_OUT_SHARE, seed: int = 0) -> Tensor:
    """Return the mask (B, 1, H, W) of the samples to hold out, `share` of each scan's, drawn from a fixed seed."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(mask.shape[-2:], generator=generator, dtype=torch.float64).to(mask.device)
    scores = torch.where(mask > 0, draw, torch.inf).flatten(1)
    count = (mask.flatten(1).sum(dim=1) * share).round().long().clamp(max=mask[0].numel() - 1)
    limit = scores.sort(dim=1).values.gather(1, count[:, None])
    return mask * (scores < limit).reshape(mask.shape)


def residual(scan: MaskedScan, x: Tensor, y: Tensor) -> Tensor:
    """Return the root mean square of the weighted residual over the samples of each scan, (B,)."""
    return (2 * misfit(scan, x, y) / scan.mask.sum(dim=(1, 2, 3)).clamp(min=1)).sqrt()


def _by_discrepancy(
    solver: Solver, scan: MaskedScan, y: Tensor, noise: Tensor, walk: tuple[Sequence[float], int]
) -> tuple[Tensor, Tensor]:
    grid, iterations = walk
    state, residuals, images = (torch.zeros_like(y),), [], []
    for value in grid:
        solution = run(solver(scan, y, _full(value, y), state), y, iterations, _TOLERANCE)
        state = _go_on(solution, y)
        images.append(usable(solution, y))
        residuals.append(residual(scan, images[-1], y))
        if bool((residuals[-1] <= noise).all()):
            break
    position = _crossing(torch.stack(residuals), noise)
    return _at(position, grid, y), _pick(images, position)


def _by_held_out(
    solver: Solver, scan: MaskedScan, y: Tensor, walk: tuple[Sequence[float], int]
) -> tuple[Tensor, Tensor]:
    grid, iterations = walk
    kept_back = held_out(scan.mask)
    kept, test = MaskedScan(scan.mask - kept_back, scan.weights), MaskedScan(kept_back, scan.weights)
    y_kept, y_test = kept.A(y), test.A(y)
    state, errors, images = (torch.zeros_like(y),), [], []
    for value in grid:
        solution = run(solver(kept, y_kept, _full(value, y), state), y_kept, iterations, _TOLERANCE)
        state = _go_on(solution, y_kept)
        images.append(usable(solution, y_kept))
        errors.append(misfit(test, images[-1], y_test))
        if bool(_past_the_best(torch.stack(errors))[-1].all()):
            break
    # Others of the batch may have kept the walk going: each scan's ends where it would have ended alone.
    all_errors = torch.stack(errors)
    ended = torch.cat([torch.zeros_like(all_errors[:1], dtype=torch.bool), _past_the_best(all_errors)[:-1]])
    position = _lowest(torch.where(ended, torch.inf, all_errors))
    return _at(position, grid, y), _pick(images, position)


def _past_the_best(errors: Tensor) -> Tensor:
    """Return, for errors (G, B), at which grid steps the walk of each scan is, or was before, past its best."""
    steps = torch.arange(len(errors), device=errors.device)[:, None]
    lowest = errors.cummin(dim=0).indices
    return (steps - lowest >= PAST_THE_BEST).int().cummax(dim=0).values.bool()


def _crossing(residuals: Tensor, noise: Tensor) -> Tensor:
    """Return the position on the grid at which falling residuals (G, B) first meet the noise (B,)."""
    below = residuals <= noise
    last = len(residuals) - 1
    first = torch.where(below.any(dim=0), below.int().argmax(dim=0), last)
    before = (first - 1).clamp(min=0)
    high, low = (residuals.gather(0, index[None])[0] for index in (before, first))
    share = torch.where(high > low, (high - noise) / (high - low).clamp(min=1e-30), 1.0).clamp(0, 1)
    return before + share * (first - before)


def _lowest(errors: Tensor) -> Tensor:
    """Return the position on the grid of the lowest of errors (G, B), by a parabola through it and its neighbours."""
    best = errors.argmin(dim=0)
    if len(errors) < 3:
        return best.to(errors.dtype)
    middle = best.clamp(1, len(errors) - 2)
    left, centre, right = (errors.gather(0, (middle + step)[None])[0] for step in (-1, 0, 1))
    curvature = left - 2 * centre + right
    shift = torch.where(
        (curvature > 0) & curvature.isfinite(), 0.5 * (left - right) / curvature.clamp(min=1e-30), 0.0
    ).clamp(-0.5, 0.5)
    return best + torch.where(middle == best, shift, 0.0)


def _at(position: Tensor, grid: Sequence[float], like: Tensor) -> Tensor:
    """Return the parameters at positions (B,) between the values of the grid, as (B, 1, 1, 1)."""
    logs = torch.log(like.new_tensor(list(grid)))
    lower = position.floor().long().clamp(max=len(grid) - 1)
    upper = (lower + 1).clamp(max=len(grid) - 1)
    return torch.exp(torch.lerp(logs[lower], logs[upper], position - lower))[:, None, None, None]


def _go_on(solution: Solution, y: Tensor) -> State:
    """Return the state to start from: the solver's last, or the best images where one diverged."""
    return (usable(solution, y),) if bool(solution.diverged.any()) else solution.state


def _pick(images: list[Tensor], position: Tensor) -> Tensor:
    return torch.stack(images)[position.round().long(), torch.arange(len(position), device=position.device)]


def _full(value: float, like: Tensor) -> Tensor:
    return like.new_full((len(like), 1, 1, 1), value)
