"""What all regularised solvers share: batch, parameter, final solve, and the results with their provenance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from cs_recon.batch import ScanBatch, make_batch
from cs_recon.classical.automatic import choose, continuation
from cs_recon.classical.iterate import Solver, run, usable, warn_diverged
from cs_recon.device import pick_device
from cs_recon.noise_models import batch_variance, precision_weights
from cs_recon.operator import MaskedScan
from cs_recon.reconstruction import Reconstruction, result
from simulate.errors import InputError, check_count, check_positive, check_within, nearest_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from simulate.measurement import Measurement

RULES = ("discrepancy", "held-out")
WEIGHTINGS = ("exposure", "variance")
LARGEST_PARAMETER = 1e30
"""Single precision holds no more."""


@dataclass(frozen=True)
class Plan:
    """How a method is run.

    Attributes
    ----------
    name : str
        The method's.
    parameter : str
        What the method calls its regularisation parameter.
    grid : tuple of float
        Parameters to walk down, from large to small, evenly spaced in the logarithm.
    rule : str
        How the parameter is chosen by default.
    walk_iterations : int
        Iterations at each parameter of the walk.
    multiple, margin : int
        Sides are padded to a multiple, and by a margin, of pixels that were not scanned.
    """

    name: str
    parameter: str
    grid: tuple[float, ...]
    rule: str
    walk_iterations: int = 20
    multiple: int = 1
    margin: int = 0


def log_grid(largest: float, smallest: float, count: int) -> tuple[float, ...]:
    """Return `count` values from large to small, evenly spaced in the logarithm."""
    step = math.log(smallest / largest) / (count - 1)
    return tuple(largest * math.exp(step * index) for index in range(count))


def depth(shape: tuple[int, int], most: int) -> int:
    """Return how many wavelet levels suit a frame: its smaller side over at least 4 coefficients, at most `most`."""
    return max(1, min(most, int(math.log2(min(shape))) - 2))


def reconstruct_by(
    plan: Plan,
    solver: Solver,
    measurements: Sequence[Measurement],
    *,
    device: str,
    value: float | None,
    rule: str,
    iterations: int,
    tolerance: float,
    weighting: str = "exposure",
    info: dict[str, object] | None = None,
) -> list[Reconstruction]:
    """Reconstruct scans of one shape by a solver, its parameter given or chosen by `rule` ("auto": the plan's)."""
    if value is not None:
        check_positive(value, plan.parameter, "it is relative to the samples' standard deviation")
        check_within(value, plan.parameter, 1 / LARGEST_PARAMETER, LARGEST_PARAMETER)
    check_count(iterations, "iterations", 1)
    iterations = int(iterations)
    check_within(tolerance, "tolerance")
    rule = plan.rule if rule == "auto" else _one_of(rule, "rule", RULES)
    _one_of(weighting, "weighting", WEIGHTINGS)
    scans = list(measurements)
    with torch.inference_mode():
        batch = _padded(make_batch(scans, multiple=plan.multiple, device=pick_device(device)), plan.margin)
        scan, noise = _data_term(scans, batch, weighting)
        walk = plan.grid, plan.walk_iterations
        if value is None:
            parameter, x = choose(solver, scan, batch.y, noise, rule=rule, walk=walk)
        else:
            parameter = batch.y.new_full((len(scans), 1, 1, 1), value)
            x = continuation(solver, scan, batch.y, batch.x0, parameter, walk)
        solution = run(solver(scan, batch.y, parameter, (x,)), batch.y, iterations, tolerance)
        images = batch.denormalise(usable(solution, batch.y))[:, 0].cpu().numpy()
        parameters, taken, diverged = (
            t.flatten().tolist() for t in (parameter, solution.iterations, solution.diverged)
        )
    results = []
    for index, measurement in enumerate(scans):
        used: dict[str, object] = {
            **(info or {}),
            plan.parameter: parameters[index],
            "rule": rule if value is None else "given",
            "iterations": taken[index],
            "diverged": diverged[index],
        }
        if diverged[index]:
            warn_diverged(plan.name, measurement.name)
        trace = solution.trace(index)
        results.append(result(measurement, images[index], plan.name, trace=trace, info=used))
    return results


def _one_of(value: str, name: str, known: Sequence[str]) -> str:
    if value not in known:
        raise InputError(f"{name} is {value!r}{nearest_name(str(value), known)}; expected auto or {' or '.join(known)}")
    return value


def _padded(batch: ScanBatch, margin: int) -> ScanBatch:
    """Pad by pixels that were not scanned, across which periodic borders meet."""
    if margin == 0:
        return batch
    sides = (0, margin, 0, margin)
    weights = None if batch.scan.weights is None else F.pad(batch.scan.weights, sides)
    sigma, x0 = (F.pad(tensor, sides, mode="replicate") for tensor in (batch.sigma, batch.x0))
    scan = MaskedScan(F.pad(batch.scan.mask, sides), weights)
    return replace(batch, y=F.pad(batch.y, sides), scan=scan, sigma=sigma, x0=x0, smooth=None)


def _data_term(scans: list[Measurement], batch: ScanBatch, weighting: str) -> tuple[MaskedScan, Tensor]:
    """Return the operator with its weights, and the root mean square of the weighted noise of each scan's samples."""
    mask = batch.scan.mask
    # Smoothed: weights that follow the noise of the samples themselves would favour the low ones.
    signal = F.avg_pool2d(batch.x0, 5, stride=1, padding=2, count_include_pad=False)
    variance = batch_variance(scans, batch, signal)
    weights = precision_weights(mask, variance) if weighting == "variance" else batch.scan.weights
    weighted = mask * variance if weights is None else mask * weights * variance
    noise = (weighted.sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))).sqrt()
    return MaskedScan(mask, weights), noise
