"""The commands that judge segmentation and plans: compare, and bench robustness, transfer, sizes, plan and speed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmentation.cli.tables import bench_options, log, names, numbers, publish
from segmentation.cli.words import say
from simulate.atomic import make_folder
from simulate.errors import InputError, check_count, check_ratio, check_within

if TYPE_CHECKING:
    import argparse

    from segmentation.bench.compare import Model

_MODELS = "METHOD or METHOD:MAPPING or METHOD:MAPPING:WEIGHTS, comma-separated (default: all that are shipped)"


def add_benches(commands: Any, kinds: Any) -> None:
    """Add the command ``compare`` to the commands, and the benchmarks of segmentation to those of ``bench``."""
    parser = commands.add_parser("compare", help="table of segmentation models: accuracy, size, time and memory")
    parser.add_argument("--models", type=names, default=(), metavar="A,B", help=_MODELS)
    parser.add_argument("--frames", type=int, default=40, metavar="N", help="simulated frames (default 40)")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="their side in pixels (default 256)")
    parser.add_argument("--generator", default="ordinary", metavar="NAME", help="of frames: ordinary (default) or hard")
    parser.add_argument("--split", default="test", choices=("validation", "test"), help="which frames (default test)")
    parser.add_argument(
        "--ratios", type=numbers, default=(1.0, 0.1, 0.05), metavar="R,R", help="sampling ratios (default 1,0.1,0.05)"
    )
    parser.add_argument(
        "--peak-counts", type=float, default=50.0, metavar="N", help="peak counts; 0: no noise (default 50)"
    )
    parser.add_argument("--scheme", default="random", metavar="NAME", help="of sparse scans (default random)")
    bench_options(parser)
    parser.set_defaults(func=_compare)

    parser = kinds.add_parser("robustness", help="AP of every model against dose, contrast, blur and density")
    parser.add_argument("--models", type=names, default=(), metavar="A,B", help=_MODELS)
    parser.add_argument("--frames", type=int, default=10, metavar="N", help="frames a point (default 10)")
    parser.add_argument("--ratio", type=float, default=1.0, metavar="R", help="sampling ratio (default 1)")
    bench_options(parser, real=False)
    parser.set_defaults(func=_robustness)

    parser = kinds.add_parser("transfer", help="nuclei, then particles, against particles from scratch")
    parser.add_argument("--nuclei", required=True, metavar="DIR", help="labelled images of nuclei")
    parser.add_argument("--particles", required=True, metavar="DIR", help="labelled images of particles")
    parser.add_argument("--first-steps", type=int, default=400, metavar="N", help="steps on nuclei (default 400)")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="steps on particles (default 300)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="runs and table go here")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu or cuda")
    parser.set_defaults(func=_transfer)

    parser = kinds.add_parser("sizes", help="sizes, counts and intervals of the whole chain against the truth")
    parser.add_argument("--frames", type=int, default=48, metavar="N", help="simulated frames (default 48)")
    parser.add_argument("--ratio", type=float, default=0.1, metavar="R", help="sampling ratio (default 0.1)")
    parser.add_argument(
        "--peak-counts", type=float, default=50.0, metavar="N", help="peak counts; 0: no noise (default 50)"
    )
    parser.add_argument("--split", default="test", choices=("validation", "test"), help="which frames (default test)")
    bench_options(parser, real=False)
    parser.set_defaults(func=_sizes)

    parser = kinds.add_parser("plan", help="plans against brute force, on scenes that the planner has not seen")
    parser.add_argument("--scene", type=Path, metavar="SCENE.toml", help="fields of simulate.SceneConfig")
    parser.add_argument(
        "--targets",
        type=names,
        default=("f1>0.8", "f1>0.9", "diameter_error<0.1"),
        metavar="T,T",
        help="what to plan for (default f1>0.8,f1>0.9,diameter_error<0.1)",
    )
    parser.add_argument("--held-out", type=int, default=20, metavar="N", help="held-out scenes (default 20)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="rows and table go here")
    parser.set_defaults(func=_plan)

    parser = kinds.add_parser("segment-speed", help="time from sparse scan to label map, by model")
    parser.add_argument("--models", type=names, default=(), metavar="A,B", help=_MODELS)
    parser.add_argument("--side", type=int, default=512, metavar="N", help="side of the frame (default 512)")
    parser.add_argument("--particles", type=int, default=100, metavar="N", help="particles on it (default 100)")
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="timings of which the median is told (default 5)"
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="scans a batch of a stream (default 16 on a GPU, 1 on a CPU)"
    )
    bench_options(parser, real=False)
    parser.set_defaults(func=_speed)


def _models(options: argparse.Namespace) -> list[Model]:
    from segmentation.bench.compare import Model, shipped_models

    return [Model.parse(text) for text in options.models] or shipped_models()


def _compare(options: argparse.Namespace) -> None:
    from segmentation.bench.compare import Condition, compare, comparison_table, relative_to_full
    from segmentation.bench.frames import real_frames, simulated_frames

    check_count(options.frames, "--frames", 0)
    ratios = [check_ratio(ratio) for ratio in options.ratios]
    if not ratios:
        raise InputError("--ratios names none; expected at least one sampling ratio, such as 0.1")
    check_within(options.peak_counts, "--peak-counts", 0)
    if options.frames == 0 and not options.real_folder:
        raise InputError("--frames is 0 and there is no --real-folder; expected frames to judge on")
    models = _models(options)
    conditions = [Condition(ratio, options.peak_counts, options.scheme) for ratio in ratios]
    sources = {}
    if options.frames:
        sources["simulated"] = simulated_frames(options.frames, options.split, options.size, options.generator)
    if options.real_folder:
        sources["real"] = real_frames(options.real_folder, options.split)
    for kind, frames in sources.items():
        extra = f", {options.generator}" if kind == "simulated" else ""
        # A real image is noisy as it is: its full scan gets no noise on top.
        own = [replace(one, peak_counts=0.0) if kind == "real" and one.ratio == 1 else one for one in conditions]
        rows = compare(frames, models, own, device=options.device, progress=log)
        title = f"{kind} frames ({options.split}{extra}), {options.scheme} scans, {rows.frame.nunique()} of them"
        publish(options, f"compare-{kind}", title, rows=rows, table=comparison_table(rows, models))
        share = relative_to_full(rows)
        share.columns = [f"{figure} at {ratio:.0%}" for figure, ratio in share.columns]
        share.index = [model for _, model in share.index]
        publish(options, f"compare-{kind}-ratios", f"{title}: by sampling ratio", rows=share.reset_index(), table=share)


def _robustness(options: argparse.Namespace) -> None:
    from segmentation.bench.robustness import robustness, robustness_figure, robustness_table

    check_count(options.frames, "--frames", 1)
    rows = robustness(
        _models(options), frames=options.frames, ratio=check_ratio(options.ratio), device=options.device, progress=log
    )
    title = f"AP at IoU 0.5, {options.frames} frames a point, sampling ratio {options.ratio:g}"
    publish(options, "robustness", title, rows=rows, table=robustness_table(rows))
    if options.out:
        robustness_figure(rows, options.out / "robustness.png")


def _transfer(options: argparse.Namespace) -> None:
    from cs_recon.device import pick_device
    from segmentation.bench.transfer import TransferPlan, transfer_experiment, transfer_table

    plan = TransferPlan(options.nuclei, options.particles, options.first_steps, options.steps)
    make_folder(options.out)
    rows = transfer_experiment(plan, options.out, device=pick_device(options.device), progress=log)
    title = f"real particle images (test), after {plan.steps} steps each, {plan.first_steps} on nuclei before"
    publish(options, "transfer", title, rows=rows, table=transfer_table(rows))


def _sizes(options: argparse.Namespace) -> None:
    from segmentation.bench.frames import simulated_frames
    from segmentation.bench.sizes import frame_figures, judge_sizes, sizes_table

    check_count(options.frames, "--frames", 1)
    frames = simulated_frames(options.frames, options.split)
    ratio = check_ratio(options.ratio)
    check_within(options.peak_counts, "--peak-counts", 0)
    rows = judge_sizes(frames, ratio=ratio, peak_counts=options.peak_counts, device=options.device, progress=log)
    title = f"Sizes on {options.frames} simulated frames ({options.split}), sampling ratio {ratio:g}"
    publish(options, "sizes", title, rows=rows, table=sizes_table(rows))
    for name, value in frame_figures(rows).items():
        say(f"{name}: {value:.1%}" + ("" if name.startswith("mean") else " of the frames"))


def _plan(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from cs_recon.config import load_config
    from segmentation.study import Target, preset
    from segmentation.study.promise import keep_promises
    from simulate.scenes import SceneConfig

    check_count(options.held_out, "--held-out", 1)
    # A smaller study than a plan's own: brute force tries a grid twice as fine on every held-out scene.
    config = replace(preset("plan"), schemes=("poisson-disc",), ratios=(0.03, 0.1, 0.3), doses=(5.0, 30.0, 200.0))
    scene = load_config(options.scene, SceneConfig) if options.scene else SceneConfig(shape=(160, 160), n_particles=25)
    config = replace(config, frames=replace(config.frames, generator="scene", scene=scene))
    targets = [Target.parse(text) for text in options.targets]
    rows = keep_promises(config, targets, options.out, held_out=options.held_out, progress=True)
    title = f"Plans on {options.held_out} held-out scenes of {scene.n_particles} particles"
    publish(options, "plan", title, rows=rows, table=rows.set_index("target"))


def _speed(options: argparse.Namespace) -> None:
    from segmentation.bench.speed import speed

    check_count(options.repeats, "--repeats", 1)
    if options.batch_size is not None:
        check_count(options.batch_size, "--batch-size", 1)
    rows = speed(
        _models(options),
        side=options.side,
        particles=options.particles,
        repeats=options.repeats,
        batch_size=options.batch_size,
        device=options.device,
    )
    title = f"From a scan of 10 % of {options.side} x {options.side} pixels to the label map"
    publish(options, "segment-speed", title, rows=rows, table=rows.set_index("model"))
