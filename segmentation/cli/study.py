"""The command that sweeps schemes, ratios, doses and methods: study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmentation.cli.tables import log, markdown
from segmentation.cli.words import say
from simulate.errors import InputError, check_count

if TYPE_CHECKING:
    import argparse

    import pandas as pd

_SHOWN = ("psnr_db", "average_precision@0.5", "f1@0.5", "count_error", "diameter_bias", "frame_time_ms")
_UNITS = {"count_error": "count_error (particles)", "diameter_bias": "diameter_bias (relative)"}
"""Headings of columns whose names do not tell their unit."""


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser(
        "study", help="accuracy, time and dose over schemes, ratios, doses and methods; goes on after a kill"
    )
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG.toml", help="what to sweep over")
    parser.add_argument("--preset", metavar="NAME", help="a shipped study instead: quick, paper or plan")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("cs-stem-study"),
        metavar="DIR",
        help="rows and report go here (default cs-stem-study)",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="local processes (default 1: this one)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="run on a Dask cluster: tcp://host:8786")
    parser.add_argument("--retry", action="store_true", help="run cases again that failed before")
    parser.add_argument("--no-report", action="store_true", help="leave the report out")
    parser.set_defaults(func=_study)


def _study(options: argparse.Namespace) -> None:
    from segmentation.study import inline, load_study, local_processes, on_dask, preset, sweep, write_report
    from segmentation.study.store import ROWS

    if (options.config is None) == (options.preset is None):
        raise InputError("expected either a configuration file or --preset quick, paper or plan")
    check_count(options.workers, "--workers", 1)
    if options.scheduler is not None and options.workers > 1:
        raise InputError("--workers and --scheduler both say where to run; expected one of them")
    config = load_study(options.config) if options.config else preset(options.preset)
    executor = local_processes(options.workers) if options.workers > 1 else inline
    if options.scheduler is not None:
        if not options.scheduler.strip():
            raise InputError("--scheduler is empty; expected an address such as tcp://host:8786")
        executor = on_dask(options.scheduler)
    rows = sweep(config, options.out, executor=executor, retry=options.retry, progress=True)
    for text, failed in rows[rows["error"] != ""].groupby("error", sort=False):
        log(f"{len(failed)} failed: {text}")
    if all(rows["error"] != ""):
        raise InputError(f"every case failed; the {len(rows)} rows are kept in {options.out / ROWS}, see above for why")
    say(markdown(_summary(rows)))
    say(f"{len(rows)} rows: {options.out / ROWS}")
    if not options.no_report:
        say(f"Report: {write_report(options.out)}")


def _summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the means over frames with units in the headings, and counts as text: whole where they are."""
    from segmentation.study import cell_means

    table = cell_means(rows, _SHOWN)
    table.index = [_cell_name(*group) for group in table.index]
    table.index.name = f"mean over {rows['frame'].nunique()} frames"
    for name in ("frames", "count_error"):
        table[name] = [f"{round(float(mean), 1) + 0:g}" for mean in table[name]]
    return table.rename(columns=_UNITS)


def _cell_name(pairing: str, scheme: str, ratio: float, counts: float, recon: str, segmenter: str, mapping: str) -> str:
    dose = f"{counts:g} counts" if counts else "no noise"
    way = " > ".join(part for part in (recon, f"{segmenter} ({mapping})") if part)
    beside = f"full scan of the same {pairing} as " if pairing else ""
    return f"{beside}{scheme} {ratio:.3g}, {dose}: {way}"
