"""Run an iterative solver on a batch of scans until each has converged, with a trace and a guard against divergence."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from cs_recon.operator import MaskedScan

State = tuple[Tensor, ...]
"""What a solver carries from one iteration to the next: the images (B, 1, H, W) first."""

Solver = Callable[[MaskedScan, Tensor, Tensor, State], Iterator[tuple[State, Tensor]]]
"""From operator, samples, parameter (B, 1, 1, 1) and a state to start from (or the images alone), to the states after
each iteration with the objective of each scan (B,), without end."""

CHECK_EVERY = 5
"""Iterations between looks at whether all scans are done, which make a GPU wait."""

DIVERGED = 100.0
"""An objective that grows to this many times that of the start, or of the zero image, has diverged."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Where a solver came to.

    Attributes
    ----------
    x : Tensor, shape (B, 1, H, W)
        Each scan's image when it converged; that of the lowest objective where it diverged.
    state : tuple of Tensor
        The solver's last state, to go on from.
    objective : Tensor, shape (K, B)
        Of each iteration.
    iterations : Tensor of int, shape (B,)
        How many each scan took.
    diverged : Tensor of bool, shape (B,)
    """

    x: Tensor
    state: State
    objective: Tensor
    iterations: Tensor
    diverged: Tensor

    def trace(self, index: int) -> dict[str, list[float]]:
        """Return the objective of one scan over its iterations."""
        return {"objective": self.objective[: int(self.iterations[index]), index].tolist()}


def run(iterates: Iterator[tuple[State, Tensor]], y: Tensor, iterations: int, tolerance: float) -> Solution:
    """Take iterates until every scan's image changes by less than `tolerance` of its norm, or `iterations` are done.

    A scan that is done keeps its state while others of the batch go on, so that a batch gives what each scan gives by
    itself. A scan whose objective grows beyond bounds or is not finite stops with its best image.

    Parameters
    ----------
    iterates : iterator of (state, objective)
        See `Solver`.
    y : Tensor, shape (B, 1, H, W)
        The samples, for the scale of the objective.
    iterations : int
        At least 1.
    tolerance : float
        Of the relative change, at least 0.
    """
    state, objective = next(iterates)
    kept = state
    x = best = state[0]
    limit = DIVERGED * torch.maximum(objective, _zero_objective(y)).nan_to_num(0)
    diverged = ~objective.isfinite() | (objective > limit)
    done = diverged
    lowest = objective.nan_to_num(torch.inf)
    taken = torch.ones_like(objective, dtype=torch.int64)
    trace = [objective]
    for count, (state, objective) in enumerate(islice(iterates, min(iterations - 1, sys.maxsize)), start=2):
        trace.append(objective)
        state = tuple(torch.where(_per_image(done, part), old, part) for old, part in zip(kept, state, strict=True))
        kept = state
        new = state[0]
        change, size = (new - x).norm(dim=(-1, -2)).flatten(), new.norm(dim=(-1, -2)).flatten()
        x = torch.where(_per_image(done, new), x, new)
        taken = taken + ~done
        better = ~done & (objective < lowest)
        lowest = torch.where(better, objective, lowest)
        best = torch.where(_per_image(better, new), new, best)
        diverged = diverged | (~done & ~(objective <= limit))
        done = done | diverged | (change <= tolerance * size.clamp(min=1e-12))
        if count % CHECK_EVERY == 0 and bool(done.all()):
            break
    x = torch.where(_per_image(diverged, x), best, x)
    return Solution(x, state, torch.stack(trace), taken, diverged)


def usable(solution: Solution, y: Tensor) -> Tensor:
    """Return the images (B, 1, H, W), but zero for one that diverged before any iterate was better than that."""
    lowest = solution.objective.nan_to_num(torch.inf).amin(dim=0)
    lost = solution.diverged & ~(lowest <= _zero_objective(y))
    return torch.where(_per_image(lost, y), 0.0, solution.x)


def warn_diverged(method: str, name: str) -> None:
    """Warn in one line that a solver diverged on a scan."""
    warnings.warn(
        f"{method} diverged on {name}; the image is its best iterate: give a smaller step or leave it out",
        stacklevel=2,
    )


def misfit(scan: MaskedScan, x: Tensor, y: Tensor) -> Tensor:
    r"""Return :math:`\tfrac12 \|A x - y\|_W^2` of each scan, (B,)."""
    return 0.5 * (scan.gradient(x, y) * (scan.A(x) - y)).sum(dim=(1, 2, 3))


def _zero_objective(y: Tensor) -> Tensor:
    """Return the objective of the zero image, or slightly more where samples have weights, (B,)."""
    return 0.5 * y.square().sum(dim=(1, 2, 3))


def _per_image(flags: Tensor, like: Tensor) -> Tensor:
    return flags.reshape(-1, *[1] * (like.ndim - 1))
