"""The command that answers how to scan: plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmentation.cli.tables import log
from segmentation.cli.words import say
from simulate.errors import InputError, check_count, check_pixel_size

if TYPE_CHECKING:
    import argparse

    from segmentation.study import StudyConfig

_OVERRIDES = (
    ("schemes", str, "+", "scan schemes to choose from"),
    ("ratios", float, "+", "sampling ratios that are studied"),
    ("doses", float, "+", "peak counts that are studied"),
    ("reconstructors", str, "+", "reconstruction methods, with options: unrolled-ista:preset=fast"),
    ("segmenters", str, "+", "segmentation methods"),
    ("mappings", str, "+", "ways into the networks: reconstruct, features, sparse"),
)
_SCAN_OVERRIDES = (
    ("beam_current_pA", "I", "beam current in pA"),
    ("detected_share", "S", "share of the beam that is detected where a frame is brightest"),
    ("read_noise_counts", "N", "noise of each sample, whatever its dwell time, in counts"),
)
_FILES = {"tradeoff": "Trade-off", "scan.csv": "Coordinates", "scan.npy": "Coordinates"}
"""What the files of a plan are called, where that is not their name."""


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser(
        "plan", help="how to scan: the scheme, ratio and dwell time that reach a target at the least dose or time"
    )
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.toml", help="what to study (default: the shipped preset)"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--like", type=Path, metavar="FRAME", help="a full frame of such a specimen")
    source.add_argument("--scene", type=Path, metavar="SCENE.toml", help="fields of simulate.SceneConfig")
    source.add_argument("--real-folder", metavar="DIR", help="labelled frames: images/NAME.* with labels/NAME.png")
    parser.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="T",
        help="e.g. 'diameter_error<0.02', in quotes; repeatable: sizes may be right where particles are missed, "
        "so add 'f1>0.9'",
    )
    parser.add_argument(
        "--least", default="dose", choices=("dose", "time"), help="what to spend least of (default dose)"
    )
    parser.add_argument("--max-dose", type=float, metavar="D", help="budget in e-/Å²")
    parser.add_argument("--max-time", type=float, metavar="MS", help="budget of the frame time in ms")
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.8,
        metavar="P",
        help="that the plan reaches the target, 0 to 1 (default 0.8)",
    )
    parser.add_argument(
        "--pixel-size-nm",
        type=float,
        metavar="X",
        help="pixel size in nm of the frame of --like, if its file does not tell it",
    )
    parser.add_argument(
        "--shape",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="pixels of the frame that will be scanned (default: as --like or the scene)",
    )
    for name, kind, number, text in _OVERRIDES:
        parser.add_argument(f"--{name}", type=kind, nargs=number, metavar="X", help=text)
    for name, metavar, text in _SCAN_OVERRIDES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, dest=name, metavar=metavar, help=text)
    parser.add_argument("--hardware", metavar="NAME", help="scan hardware, see 'cs-stem scan --list'")
    parser.add_argument("--frames", type=int, metavar="N", help="how many simulated frames are studied (at least 4)")
    parser.add_argument(
        "--rounds", type=int, default=2, metavar="N", help="studies of further cases if unsure (default 2)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="local processes (default 1: this one)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the scan's positions (default 0)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("cs-stem-plan"),
        metavar="DIR",
        help="rows and plan go here (default cs-stem-plan)",
    )
    parser.set_defaults(func=_plan)


def _plan(options: argparse.Namespace) -> None:
    import math
    from contextlib import nullcontext

    from segmentation.study import Target, Wish, inline, local_processes, plan
    from segmentation.study.plan_output import describe_plan, write_plan
    from segmentation.study.planning import frame_shape

    check_count(options.workers, "--workers", 1)
    wish = Wish(
        tuple(Target.parse(text) for text in options.target),
        least=options.least,
        max_dose=math.inf if options.max_dose is None else options.max_dose,
        max_time_ms=math.inf if options.max_time is None else options.max_time,
        confidence=options.confidence,
    )
    check_count(options.seed, "--seed")
    for name, side in zip(("height", "width"), options.shape or (), strict=False):
        check_count(side, f"--shape, {name}", 8)
    if options.pixel_size_nm is not None:
        check_pixel_size(options.pixel_size_nm)
        if not (options.like or options.real_folder):
            raise InputError(
                "--pixel-size-nm is of the frame of --like, or of --real-folder; a scene has its own (pixel_size_nm in "
                "its file)"
            )
    if options.frames is not None and options.real_folder:
        raise InputError("--frames counts simulated frames and --real-folder takes all of its images; give one of them")
    config, shape = _study(options)
    if options.max_dose is not None and config.frames.generator != "scene" and not config.frames.pixel_size_nm:
        log("--max-dose counts electrons detected per pixel: these frames have no pixel size in common")
    shape = tuple(options.shape) if options.shape else shape or frame_shape(config)
    with local_processes(options.workers) if options.workers > 1 else nullcontext(inline) as executor:
        found, _ = plan(config, wish, options.out, shape=shape, rounds=options.rounds, executor=executor, progress=True)
    say(describe_plan(found))
    files = write_plan(found, config, options.out, shape, seed=options.seed)
    for name, path in files.items():
        say(f"{_FILES.get(name, name.capitalize())}: {path}")


def _study(options: argparse.Namespace) -> tuple[StudyConfig, tuple[int, int] | None]:
    """Return what is studied, and the shape of the frame at hand if there is one."""
    from cs_recon.config import load_config
    from segmentation.study import load_study, preset
    from segmentation.study.like import scene_like
    from segmentation.study.planner import check_frames
    from simulate.scenes import SceneConfig

    config = load_study(options.config) if options.config else preset("plan")
    changes: dict[str, Any] = {
        name: tuple(value) for name, *_ in _OVERRIDES if (value := getattr(options, name)) is not None
    }
    scan = {name: value for name, *_ in _SCAN_OVERRIDES if (value := getattr(options, name)) is not None}
    if options.hardware is not None:
        scan["hardware"] = options.hardware
    frames, shape = config.frames, None
    if options.frames is not None:
        frames = replace(frames, n=options.frames)
    elif (options.scene or options.like) and frames.n == 0:
        frames = replace(frames, n=preset("plan").frames.n)  # the scene takes the place of the folders
    if options.scene:
        frames = replace(frames, generator="scene", scene=load_config(options.scene, SceneConfig), folders=())
    elif options.real_folder:
        frames = replace(frames, n=0, folders=(options.real_folder,), pixel_size_nm=options.pixel_size_nm or 0.0)
    elif options.like:
        check_frames(frames.n)
        image, found = _particles(options)
        scene, shape = scene_like(image, found), found.labels.shape
        frames = replace(frames, generator="scene", scene=scene, folders=())
        say(
            f"Scenes like {options.like.name}: {scene.n_particles} particles of {scene.diameter_nm:.3g} nm on "
            f"{scene.shape[0]} x {scene.shape[1]} pixels of {scene.pixel_size_nm:.3g} nm"
        )
    return replace(config, **changes, frames=frames, scan=replace(config.scan, **scan)), shape


def _particles(options: argparse.Namespace) -> Any:
    """Return the frame at hand and the particles on it."""
    from cs_recon.io import read
    from segmentation.methods import segment

    frame = read(options.like, pixel_size_nm=options.pixel_size_nm)
    if isinstance(frame, list):
        raise InputError(f"{options.like} holds {len(frame)} frames; expected one: cut it out")
    if frame.ratio < 1:
        raise InputError(f"{options.like} is a sparse scan; expected a full frame: reconstruct it first")
    return frame.values, segment(frame, "mask-rcnn")
