"""The commands that make and judge the networks: train and bench."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cs_recon.device import pick_device
from segmentation.cli.chain import say
from segmentation.output import write_csv
from simulate.atomic import atomic_path, make_folder
from simulate.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    train = commands.add_parser("train", help="train a network; a killed run goes on where it stopped")
    kinds = train.add_subparsers(title="networks", metavar="NETWORK", required=True)
    for name, func, text in (
        ("recon", _train_recon, "the unrolled reconstruction network"),
        ("segment", _train_segment, "the particle detector"),
    ):
        parser = kinds.add_parser(name, help=text)
        parser.add_argument("config", type=Path, nargs="?", metavar="CONFIG.toml", help="default: the shipped preset")
        parser.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="checkpoint, log and weights go here"
        )
        parser.add_argument("--real-folder", metavar="DIR", help="labelled real images; without them, simulation alone")
        parser.add_argument("--steps", type=int, metavar="N", help="optimiser steps, in place of the configuration's")
        parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
        parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu or cuda")
        parser.set_defaults(func=func)

    bench = commands.add_parser("bench", help="redraw the tables of the README")
    kinds = bench.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    parser = kinds.add_parser("recon", help="PSNR and SSIM of every reconstruction method on unseen frames")
    parser.add_argument("--ratio", type=float, default=0.1, metavar="R", help="sampling ratio (default 0.1)")
    parser.add_argument("--peak-counts", type=float, default=20.0, metavar="N", help="peak counts (20); 0: no noise")
    parser.add_argument("--frames", type=int, default=12, metavar="N", help="simulated frames (default 12)")
    _bench_options(parser)
    parser.set_defaults(func=_bench_recon)
    parser = kinds.add_parser("segment", help="AP of every segmentation method on unseen frames")
    parser.add_argument("--frames", type=int, default=40, metavar="N", help="simulated frames (default 40)")
    parser.add_argument("--split", default="test", choices=("validation", "test"), help="which images (default test)")
    _bench_options(parser)
    parser.set_defaults(func=_bench_segment)

    parser = kinds.add_parser("simulate", help="how fast frames and scans are made")
    parser.add_argument("--side", type=int, default=2048, metavar="N", help="side of the scans' frames (default 2048)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write rows (CSV) and table (Markdown) here")
    parser.set_defaults(func=_bench_simulate)


def _bench_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--real-folder", default="", metavar="DIR", help="labelled real images: their test split")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write rows (CSV) and table (Markdown) here")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu or cuda")


def _train_recon(options: argparse.Namespace) -> None:
    from cs_recon.calibrate import sigma_temperature
    from cs_recon.checkpoint import save_weights
    from cs_recon.config import load_config
    from cs_recon.train_recon import ReconTraining, train_recon, validation_pairs

    device = _setup(options)
    with as_file(files("cs_recon") / "configs" / "unrolled-ista.toml") as preset:
        config = load_config(options.config or preset, ReconTraining)
    config = _with_options(config, options)
    network, averaged = train_recon(config, options.out, device=device)
    network.load_state_dict(averaged)
    network.eval()
    temperature = sigma_temperature(network, validation_pairs(config), device=device)
    record = {**config.network.as_dict(), "sigma_temperature": round(temperature, 4)}
    file = options.out / "unrolled-ista.safetensors"
    digest = save_weights(file, averaged, "unrolled-ista", record)
    say(f"Weights: {file} (sha256 of the tensors {digest[:12]}..., sigma x {temperature:.3f})")


def _train_segment(options: argparse.Namespace) -> None:
    from cs_recon.checkpoint import save_weights
    from cs_recon.config import load_config
    from segmentation.train_segment import SegmentTraining, train_segment

    device = _setup(options)
    with as_file(files("segmentation") / "configs" / "mask-rcnn.toml") as preset:
        config = load_config(options.config or preset, SegmentTraining)
    config = _with_options(config, options)
    _, averaged = train_segment(config, options.out, device=device)
    file = options.out / "mask-rcnn.safetensors"
    digest = save_weights(file, averaged, "mask-rcnn", config.network.as_dict())
    say(f"Weights: {file} (sha256 of the tensors {digest[:12]}...)")


def _setup(options: argparse.Namespace) -> torch.device:
    device = pick_device(options.device)
    make_folder(options.out)
    if options.threads is not None:
        if options.threads < 1:
            raise InputError(f"--threads is {options.threads}; expected 1 or more")
        torch.set_num_threads(options.threads)
    return device


def _with_options(config: Any, options: argparse.Namespace) -> Any:
    """Return a training configuration with the command line's folder and steps."""
    if options.real_folder:
        config = replace(config, data=replace(config.data, real_folder=options.real_folder))
    return config if options.steps is None else replace(config, loop=replace(config.loop, steps=options.steps))


def _bench_recon(options: argparse.Namespace) -> None:
    from cs_recon.bench import bench, bench_frames, bench_table

    rows = bench(
        bench_frames(options.frames, options.real_folder),
        ratio=options.ratio,
        peak_counts=options.peak_counts or None,
        device=options.device,
        progress=_log,
    )
    for kind in rows.kind.unique():
        chosen: Any = rows[rows.kind == kind]
        title = f"{kind}, {chosen.frame.nunique()} frames, {chosen.ratio.mean():.2%} sampled"
        _publish(options, f"recon-{kind}", title, rows=chosen, table=bench_table(chosen))


def _bench_segment(options: argparse.Namespace) -> None:
    from segmentation.bench import bench, bench_table, real_frames, simulated_frames

    rows = bench(simulated_frames(options.frames, options.split), device=options.device, progress=_log)
    _publish(options, "segment-simulated", f"simulated, {options.frames} frames", rows=rows, table=bench_table(rows))
    if options.real_folder:
        rows = bench(real_frames(options.real_folder, options.split), device=options.device, progress=_log)
        title = f"real ({options.split} split), {rows.frame.nunique()} images"
        _publish(options, "segment-real", title, rows=rows, table=bench_table(rows))


def _bench_simulate(options: argparse.Namespace) -> None:
    import pandas as pd

    from simulate.bench import bench_large_frame, bench_schemes, bench_training_frames

    say(f"A 2048 x 2048 frame with 1,000 particles: {bench_large_frame():.2f} s on one core")
    say(f"Labelled 256 x 256 frames: {bench_training_frames():.0f} a second in two processes")
    rows = pd.DataFrame(bench_schemes(options.side, _log))
    table = rows.pivot(index="scheme", columns="ratio", values="seconds")
    table.columns = [f"{ratio:.0%}" for ratio in table.columns]
    title = f"Seconds for a scan of {options.side} x {options.side} pixels, by scheme and ratio"
    _publish(options, "schemes", title, rows=rows, table=table)


def _publish(options: argparse.Namespace, name: str, title: str, *, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    text = markdown(table)
    say(f"\n{title}\n{text}")
    if options.out:
        make_folder(options.out)
        write_csv(options.out / f"{name}.csv", rows)
        with atomic_path(options.out / f"{name}.md") as temporary:
            temporary.write_text(f"{title}\n\n{text}\n", encoding="utf-8")


def markdown(table: pd.DataFrame) -> str:
    """Return a table, with its index as first column, as Markdown."""
    header = [str(table.index.name or ""), *map(str, table.columns)]
    body = [
        [str(index), *(_cell(value) for value in row)] for index, row in zip(table.index, table.values, strict=True)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *body])


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _log(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
