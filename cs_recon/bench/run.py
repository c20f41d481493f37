"""Every reconstruction method on the same held-out scans: a row a frame, scan, method and setting, kept on disk."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pandas as pd
import torch

from cs_recon.bench.frames import BENCH_SEED, FrameSource
from cs_recon.bench.memory import measured
from cs_recon.bench.rows import KEY, append_rows, read_rows
from cs_recon.bench.settings import SLOW, Options, bench_methods, run_method, setting_name, sweep
from cs_recon.device import pick_device
from cs_recon.metrics import psnr, ssim
from cs_recon.resolution import frc_resolution
from cs_recon.training_data import edge_prior
from simulate.detector import measure
from simulate.errors import InputError, check_count, check_positive
from simulate.schemes import scan_path, schemes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from simulate.measurement import Measurement

RATIOS = (0.02, 0.05, 0.1, 0.25, 0.5)
DOSES = (5.0, 20.0, 100.0, 0.0)
"""Electrons where the frame is brightest; 0 for no noise."""


@dataclass(frozen=True)
class BenchPlan:
    """What to compare.

    Parameters
    ----------
    methods : tuple of str
        Names of `bench_methods`; all of them if empty.
    ratios, doses, schemes : tuple
        Sampling ratios, peak counts (0: noise-free) and scan schemes; every combination is scanned.
    slow_frames : int, optional
        On how many frames of each kind the `settings.SLOW` methods run; on all if None.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    processes : int
        How many processes compute at once; the timings of more than one disturb each other.
    """

    methods: tuple[str, ...] = ()
    ratios: tuple[float, ...] = RATIOS
    doses: tuple[float, ...] = DOSES
    schemes: tuple[str, ...] = ("random",)
    slow_frames: int | None = None
    device: str = "cpu"
    processes: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(bench_methods(self.methods)))
        for ratio in self.ratios:
            if check_positive(ratio, "sampling ratio") > 1:
                raise InputError(f"sampling ratio is {ratio:g}; expected a share above 0 and at most 1")
        for dose in self.doses:
            if dose != 0:
                check_positive(dose, "peak counts", "give 0 for no noise")
        for scheme in self.schemes:
            schemes[scheme]
        if not (self.ratios and self.doses and self.schemes):
            raise InputError("no ratio, dose or scheme to scan with; expected one of each at least")
        if self.slow_frames is not None:
            check_count(self.slow_frames, "number of frames for slow methods")
        check_count(self.processes, "number of processes", 1)
        pick_device(self.device)


@dataclass(frozen=True)
class Case:
    """One scan of one frame, one method, and the settings to run it with."""

    source: FrameSource
    scheme: str
    ratio: float
    peak_counts: float
    method: str
    settings: tuple[str, ...] = ()

    def key(self, setting: str) -> tuple[object, ...]:
        """Return what tells a row from every other, in the order of `rows.KEY`."""
        return (self.source.name, self.scheme, float(self.ratio), float(self.peak_counts), self.method, setting)


def bench(
    sources: Sequence[FrameSource],
    plan: BenchPlan,
    *,
    csv: Path | None = None,
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Run every case of a plan that the file of rows does not hold yet, and return the rows of all.

    Parameters
    ----------
    sources : sequence of FrameSource
        The frames, from `frames.frame_sources`.
    plan : BenchPlan
        Methods and scans.
    csv : Path, optional
        The file of rows. Those of each case are added when it is done, so a run that is killed goes on where it
        stopped. Rows stay when a method changes: judge another version in another file. Failed cases are run again.
    progress : callable, optional
        Called with a line for each case: what is done, and the time left.

    Returns
    -------
    pandas.DataFrame
        One row a frame, scan, method and setting: ``frame, scheme, ratio, peak_counts, method, setting`` (the key;
        `peak_counts` 0 is noise-free, setting "automatic" is the method's own choice), ``kind``, ``coverage`` (the
        share of pixels that the mask really holds), ``psnr_db``, ``ssim``, ``frc_px`` (against the clean frame),
        ``seconds``, ``cpu_seconds``, ``peak_mb`` and ``error`` (empty, or why there are no figures).
    """
    rows = [] if csv is None else read_rows(csv)
    done = {tuple(row[name] for name in KEY) for row in rows}
    asked = list(_cases(sources, plan))
    wanted = {case.key(setting) for case in asked for setting in case.settings}
    cases = [case for case in (_rest(case, done) for case in asked) if case.settings]
    clock = _Clock(cases, plan.processes)
    for case, new in _results(cases, plan):
        if csv is not None:
            append_rows(csv, new)
        rows += new
        failed = [str(row["error"]) for row in new if row["error"]]
        note = f" FAILED: {failed[0]}" if failed else ""
        progress(
            f"{clock.tick(case, new)} {case.source.name} {case.scheme} {new[0]['coverage']:.2%} of the pixels, "
            f"{case.peak_counts or 'no'} counts/noise {case.method}{note}"
        )
    return pd.DataFrame([row for row in rows if tuple(row[name] for name in KEY) in wanted])


