"""Training in several processes started by ``torchrun``: who they are, what each draws, and what they average.

Every process holds the whole network, computes the gradient on its share of a step's items, and takes the mean of all
gradients; so all do the very step that one process would have done with the whole batch. Without ``torchrun`` there is
one process and every function here does nothing.

References
----------
Li et al., "PyTorch distributed: experiences on accelerating data parallel training", Proc. VLDB Endow. 13, 3005 (2020),
https://doi.org/10.14778/3415478.3415530.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist

from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor, nn

T = TypeVar("T")


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` started, if it did, and leave them at the end.

    Parameters
    ----------
    device : torch.device
        Where to train: processes talk by NCCL on CUDA, by Gloo elsewhere.

    Yields
    ------
    torch.device
        This process's own device: on CUDA, the card of its local rank.

    Raises
    ------
    InputError
        If the environment's RANK, WORLD_SIZE or LOCAL_RANK make no sense, or there are fewer cards than processes.
    """
    size = _variable("WORLD_SIZE", 1)
    if size == 1 or dist.is_initialized():
        yield device
        return
    if not dist.is_available():
        raise InputError("this PyTorch was built without torch.distributed; train in one process")
    number = _variable("RANK")
    if number >= size:
        raise InputError(f"the environment variable RANK is {number}; expected less than the WORLD_SIZE of {size}")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise InputError(f"the environment variable {name} is not set; expected torchrun to start the processes")
    if device.type == "cuda":
        local = _variable("LOCAL_RANK", 0)
        if local >= torch.cuda.device_count():
            raise InputError(
                f"process {local} of this machine found {torch.cuda.device_count()} CUDA devices; expected one for "
                "each process: start fewer with --nproc-per-node"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=number, world_size=size)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number, from 0; the process 0 is the one that writes files."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if _several() else 1


def share_size(batch_size: int) -> int:
    """Return how many items of a step each process draws; raise `InputError` unless all draw as many."""
    if batch_size % world_size():
        raise InputError(
            f"batch_size is {batch_size} and {world_size()} processes train; expected a multiple of {world_size()}, "
            "so that each has as many items"
        )
    return batch_size // world_size()


def share(batch_size: int, start: int, steps: int) -> list[int]:
    """Return the items that this process draws for the steps from `start` to `steps`, `share_size` of them a step.

    The processes' shares of a step are disjoint, and together the items ``step * batch_size`` onwards that one process
    would draw.

    Examples
    --------
    >>> share(4, 1, 3)
    [4, 5, 6, 7, 8, 9, 10, 11]
    """
    part = share_size(batch_size)
    first = rank() * part
    return [step * batch_size + first + item for step in range(start, steps) for item in range(part)]


@torch.no_grad()
def mean_over_processes(x: Tensor) -> Tensor:
    """Return the mean of every process's `x`, without gradient; `x` itself where there is one process.

    For a loss that divides by a statistic of its whole batch.
    """
    if not _several():
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; a parameter that none of them used keeps none."""
    if not _several():
        return
    trained = [p for p in parameters if p.requires_grad]
    # One message: all gradients, and for each whether this process has it.
    used = trained[0].new_tensor([float(p.grad is not None) for p in trained])
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    message = torch.cat([used, *(grad.reshape(-1) for grad in grads)])
    dist.all_reduce(message)
    counts = message[: len(trained)].tolist()
    parts = (message[len(trained) :] / world_size()).split([p.numel() for p in trained])
    for parameter, count, part in zip(trained, counts, parts, strict=True):
        # Contiguous, then into the parameter's own memory format (channels last keeps it fast).
        parameter.grad = torch.empty_like(parameter).copy_(part.view(parameter.shape)) if count else None


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers (running statistics) of process 0."""
    if _several():
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def from_first(value: T, device: torch.device) -> T:
    """Return what process 0 passed, in every process."""
    if not _several():
        return value
    box = [value]
    dist.broadcast_object_list(box, 0, device=device if device.type == "cuda" else None)
    return box[0]


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()


def _variable(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal() or (name == "WORLD_SIZE" and int(text) < 1):
        raise InputError(f"the environment variable {name} is {text!r}; expected a whole number: start with torchrun")
    return int(text)
