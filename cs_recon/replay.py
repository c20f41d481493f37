"""Kernels recorded once and replayed: a GPU waits for the processor to launch a thousand small ones, not for one graph.

References
----------
Nguyen et al., "Accelerating PyTorch with CUDA graphs", PyTorch blog, 2021.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import torch

from cs_recon.networks import NetworkOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from torch import Tensor

    from cs_recon.batch import ScanBatch

KEPT = 4
"""Recordings that are kept: each holds the memory that its kernels work in."""
T = TypeVar("T")
_TURN = Lock()
"""For all recordings of the process: a capture bears no other one."""


def record(run: Callable[[], T], device: torch.device | str = "cuda") -> Callable[[], T]:
    """Return a call that replays the kernels of `run`, which reads and writes the same memory each time, at once.

    What `run` reads besides must be kept for as long as the call is. One recording may be under way in a process.
    """
    # The caller's own rounding is none of the recording's, and rounded weights that autocast keeps would not last.
    with torch.cuda.device(device), torch.autocast("cuda", enabled=False, cache_enabled=False):
        own, stream, graph = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(own)
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose their kernels and allocate their memory before the capture
                run()
        own.wait_stream(stream)
        try:
            # Other threads may go on meanwhile: what they do is their own affair.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                kept = run()
        except BaseException:
            torch.cuda.set_stream(own)  # a capture that fails leaves its own behind
            raise

    def replay() -> T:
        graph.replay()
        return kept

    return replay


class Replayed:
    """A function of a `ScanBatch` that is recorded at its first call for batches of a shape, and replayed then.

    It is recorded anew for another CUDA stream, and where torch is told to round otherwise. Threads take turns.

    Parameters
    ----------
    run : callable
        From a batch on a GPU, and something that says what else its kernels depend on, to what a network makes of it;
        it must not wait for the GPU.
    kept : int
        The recordings of so many shapes are kept, those that were asked for last.
    """

    def __init__(self, run: Callable[[ScanBatch, Hashable], NetworkOutput], kept: int = KEPT) -> None:
        self.run, self.kept = run, kept
        self._recordings: OrderedDict[Hashable, tuple[ScanBatch, Callable[[], NetworkOutput]]] = OrderedDict()

    def __call__(self, batch: ScanBatch, told: Hashable = None) -> NetworkOutput:
        """Return what `run` makes of a batch."""
        rounding = (torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision)  # pyright: ignore[reportAttributeAccessIssue]
        stream = torch.cuda.current_stream(batch.y.device)
        key = (tuple(batch.y.shape), batch.scan.weights is None, told, rounding, stream)
        with _TURN:
            if key not in self._recordings:
                own = replace(batch.moved(torch.clone, batch.shape), noise=batch.noise.clone())
                self._recordings[key] = own, record(lambda: self.run(own, told), batch.y.device)
            self._recordings.move_to_end(key)
            while len(self._recordings) > self.kept:
                self._recordings.popitem(last=False)
            own, replay = self._recordings[key]
            for mine, given in zip(_tensors(own), _tensors(batch), strict=True):
                mine.copy_(given)
            out = replay()
            features = {name: (maps.clone(), stride) for name, (maps, stride) in out.features.items()}
            return NetworkOutput(out.image.clone(), out.log_sigma.clone(), features)


def _tensors(batch: ScanBatch) -> list[Tensor]:
    """Return what of a batch a network reads."""
    weights = batch.scan.weights
    return [batch.y, batch.scan.mask, batch.sigma, batch.x0, batch.noise, *([] if weights is None else [weights])]
