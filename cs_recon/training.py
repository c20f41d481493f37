"""One training loop for every network: resumable, seeded, logged, with averaged weights, in one process or several."""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from cs_recon import distributed
from cs_recon.checkpoint import load_checkpoint, save_checkpoint
from cs_recon.device import quick_arithmetic
from cs_recon.training_log import TrainingLog
from simulate.atomic import make_folder, sole_writer
from simulate.errors import InputError, check_count, check_positive, check_within

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from torch import Tensor, nn


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train.

    Parameters
    ----------
    steps : int
        Optimiser steps in all. May be changed when a run is resumed: the learning rate depends on the share done.
    batch_size : int
        Samples a step, of all processes together.
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
        check_within(self.seed, "seed", 0, 2**32)
        check_count(self.warmup_steps, "warmup_steps")
        for name in ("learning_rate", "decay_share", "gradient_clip"):
            check_positive(getattr(self, name), name)
        check_within(self.weight_decay, "weight_decay", 0, 1)
        check_within(self.average, "average", 0, 1)

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
    check: Callable[[int, dict[str, Tensor]], dict[str, float]] | None = None,
) -> dict[str, Tensor]:
    """Train a model and return its averaged weights; a run that was killed goes on from its last checkpoint.

    Started by ``torchrun``, its processes train together (see `cs_recon.distributed`): gradients are averaged, and the
    first process writes.

    Parameters
    ----------
    model : nn.Module
        Trained in place, on `device`.
    losses : callable
        Gives the named losses of one batch; their sum is minimised.
    batches : callable
        Gives the batches from a step on, the same ones for the same step: ``batches(0)`` starts the run. In several
        processes each draws its own share (`distributed.share`). The run ends early where they end.
    config : LoopConfig
        Length, rates, seed.
    folder : path
        Holds ``checkpoint.pt``, ``log.csv`` and its curve, ``log.png``.
    device : torch.device
        Where to train; in bfloat16 where that is native (`device.quick_arithmetic`).
    check : callable, optional
        Called before each checkpoint with the step and the averaged weights; what it returns is logged.

    Returns
    -------
    dict of str to Tensor
        The averaged state dictionary.

    Raises
    ------
    InputError
        If the loss or its gradient is not finite, a checkpoint is damaged, foreign or can't be written, or the log
        can't, or another run is training into the folder; the last good checkpoint stays.
    """
    with distributed.process_group(device) as own:
        where = next(model.parameters()).device
        if own.index is not None and where != own:
            raise InputError(
                f"the network is on {where} and this process trains on {own}; expected it there: enter "
                "distributed.process_group before the network is made"
            )
        distributed.share_size(config.batch_size)
        held = sole_writer(folder) if distributed.rank() == 0 else nullcontext(make_folder(folder))
        with held as files:
            return _train(_State(model, config, files, device), losses, batches, check)


