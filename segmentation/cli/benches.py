"""The commands that judge the methods: bench."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segmentation.cli import segmentation_benches
from segmentation.cli.tables import bench_options, log, markdown, names, numbers, publish
from segmentation.cli.words import say
from segmentation.output import write_csv
from simulate.atomic import atomic_path
from simulate.errors import InputError


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    bench = commands.add_parser("bench", help="redraw the tables of the README")
    kinds = bench.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    _add_recon(kinds)
    _add_recon_gpu(kinds)
    segmentation_benches.add_benches(commands, kinds)
    parser = kinds.add_parser("sigma", help="how often the truth lies within the 90 %% intervals, by sampling ratio")
    parser.add_argument("--frames", type=int, default=40, metavar="N", help="simulated frames (default 40)")
    parser.add_argument(
        "--generator",
        default="training",
        metavar="NAME",
        help="of frames: bench, ordinary, training (default) or crystal",
    )
    parser.add_argument("--real-frames", type=int, default=20, metavar="N", help="real frames (default 20)")
    parser.add_argument("--size", type=int, default=128, metavar="N", help="side of the frames (default 128)")
    bench_options(parser)
    parser.set_defaults(func=_bench_sigma)
    parser = kinds.add_parser("adapt", help="what adapting to sparse scans gains on frames unlike those of training")
    parser.add_argument(
        "--method", default="unrolled-ista", metavar="NAME", help="unrolled-ista (default) or inpainting"
    )
    parser.add_argument("--steps", type=int, default=150, metavar="N", help="optimiser steps (default 150)")
    parser.add_argument("--frames", type=int, default=10, metavar="N", help="unseen frames to judge on (default 10)")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="side of the frames (default 256)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="adaptation and table go here")
    parser.set_defaults(func=_bench_adapt)
    parser = kinds.add_parser("ablation", help="small variants of the unrolled network, trained alike")
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="optimiser steps of each (default 1000)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="runs and table go here")
    parser.set_defaults(func=_bench_ablation)
    parser = kinds.add_parser("gallery", help="a picture of one simulated frame by every reconstruction method")
    parser.add_argument("--ratio", type=float, default=0.1, metavar="R", help="sampling ratio (default 0.1)")
    parser.add_argument(
        "--peak-counts", type=float, default=20.0, metavar="N", help="peak counts; 0: no noise (default 20)"
    )
    parser.add_argument("--size", type=int, default=192, metavar="N", help="side of the frame (default 192)")
    parser.add_argument("--seed", type=int, default=3, metavar="N", help="seed of frame and scan (default 3)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture (.png, .svg, .pdf)")
    parser.set_defaults(func=_bench_gallery)
    parser = kinds.add_parser("simulate", help="how fast frames and scans are made")
    parser.add_argument("--side", type=int, default=2048, metavar="N", help="side of the scans' frames (default 2048)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write rows (CSV) and table (Markdown) here")
    parser.set_defaults(func=_bench_simulate)


def _add_recon(kinds: Any) -> None:
    parser = kinds.add_parser("recon", help="every reconstruction method on held-out frames; goes on after a kill")
    parser.add_argument(
        "--methods", type=names, default=(), metavar="A,B", help="methods (default: all, and installed peers)"
    )
    parser.add_argument(
        "--ratios",
        "--ratio",
        type=numbers,
        default=None,
        metavar="R,R",
        help="sampling ratios (default 0.02,0.05,0.1,0.25,0.5)",
    )
    parser.add_argument(
        "--doses",
        "--peak-counts",
        type=numbers,
        default=None,
        metavar="N,N",
        help="peak counts; 0: no noise (default 5,20,100,0)",
    )
    parser.add_argument(
        "--schemes", type=names, default=("random",), metavar="A,B", help="scan schemes (default random)"
    )
    parser.add_argument("--frames", type=int, default=12, metavar="N", help="simulated frames (default 12)")
    parser.add_argument(
        "--generator", default="bench", metavar="NAME", help="of frames: bench (default), ordinary, training or crystal"
    )
    parser.add_argument("--real-frames", type=int, default=6, metavar="N", help="real frames (default 6)")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="side of the frames (default 256)")
    parser.add_argument("--slow-frames", type=int, metavar="N", help="frames for bpfa, ksvd, gp (default: all)")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="at once (default 1; more disturb the times)"
    )
    bench_options(parser)
    parser.set_defaults(func=_bench_recon)


def _add_recon_gpu(kinds: Any) -> None:
    parser = kinds.add_parser("recon-gpu", help="how fast reconstruction is, on the CPU and on a GPU if there is one")
    parser.add_argument("--side", type=int, default=512, metavar="N", help="side of the frames (default 512)")
    parser.add_argument(
        "--large-side", type=int, default=2048, metavar="N", help="side for the memory; 0: none (default 2048)"
    )
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="frames a batch on the GPU (default 16)")
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="timings of which the median is told (default 5)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the table here (CSV and Markdown)")
    parser.set_defaults(func=_bench_recon_gpu)


def _bench_recon(options: argparse.Namespace) -> None:
    from cs_recon.bench import summary
    from cs_recon.bench.frames import frame_sources
    from cs_recon.bench.run import DOSES, RATIOS, BenchPlan, bench
    from cs_recon.bench.settings import SLOW

    plan = BenchPlan(
        methods=options.methods,
        ratios=RATIOS if options.ratios is None else options.ratios,
        doses=DOSES if options.doses is None else options.doses,
        schemes=options.schemes,
        slow_frames=options.slow_frames,
        device=options.device,
        processes=options.processes,
    )
    sources = frame_sources(
        options.frames,
        generator=options.generator,
        size=options.size,
        real_folder=options.real_folder,
        n_real=options.real_frames,
    )
    if options.slow_frames == 0 and set(options.methods) and set(options.methods) <= set(SLOW):
        raise InputError("--slow-frames is 0 and --methods has slow ones alone; expected frames to run them on")
    rows = bench(sources, plan, csv=options.out / "recon-rows.csv" if options.out else None, progress=log)
    parts = [summary.notes(rows)]
    for stem, title, table in summary.tables(rows):
        parts.append(f"{title}\n\n{markdown(table)}")
        if options.out:
            write_csv(options.out / f"recon-{stem}.csv", table.reset_index())
    say("\n\n".join(parts))
    if options.out:
        with atomic_path(options.out / "recon.md") as temporary:
            temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _bench_sigma(options: argparse.Namespace) -> None:
    from cs_recon.bench.frames import frame_sources
    from cs_recon.bench.uncertainty import coverage_table

    sources = frame_sources(
        options.frames,
        generator=options.generator,
        size=options.size,
        real_folder=options.real_folder,
        n_real=options.real_frames,
    )
    table = coverage_table(sources, device=options.device, progress=log)
    title = "Share of pixels whose truth lies within the 90 % interval, by sampling ratio"
    publish(options, "sigma", title, rows=table.reset_index(), table=table)


def _bench_adapt(options: argparse.Namespace) -> None:
    from cs_recon.bench.adaptation import adaptation_table

    rows = adaptation_table(
        options.out, method=options.method, steps=options.steps, frames=options.frames, size=options.size
    )
    title = f"Medians over {options.frames} unseen frames, {options.method} adapted to 8 scans"
    publish(options, "adapt", title, rows=rows.reset_index(), table=rows.median().to_frame("median"))


def _bench_ablation(options: argparse.Namespace) -> None:
    from cs_recon.bench.ablation import ablation

    table = ablation(options.out, steps=options.steps, progress=log)
    title = f"Validation PSNR of variants of the unrolled network after {options.steps} steps"
    publish(options, "ablation", title, rows=table.reset_index(), table=table)


def _bench_gallery(options: argparse.Namespace) -> None:
    from cs_recon import figures, reconstruct, reconstructors
    from simulate import SceneConfig, Support, make_scene, measure, scan_path
    from simulate.figures import canvas

    shape = (options.size, options.size)
    config = SceneConfig(
        shape=shape,
        n_particles=max(1, round(40 * (options.size / 192) ** 2)),  # as dense as at the default size
        diameter_nm=8,
        diameter_spread=0.35,
        support=Support(thickness_nm=10, texture=0.03),
    )
    frame = make_scene(config, rng=options.seed).frame
    path = scan_path("random", shape, options.ratio, rng=options.seed)
    scan = measure(frame, path, peak_counts=options.peak_counts or None, rng=options.seed)
    results = []
    for name in reconstructors.names:
        log(name)
        results.append(reconstruct(scan, name))
    with canvas(figures.methods_size(len(results), 6), options.out) as figure:
        figures.draw_methods(figure, scan, results, truth=frame, columns=6)
    say(f"Picture: {options.out}")


def _bench_recon_gpu(options: argparse.Namespace) -> None:
    from cs_recon.bench.gpu import bench_speed

    table = bench_speed(
        side=options.side,
        large_side=options.large_side,
        batch_size=options.batch,
        repeats=options.repeats,
        progress=log,
    )
    publish(options, "recon-speed", table.attrs["title"], rows=table.reset_index(), table=table)


def _bench_simulate(options: argparse.Namespace) -> None:
    import pandas as pd

    from simulate.bench import bench_large_frame, bench_schemes, bench_training_frames

    say(f"A 2048 x 2048 frame with 1,000 particles: {bench_large_frame():.2f} s on one core")
    say(f"Labelled 256 x 256 frames: {bench_training_frames():.0f} a second in two processes")
    rows = pd.DataFrame(bench_schemes(options.side, log))
    table = rows.pivot(index="scheme", columns="ratio", values="seconds")
    table.columns = [f"{ratio:.0%}" for ratio in table.columns]
    title = f"Seconds for a scan of {options.side} x {options.side} pixels, by scheme and ratio"
    publish(options, "schemes", title, rows=rows, table=table)
