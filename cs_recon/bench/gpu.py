"""How fast reconstruction is: on the CPU, and on a GPU, if there is one, against what the card can do."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from cs_recon.bench.frames import FrameSource
from cs_recon.bench.kernels import CardPeaks, Work, card_peaks, count_work, median_seconds
from cs_recon.bench.memory import measured
from cs_recon.bench.run import scan_of
from cs_recon.bench.settings import SLOW, is_learned
from cs_recon.device import full_precision
from cs_recon.learned import load_network, scan_batch
from cs_recon.reconstruction import reconstruct, reconstructors
from cs_recon.replay import record
from simulate.errors import InputError, check_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cs_recon.batch import ScanBatch
    from simulate.measurement import Measurement

NETWORK = "unrolled-ista"
RATIO, PEAK_COUNTS = 0.1, 20.0
_NO_GPU = "no GPU here: the CPU's figures alone"


def bench_speed(
    *,
    side: int = 512,
    large_side: int = 2048,
    batch_size: int = 16,
    repeats: int = 5,
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Time the default network, its fast preset and the batched classical solvers.

    Parameters
    ----------
    side : int
        Side of the frames in pixels.
    large_side : int
        Side of the frame whose peak memory is measured on the CPU; 0 leaves it out.
    batch_size : int
        Frames a batch on the GPU; a quarter of them for the classical solvers.
    repeats : int
        How many times each is run after a first time that does not count; the median is told.
    progress : callable, optional
        Called with what is under way.

    Returns
    -------
    pandas.DataFrame
        Index ``what``, columns ``device, value, unit, note``; a title in ``attrs["title"]``, which says where it ran.
    """
    check_count(side, "side", 16)
    check_count(batch_size, "batch size", 1)
    check_count(repeats, "repeats", 1)
    rows = _on_cpu(side, large_side, repeats, progress)
    where = _NO_GPU
    if torch.cuda.is_available():
        where = torch.cuda.get_device_name()
        rows += _on_gpu(side, batch_size, repeats, progress)
    table = pd.DataFrame(rows, columns=["what", "device", "value", "unit", "note"]).set_index("what")
    table.attrs["title"] = (
        f"Speed at {side} x {side} pixels, {RATIO:.0%} scanned, {PEAK_COUNTS:g} counts, torch {torch.__version__}, "
        f"{torch.get_num_threads()} CPU threads; {where}"
    )
    return table


def presets() -> dict[str, dict[str, Any]]:
    """Return the options of the network's presets by name; the default one alone where it has no others."""
    known = inspect.signature(reconstructors[NETWORK]).parameters
    return {"default": {}, **({"fast": {"preset": "fast"}} if "preset" in known else {})}


def batched_methods() -> list[str]:
    """Return the registered classical methods that compute many scans at once, less the slow ones."""
    return [
        name
        for name in reconstructors.names
        if next(iter(inspect.signature(reconstructors[name]).parameters)) == "measurements"
        and name not in SLOW
        and not is_learned(name)
    ]


def example_scans(n: int, side: int) -> list[Measurement]:
    """Return scans of different frames of the benchmark's generator."""
    return [
        scan_of(FrameSource("bench", index, side).make(), index, "random", RATIO, PEAK_COUNTS) for index in range(n)
    ]


Row = tuple[str, str, float, str, str]


def _on_cpu(side: int, large_side: int, repeats: int, progress: Callable[[str], object]) -> list[Row]:
    rows: list[Row] = []
    (scan,) = example_scans(1, side)
    for name, options in presets().items():
        progress(f"{NETWORK}, {name}, {side} x {side} on the CPU")
        seconds = median_seconds(lambda options=options: reconstruct(scan, NETWORK, device="cpu", **options), repeats)
        rows.append((f"{NETWORK} ({name}), one frame", "cpu", seconds, "s", "reading to image"))
    if large_side:
        (large,) = example_scans(1, large_side)
        progress(f"{NETWORK}, {large_side} x {large_side} on the CPU")
        with measured(torch.device("cpu")) as cost:
            reconstruct(large, NETWORK, device="cpu")
        rows.append((f"{NETWORK}, {large_side} x {large_side}", "cpu", cost.seconds, "s", "once"))
        rows.append((f"{NETWORK}, {large_side} x {large_side}", "cpu", cost.peak_mb, "MB", "peak above the start"))
    return rows


