"""One training loop for every network: resumable, seeded, logged, with averaged weights."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from cs_recon.checkpoint import load_checkpoint, save_checkpoint
from simulate.atomic import make_folder
from simulate.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train.

    Parameters
    ----------
    steps : int
        Optimiser steps in all. May be changed when a run is resumed: the learning rate depends on the share done.
    batch_size : int
        Samples a step.
    learning_rate : float
        Peak learning rate of AdamW: after a linear warm-up it holds, and falls as a cosine over the last part.
    warmup_steps : int
        Steps of the warm-up.
    decay_share : float
        Share of the steps over which the rate falls to zero.
    weight_decay, gradient_clip : float
        AdamW's weight decay, and the largest norm of the gradient.
    average : float
        Decay of the exponential moving average of the weights, which is what is shipped.
    save_every : int
        Steps between checkpoints.
    seed : int
        Seed of the initial weights and of the data.
    """

    steps: int = 10000
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    decay_share: float = 0.35
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    average: float = 0.998
    save_every: int = 100
    seed: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.save_every < 1:
            raise InputError("steps, batch_size and save_every must be at least 1")

    def rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return self.learning_rate * warm * (0.5 - 0.5 * math.cos(math.pi * min(1.0, left)))


def train(
    model: nn.Module,
    losses: Callable[[object], dict[str, Tensor]],
    batches: Callable[[int], Iterable[object]],
    config: LoopConfig,
    folder: str | os.PathLike[str],
    *,
    device: torch.device,
) -> dict[str, Tensor]:
    """Train a model and return its averaged weights; a run that was killed goes on from its last checkpoint.

    Parameters
    ----------
    model : nn.Module
        Trained in place, on `device`.
    losses : callable
        Gives the named losses of one batch; their sum is minimised.
    batches : callable
        Gives the batches from a step on, the same ones for the same step: ``batches(0)`` starts the run.
    config : LoopConfig
        Length, rates, seed.
    folder : path
        Holds ``checkpoint.pt`` and ``log.csv``.
    device : torch.device
        Where to train; bfloat16 arithmetic is used where it is fast (CUDA, and CPUs that have it).

    Returns
    -------
    dict of str to Tensor
        The averaged state dictionary.
    """
    folder = make_folder(folder)
    checkpoint = folder / "checkpoint.pt"
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=config.learning_rate, weight_decay=config.weight_decay
    )
    averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
    start = 0
    if checkpoint.exists():
        start, averaged = _restore(checkpoint, model, optimiser, device)
    log = _Log(folder / "log.csv", start)
    progress = tqdm(total=config.steps, initial=start, unit="step", desc="train", smoothing=0.05)
    model.train()
    for step, batch in zip(range(start, config.steps), batches(start), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        # The detector samples its anchors from torch's global generator: tie it to the step, and leave no trace.
        with torch.random.fork_rng(devices=[]), torch.autocast(device.type, torch.bfloat16, enabled=_fast_bf16(device)):
            torch.manual_seed(config.seed * 1_000_003 + step)
            parts = losses(batch)
            total = torch.stack([part.float() for part in parts.values()]).sum()
        if not torch.isfinite(total):
            raise InputError(f"the loss is {float(total)} at step {step}; lower the learning rate and resume")
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimiser.step()
        _average(averaged, model, min(config.average, (step + 1) / (step + 10)))
        log.add(step, config.rate(step), parts)
        progress.update()
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            progress.set_postfix_str(log.flush())
            state = {
                "step": step + 1,
                "model": model.state_dict(),
                "averaged": averaged,
                "optimiser": optimiser.state_dict(),
            }
            save_checkpoint(checkpoint, state)
    progress.close()
    return averaged


def _restore(
    checkpoint: Path, model: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device
) -> tuple[int, dict[str, Tensor]]:
    state = load_checkpoint(checkpoint)
    try:
        model.load_state_dict(state["model"])  # pyright: ignore[reportArgumentType]
        optimiser.load_state_dict(state["optimiser"])  # pyright: ignore[reportArgumentType]
    except (KeyError, RuntimeError, ValueError):
        raise InputError(
            f"checkpoint {checkpoint} is of another network than the configuration's; choose another --out folder"
        ) from None
    averaged = {name: value.to(device) for name, value in state["averaged"].items()}  # pyright: ignore[reportAttributeAccessIssue]
    return int(state["step"]), averaged  # pyright: ignore[reportArgumentType]


def _fast_bf16(device: torch.device) -> bool:
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cuda" or bool(torch.backends.mkldnn.is_available() and supported())


@torch.no_grad()
def _average(averaged: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            averaged[name].lerp_(value, 1 - decay)
        else:
            averaged[name].copy_(value)


class _Log:
    """Mean losses between two checkpoints, appended to a CSV; rows after the restart point are dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path, self.sums, self.count, self.row = path, {}, 0, {}
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.reader(file) if row[0] == "step" or int(row[0]) <= start]
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(rows)

    def add(self, step: int, rate: float, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.count += 1
        self.row = {"step": step + 1, "learning_rate": f"{rate:.3g}"}

    def flush(self) -> str:
        means = {name: f"{value / self.count:.5f}" for name, value in self.sums.items()}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow([*self.row, *means])
            writer.writerow([*self.row.values(), *means.values()])
        self.sums, self.count = {}, 0
        return " ".join(f"{name} {value}" for name, value in means.items())