class _State:
    """What a checkpoint holds: the model, its average, the optimiser and the step."""

    def __init__(self, model: nn.Module, config: LoopConfig, folder: Path, device: torch.device) -> None:
        self.model, self.config, self.device = model, config, device
        self.folder, self.file = folder, folder / "checkpoint.pt"
        self.optimiser = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.step = 0
        first = distributed.rank() == 0
        stored = distributed.from_first(load_checkpoint(self.file) if first and self.file.exists() else None, device)
        if stored is not None:
            self._restore(stored)
        self.saved = self.step

    def _restore(self, stored: dict[str, object]) -> None:
        try:
            self.model.load_state_dict(stored["model"])  # pyright: ignore[reportArgumentType]
            self.optimiser.load_state_dict(stored["optimiser"])  # pyright: ignore[reportArgumentType]
            averaged: dict[str, Tensor] = stored["averaged"]  # pyright: ignore[reportAssignmentType]
            self.averaged = {name: averaged[name].to(self.device) for name in self.averaged}
            self.step = int(stored["step"])  # pyright: ignore[reportArgumentType]
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            raise InputError(
                f"checkpoint {self.file} is of another network than the configuration's; choose another --out folder"
            ) from None

    def save(self) -> None:
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
        }
        write_state(self.file, state, self._kept())
        self.saved = self.step

    @contextmanager
    def writing(self, file: Path) -> Iterator[None]:
        """Say what is still there where the disk is full, or fails, while a file besides the checkpoint is written."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot write {file} ({error.strerror or error}); {self._kept()}: make room on the disk and start "
                "again to go on from there"
            ) from None

    def not_finite(self, what: str, value: float) -> InputError:
        return InputError(
            f"the {what} is {value} at step {self.step}; {self._kept()}: lower the learning rate and resume"
        )

    def _kept(self) -> str:
        return f"the last good checkpoint, of step {self.saved}, stays" if self.saved else "no checkpoint was written"


def write_state(file: Path, state: dict[str, object], kept: str) -> None:
    """Write a checkpoint; where the disk is full or fails, raise `InputError` with `kept`, what is still there."""
    try:
        save_checkpoint(file, state)
    except InputError:
        raise
    # PyTorch's writer tells of a full disk by a RuntimeError of several lines.
    except (OSError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
        raise InputError(
            f"cannot write {file} ({reason}); {kept}: make room on the disk and start again to go on from there"
        ) from None


def _train(
    state: _State,
    losses: Callable[[object], dict[str, Tensor]],
    batches: Callable[[int], Iterable[object]],
    check: Callable[[int, dict[str, Tensor]], dict[str, float]] | None,
) -> dict[str, Tensor]:
    model, config, first = state.model, state.config, distributed.rank() == 0
    log = TrainingLog(state.folder / "log.csv", state.step)
    model.train()
    with tqdm(
        total=config.steps, initial=state.step, unit="step", desc="train", smoothing=0.05, disable=not first
    ) as progress:
        for step, batch in zip(range(state.step, config.steps), _told(batches(state.step)), strict=False):
            parts = _step(state, losses, batch)
            state.step = step + 1
            log.add(parts)
            progress.update()
            if state.step % config.save_every == 0 or state.step == config.steps:
                found = {} if check is None else check(state.step, state.averaged)
                if first:
                    with state.writing(log.path):
                        progress.set_postfix_str(log.write(state.step, config.rate(step), found))
                    state.save()
                    with state.writing(log.picture):
                        log.draw(now=state.step == config.steps)
    return state.averaged


def _told(batches: Iterable[object]) -> Iterator[object]:
    """Yield batches; what a loader's process refuses comes as its own one line, without that process's traceback."""
    try:
        yield from batches
    except InputError as error:
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None


def _step(state: _State, losses: Callable[[object], dict[str, Tensor]], batch: object) -> dict[str, Tensor]:
    """Take one optimiser step and return its losses."""
    model, config, device, step = state.model, state.config, state.device, state.step
    for group in state.optimiser.param_groups:
        group["lr"] = config.rate(step)
    # The detector samples its anchors from torch's global generator: tie it to the step, and leave no trace.
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), quick_arithmetic(device):
        torch.manual_seed(config.seed * 1_000_003 + step + 7_919_000_003 * distributed.rank())
        parts = losses(batch)
        values = torch.stack([part.float() for part in parts.values()])
    means = distributed.mean_over_processes(values.detach())
    if not torch.isfinite(means).all():
        raise state.not_finite("loss", float(means.sum()))
    state.optimiser.zero_grad(set_to_none=True)
    values.sum().backward()
    distributed.average_gradients(model.parameters())
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    if not torch.isfinite(norm):
        raise state.not_finite("gradient's norm", float(norm))
    state.optimiser.step()
    distributed.share_buffers(model)
    _average(state.averaged, model, min(config.average, (step + 1) / (step + 10)))
    return dict(zip(parts, means, strict=True))


@torch.no_grad()
def _average(averaged: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            averaged[name].lerp_(value, 1 - decay)
        else:
            averaged[name].copy_(value)
