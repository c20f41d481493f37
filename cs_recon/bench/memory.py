"""Time and peak memory of one call."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """What a block of code took.

    Attributes
    ----------
    seconds : float
        Wall-clock time.
    cpu_seconds : float
        Processor time of all threads.
    peak_mb : float
        Largest memory above what was in use when the block began, in MB (of the GPU where it computes there); NaN where
        the system does not tell (it is read from /proc).
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = float("nan")


@contextmanager
def measured(device: torch.device) -> Iterator[Cost]:
    """Yield a `Cost` that is filled in when the block ends, also by an error."""
    cost = Cost()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _give_back()
    before = torch.cuda.memory_allocated(device) if on_gpu else _resident("VmRSS")
    peak = _Peak(active=not on_gpu)
    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        if on_gpu:
            torch.cuda.synchronize(device)
        cost.seconds, cost.cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        highest = torch.cuda.max_memory_allocated(device) if on_gpu else peak.stop()
        cost.peak_mb = max(0.0, highest - before) / 1e6 if highest == highest else float("nan")


class _Peak:
    """The largest resident memory since it was made: the kernel's own mark where it can be reset, else sampled."""

    def __init__(self, *, active: bool) -> None:
        self.highest, self.thread = float("nan"), None
        self.done = threading.Event()
        self.by_kernel = active and _reset_mark()
        if active and not self.by_kernel and _STATUS.exists():
            self.thread = threading.Thread(target=self._sample, daemon=True)
            self.thread.start()

    def stop(self) -> float:
        if self.thread is not None:
            self.done.set()
            self.thread.join()
        return _resident("VmHWM") if self.by_kernel else self.highest

    def _sample(self) -> None:
        self.highest = _resident("VmRSS")
        while not self.done.wait(0.005):
            self.highest = max(self.highest, _resident("VmRSS"))


def _give_back() -> None:
    """Let go of memory that is free but still resident: what ran before would hide that much of the block's own."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:  # glibc's; other systems give back by themselves
        trim(0)


def _reset_mark() -> bool:
    """Set the kernel's mark of the largest resident memory back to the present; return whether it could be."""
    try:
        descriptor = os.open(_CLEAR, os.O_WRONLY)
    except OSError:
        return False  # not Linux, or not allowed
    with os.fdopen(descriptor, "w") as file:
        file.write("5")
    return True


def _resident(field: str) -> float:
    """Return a memory field of this process in bytes; NaN where there is no /proc."""
    if not _STATUS.exists():
        return float("nan")
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * float(line.split()[1])
    return float("nan")