def _on_gpu(side: int, batch_size: int, repeats: int, progress: Callable[[str], object]) -> list[Row]:
    progress("measuring what the card can do")
    peaks = card_peaks()
    rows: list[Row] = [
        ("card: bf16 matrix product", "cuda", peaks.bf16_tflops, "TFLOP/s", "measured, 8192 x 8192"),
        ("card: copy", "cuda", peaks.copy_gb_s, "GB/s", "measured, read and written bytes"),
    ]
    scans = example_scans(batch_size, side)
    for name, options in presets().items():
        progress(f"{NETWORK}, {name}, {side} x {side} on the GPU")
        latency = median_seconds(
            lambda options=options: reconstruct(scans[0], NETWORK, device="cuda", **options), repeats
        )
        rows.append((f"{NETWORK} ({name}), one frame", "cuda", 1e3 * latency, "ms", "reading to image, on the CPU"))
        rows.append(_replayed_row(name, scans[0], options, repeats))
        together = median_seconds(
            lambda options=options: reconstruct(scans, NETWORK, device="cuda", batch_size=batch_size, **options),
            repeats,
        )
        rows.append((f"{NETWORK} ({name}), batches of {batch_size}", "cuda", batch_size / together, "frames/s", "same"))
        guess = median_seconds(lambda name=name: first_guess(name, scans[:1]), repeats)
        rows.append((f"first guess ({name}), one frame", "cuda", 1e3 * guess, "ms", "from the scan, of the above"))
        rows += _network_rows(name, scans[:1], peaks, repeats)
        rows += _network_rows(name, scans, peaks, repeats)
    rows += _classical_rows(scans[: max(1, batch_size // 4)], repeats, progress)
    return rows


def _replayed_row(preset: str, scan: Measurement, options: dict[str, Any], repeats: int) -> Row:
    """Time a frame whose kernels are replayed as a CUDA graph."""
    label = f"{NETWORK} ({preset}, graph=True), one frame"
    try:
        seconds = median_seconds(lambda: reconstruct(scan, NETWORK, device="cuda", graph=True, **options), repeats)
    except (RuntimeError, InputError) as error:  # of the capture, or too large for one; the rest is timed all the same
        return label, "cuda", float("nan"), "ms", f"failed: {_first_line(error)}"
    return label, "cuda", 1e3 * seconds, "ms", "reading to image, on the CPU"


def network_runner(
    preset: str, scans: Sequence[Measurement], device: str = "cuda"
) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """Return a call that runs the network alone, from the scans' first guess on, to the image and log sigma."""
    network: Any = load_network(NETWORK, "", torch.device(device)).network
    batch = first_guess(preset, scans, device)
    steps = network.config.fast_steps if preset == "fast" else None

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        out = network(batch, steps)
        return out.image, out.log_sigma

    return run


def first_guess(preset: str, scans: Sequence[Measurement], device: str = "cuda") -> ScanBatch:
    """Return scans as the network takes them."""
    loaded = load_network(NETWORK, "", torch.device(device))
    return scan_batch(scans, loaded, multiple=loaded.network.config.multiple, preset=preset)


def _network_rows(preset: str, scans: Sequence[Measurement], peaks: CardPeaks, repeats: int) -> list[Row]:
    """Time the network alone in float32, in bfloat16, replayed as a CUDA graph and compiled, and count its work."""
    plain = network_runner(preset, scans)

    def half() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            return plain()

    n = len(scans)
    rows: list[Row] = []
    with torch.no_grad():
        exact, rounded = plain()[0], half()[0].float()
        deviation = float((exact - rounded).square().mean().sqrt())
        rows.append(
            (_label(preset, n, "bfloat16 against float32"), "cuda", deviation, "rms", "samples have variance 1")
        )
        single = "float32 (convolutions as TF32)" if full_precision(torch.device("cuda")) == "tf32" else "float32"
        exact_work, half_work = count_work(plain), count_work(half)
        ways: dict[str, tuple[Callable[[], Callable[[], object]], Work]] = {
            single: (lambda: plain, exact_work),
            "bfloat16": (lambda: half, half_work),
            "bfloat16, CUDA graph": (lambda: record(half), half_work),
            "bfloat16, compiled": (lambda: torch.compile(half), half_work),
        }
        for way, (make, work) in ways.items():
            try:
                seconds = median_seconds(make(), 4 * repeats)
            except RuntimeError as error:  # of compilation and capture too; the other ways go on
                rows.append((_label(preset, n, way), "cuda", float("nan"), "ms", f"failed: {_first_line(error)}"))
                continue
            tflops, gb_s = work.flops / seconds / 1e12, work.bytes / seconds / 1e9
            arithmetic = f"{tflops / peaks.bf16_tflops:.0%} of the measured peak"
            traffic = f"{gb_s / peaks.copy_gb_s:.0%} of the copy's, were every operation to read and write memory"
            rows += [
                (_label(preset, n, way), "cuda", 1e3 * seconds, "ms", f"{n / seconds:.0f} frames/s"),
                (_label(preset, n, way), "cuda", tflops, "TFLOP/s", arithmetic),
                (_label(preset, n, way), "cuda", gb_s, "GB/s", traffic),
            ]
    return rows


def _label(preset: str, n: int, way: str) -> str:
    return f"network alone ({preset}), {n} frame{'s' if n > 1 else ''}, {way}"


def _classical_rows(scans: Sequence[Measurement], repeats: int, progress: Callable[[str], object]) -> list[Row]:
    """Time the classical solvers on a batch on the GPU and, once, on the CPU."""
    rows: list[Row] = []
    for method in batched_methods():
        progress(f"{method}, {len(scans)} frames on the GPU and on the CPU")
        seconds = {}
        for device, n in (("cuda", repeats), ("cpu", 1)):
            call = partial(reconstruct, list(scans), method, device=device, batch_size=len(scans))
            seconds[device] = median_seconds(call, n)
        note = f"{seconds['cpu'] / seconds['cuda']:.1f} times as fast as the CPU"
        for device, text in (("cpu", ""), ("cuda", note)):
            rows.append((f"{method}, {len(scans)} frames", device, seconds[device] / len(scans), "s/frame", text))
    return rows


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
