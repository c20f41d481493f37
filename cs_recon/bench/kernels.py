"""Timing and counting of torch code: medians, CUDA graphs, operations and bytes, and what a card can do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Callable

MATRIX_SIDE = 8192
COPY_BYTES = 1 << 30


@dataclass(frozen=True)
class CardPeaks:
    """What a GPU reaches in practice: dense bf16 matrix products in TFLOP/s, and copies (bytes read plus written)."""

    bf16_tflops: float
    copy_gb_s: float


@dataclass(frozen=True)
class Work:
    """Floating-point operations of matrix products and convolutions, and the bytes that all operations touch."""

    flops: int
    bytes: int


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median wall-clock time of a call, GPU work included; a first call does not count."""
    run()
    times: list[float] = []
    for _ in range(repeats):
        _synchronize()
        began = time.perf_counter()
        run()
        _synchronize()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def card_peaks(repeats: int = 10) -> CardPeaks:
    """Measure the present GPU by a large matrix product and a large copy."""
    a, b = (torch.randn(MATRIX_SIDE, MATRIX_SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    seconds = median_seconds(lambda: torch.mm(a, b, out=product), repeats)
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copied = median_seconds(lambda: target.copy_(source), repeats)
    return CardPeaks(2 * MATRIX_SIDE**3 / seconds / 1e12, 2 * COPY_BYTES / copied / 1e9)


def count_work(run: Callable[[], object]) -> Work:
    """Run once and count.

    The bytes are those of the tensors that each operation takes and gives, views left out: the memory traffic of
    operations that are not fused and do not share the cache.

    Examples
    --------
    >>> a, b = torch.ones(4, 8), torch.ones(8, 2)
    >>> count_work(lambda: a @ b)
    Work(flops=128, bytes=224)
    """
    traffic = _Traffic()
    counter = FlopCounterMode(display=False)
    with counter, traffic:
        run()
    return Work(int(counter.get_total_flops()), traffic.bytes)


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of every operation's tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not cast("Any", func).is_view:
            tensors = [leaf for leaf in tree_flatten((args, kwargs, out))[0] if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return out