def scan_of(frame: NDArray[Any], index: int, scheme: str, ratio: float, peak_counts: float) -> Measurement:
    """Return the benchmark's scan of a frame: the same for every method, another for every frame, scheme and ratio."""
    seed = [BENCH_SEED, index, crc32(scheme.encode()), round(1e6 * ratio)]
    prior = edge_prior(frame) if schemes[scheme].needs_prior else None
    path = scan_path(scheme, frame.shape, ratio, rng=np.random.default_rng(seed), prior=prior)  # pyright: ignore[reportArgumentType]
    rng = np.random.default_rng([*seed, round(1e3 * peak_counts)])
    return measure(frame, path, peak_counts=peak_counts or None, rng=rng)


def run_case(case: Case, device: str) -> list[dict[str, object]]:
    """Run a method with each setting on one scan and return the rows; what fails becomes a row with its error."""
    options = {setting_name(one): one for one in sweep(case.method)}
    try:
        frame, scan = _scan(replace(case, method="", settings=()))
    except Exception as error:
        return [_row(case, setting, error=error) for setting in case.settings]
    return [_run_setting(case, setting, options[setting], frame, scan, device) for setting in case.settings]


def _run_setting(
    case: Case, setting: str, options: Options, frame: NDArray[Any], scan: Measurement, device: str
) -> dict[str, object]:
    try:
        with measured(pick_device(device)) as cost:
            image = run_method(scan, case.method, options, device).image
        scores = {
            "psnr_db": psnr(frame, image),
            "ssim": ssim(frame, image),
            "frc_px": frc_resolution(frame, image) if np.ptp(image) > 0 else float("inf"),
        }
    except Exception as error:  # a failure is a result; the other cases go on
        return _row(case, setting, coverage=scan.ratio, error=error)
    return _row(case, setting, coverage=scan.ratio, scores={**scores, **vars(cost)})


def _row(
    case: Case,
    setting: str,
    *,
    coverage: float = float("nan"),
    scores: dict[str, float] | None = None,
    error: Exception | None = None,
) -> dict[str, object]:
    names = ("psnr_db", "ssim", "frc_px", "seconds", "cpu_seconds", "peak_mb")
    figures = {name: (scores or {}).get(name, float("nan")) for name in names}
    text = "" if error is None else " ".join(f"{type(error).__name__}: {error}".split())
    key = dict(zip(KEY, case.key(setting), strict=True))
    return {**key, "kind": case.source.kind, "coverage": coverage, **figures, "error": text}


@lru_cache(maxsize=2)
def _scan(case: Case) -> tuple[NDArray[np.float32], Measurement]:
    frame = _frame(case.source)
    return frame, scan_of(frame, case.source.index, case.scheme, case.ratio, case.peak_counts)


@lru_cache(maxsize=2)
def _frame(source: FrameSource) -> NDArray[np.float32]:
    return source.make()


def _cases(sources: Iterable[FrameSource], plan: BenchPlan) -> Iterator[Case]:
    for source in sources:
        for scheme, ratio, dose, method in product(plan.schemes, plan.ratios, plan.doses, plan.methods):
            if method in SLOW and plan.slow_frames is not None and source.index >= plan.slow_frames:
                continue
            yield Case(source, scheme, ratio, dose, method, tuple(setting_name(one) for one in sweep(method)))


def _rest(case: Case, done: set[tuple[object, ...]]) -> Case:
    return replace(case, settings=tuple(setting for setting in case.settings if case.key(setting) not in done))


def _results(cases: list[Case], plan: BenchPlan) -> Iterator[tuple[Case, list[dict[str, object]]]]:
    """Yield each case with its rows as soon as it is done."""
    if plan.processes == 1:
        for case in cases:
            yield case, run_case(case, plan.device)
        return
    threads = max(1, torch.get_num_threads() // plan.processes)
    queue = iter(cases)
    context = get_context("spawn")
    with ProcessPoolExecutor(plan.processes, context, initializer=_use_threads, initargs=(threads,)) as pool:
        running: dict[Future[list[dict[str, object]]], Case] = {}
        while True:
            # A few cases ahead, not all: an interrupted run then has little to wait for.
            while len(running) < 2 * plan.processes and (case := next(queue, None)) is not None:
                running[pool.submit(run_case, case, plan.device)] = case
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def _use_threads(threads: int) -> None:
    torch.set_num_threads(threads)


class _Clock:
    """Tells how much is done and how long the rest takes, from the mean time of each method's cases so far."""

    def __init__(self, cases: list[Case], processes: int) -> None:
        self.total, self.done, self.processes = len(cases), 0, processes
        self.left = pd.Series([case.method for case in cases], dtype=object).value_counts().to_dict()
        self.spent: dict[str, list[float]] = {}
        self.began = time.monotonic()

    def tick(self, case: Case, rows: list[dict[str, Any]]) -> str:
        """Note a case as done and return a text like ``12/80, 3 min left:``."""
        self.done += 1
        self.left[case.method] -= 1
        seconds = [0.0 if np.isnan(row["seconds"]) else float(row["seconds"]) for row in rows]
        self.spent.setdefault(case.method, []).append(sum(seconds))
        known = {method: float(np.mean(times)) for method, times in self.spent.items()}
        other = float(np.mean(list(known.values())))
        work = sum(number * known.get(method, other) for method, number in self.left.items()) / self.processes
        # Scoring and making frames take time too: scale by what has passed.
        counted = sum(sum(times) for times in self.spent.values()) / self.processes
        overhead = (time.monotonic() - self.began) / counted if counted > 0 else 1.0
        return f"{self.done}/{self.total}, {work * max(1.0, overhead) / 60:.0f} min left:"
