"""The command simulate: frames, sparse scans and movies with their truth."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tqdm import tqdm

from cs_recon.config import from_table, load_table
from cs_recon.io import provenance, write_image, write_provenance, write_sparse
from segmentation.cli.chain import refuse_prior
from segmentation.cli.scans import chosen_hardware, describe, path_options, planned_path, reordered
from segmentation.cli.words import count, say
from segmentation.output import write_csv
from segmentation.pipeline import ADAPTIVE, adaptive_measure, file_stem
from simulate.arrange import ARRANGEMENTS
from simulate.atomic import make_folder
from simulate.detector import measure
from simulate.errors import InputError, check_rng
from simulate.export import write_scan
from simulate.figures import scene_figure
from simulate.materials import MATERIALS, MODES
from simulate.movie import Movie
from simulate.movie_config import MovieConfig
from simulate.movie_scan import SAMPLING_MODES, measure_movie, movie_paths
from simulate.readout import Detector
from simulate.scenes import SceneConfig, make_scene
from simulate.schemes import scan_path, schemes
from simulate.shapes import bodies

if TYPE_CHECKING:
    from simulate.scan import ScanPath
    from simulate.scenes import Scene

T = TypeVar("T")
SCENE_FILES = {
    "Frame": ("frame.tif",),
    "Truth": ("truth.csv", "labels.tif"),
    "Figure": ("figure.png",),
    "Record": ("provenance.json",),
}
"""What every scene leaves, by kind: what follows the stem in the files' names."""
_SIDES = "{} {}".format(*SceneConfig().shape)
_SHAPE = f"frame shape in pixels (default {_SIDES})"
_OF_SCENES = ("frame.tif", "noisy.tif", "scan.npz", "path.csv", "truth.csv", "figure.png")
_OF_MOVIES = ("movie.tif", "scan.tif", "tracks.csv")
"""What scenes alone and movies alone leave; beside a later one's files of the same name it would pass for a part."""


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    simulate = commands.add_parser("simulate", help="simulate frames, sparse scans and movies, with their truth")
    kinds = simulate.add_subparsers(title="what", metavar="WHAT", required=True)

    parser = kinds.add_parser("frame", help="a particle scene: frame, label map, table of particles")
    _scene_options(parser, SceneConfig)
    parser.add_argument("--shape", type=int, nargs=2, metavar=("H", "W"), help=_SHAPE)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed (default 0)")
    _dose_options(parser)
    parser.add_argument("--dwell-us", type=float, default=10.0, metavar="T", help="dwell time in µs (default 10)")
    parser.set_defaults(func=_frame)

    parser = kinds.add_parser("scan", help="a particle scene and its sparse scan, with the scan's time and dose")
    _scene_options(parser, SceneConfig)
    _scheme_options(parser)
    parser.set_defaults(func=_scan)

    parser = kinds.add_parser("movie", help="a movie of moving particles, its sparse scans and true tracks")
    _scene_options(parser, MovieConfig)
    _scheme_options(parser)
    parser.add_argument(
        "--frames", dest="n_frames", type=int, metavar="N", help=f"how many frames (default {MovieConfig().n_frames})"
    )
    parser.add_argument("--frame-interval-s", type=float, metavar="S", help="time from a frame to the next (default 1)")
    parser.add_argument(
        "--diffusion-nm2-per-s", type=float, metavar="D", help="the particles' diffusion coefficient (default 0)"
    )
    parser.add_argument(
        "--drift-nm-per-s", type=float, nargs=2, metavar=("DOWN", "RIGHT"), help="the sample's drift (default 0 0)"
    )
    parser.add_argument("--coalescence", action="store_true", default=None, help="particles that meet become one")
    parser.add_argument(
        "--masks", default="changing", choices=SAMPLING_MODES,
        help="pixels of a frame: fixed: the same in each; interleaved: disjoint ones that cover the frame in turn; "
        "changing (default): drawn anew",
    )  # fmt: skip
    parser.set_defaults(func=_movie)


def _scene_options(parser: argparse.ArgumentParser, kind: type) -> None:
    scene = SceneConfig()
    parser.add_argument(
        "config", type=Path, nargs="?", metavar="CONFIG.toml", help=f"fields of simulate.{kind.__name__}"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("simulated"), metavar="DIR", help="where to write (default simulated)"
    )
    parser.add_argument("--name", default="scene", metavar="NAME", help="what the files are called (default scene)")
    parser.add_argument(
        "--pixel-size-nm", type=float, metavar="X", help=f"pixel size in nm (default {scene.pixel_size_nm:g})"
    )
    parser.add_argument(
        "--n-particles", type=int, metavar="N", help=f"number of particles (default {scene.n_particles})"
    )
    parser.add_argument(
        "--diameter-nm", type=float, metavar="D", help=f"median diameter in nm (default {scene.diameter_nm:g})"
    )
    parser.add_argument(
        "--shapes", nargs="+", metavar="NAME", help=f"of {', '.join(bodies.names)} (default {' '.join(scene.shapes)})"
    )
    parser.add_argument(
        "--materials",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(MATERIALS)} (default {' '.join(scene.materials)})",
    )
    parser.add_argument(
        "--arrangement", metavar="NAME", help=f"one of {', '.join(ARRANGEMENTS)} (default {scene.arrangement})"
    )
    parser.add_argument("--mode", metavar="NAME", help=f"one of {', '.join(MODES)} (default {scene.mode})")


def _dose_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peak-counts", type=float, metavar="N", help="add counting noise: electrons in the brightest pixel"
    )
    parser.add_argument(
        "--beam-current-pA", type=float, metavar="I", help="add counting noise: that of this beam current in pA"
    )


def _scheme_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scheme", default="random", metavar="NAME", help="scan scheme, see 'cs-stem scan --list' (default random)"
    )
    path_options(parser, _SIDES)
    _dose_options(parser)


_OVERRIDES = ("shape", "pixel_size_nm", "n_particles", "diameter_nm", "shapes", "materials", "arrangement", "mode")
_MOVIE_OVERRIDES = ("n_frames", "frame_interval_s", "diffusion_nm2_per_s", "drift_nm_per_s", "coalescence")


def _configuration(options: argparse.Namespace, kind: type[T], scene: str = "") -> T:
    """Return the configuration of the file (or the default), with the options that were given in place of its fields.

    `scene` is the table of the scene's fields; they are at the top if it is empty.
    """
    table = load_table(options.config) if options.config else {}
    fields = table.setdefault(scene, {}) if scene else table
    if isinstance(fields, dict):
        fields |= {name: value for name in _OVERRIDES if (value := getattr(options, name)) is not None}
    table |= {name: value for name in _MOVIE_OVERRIDES if (value := getattr(options, name, None)) is not None}
    return from_table(table, kind, options.config.name if options.config else "the command line")


def _frame(options: argparse.Namespace) -> None:
    config = _configuration(options, SceneConfig)
    position, noise = _streams(options.seed)
    scene = make_scene(config, rng=position)
    path = full = None
    if options.peak_counts is not None or options.beam_current_pA is not None:
        path = scan_path("raster", config.shape, dwell_us=options.dwell_us)
        full = measure(scene.frame, path, rng=noise, **_dose(options))
    stem = _save_scene(scene, options)
    height, width = config.shape
    say(f"{len(scene.particles)} particles in {height} x {width} pixels of {config.pixel_size_nm:g} nm")
    files = SCENE_FILES
    if path is not None and full is not None:
        write_image(f"{stem}_noisy.tif", full.values, pixel_size_nm=config.pixel_size_nm)
        say(describe(path, options.beam_current_pA, config.pixel_size_nm))
        files = {"Noisy": ("noisy.tif",), **SCENE_FILES}
    _say_files(stem, files)


def _scan(options: argparse.Namespace) -> None:
    config = _configuration(options, SceneConfig)
    position, noise = _streams(options.seed)
    refuse_prior(options.scheme)
    scene = make_scene(config, rng=position)
    dose = _dose(options)
    if options.scheme == ADAPTIVE:
        if options.reorder:
            raise InputError("--reorder does not go with adaptive, whose passes have their order; leave it out")
        scan = adaptive_measure(
            scene.frame, options.ratio, rng=options.seed, noise_rng=noise, dwell_us=options.dwell_us,
            hardware=chosen_hardware(options), pixel_size_nm=config.pixel_size_nm, **dose,
        )  # fmt: skip
        path = scan.path
        assert path is not None
    else:
        path = reordered(options, planned_path(options, options.scheme, config.shape, options.seed))
        scan = measure(scene.frame, path, rng=noise, pixel_size_nm=config.pixel_size_nm, **dose)
    stem = _save_scene(scene, options)
    write_sparse(f"{stem}_scan.npz", scan)
    write_scan(f"{stem}_path.csv", path)
    say(describe(path, options.beam_current_pA, config.pixel_size_nm))
    _say_files(stem, {"Scan": ("scan.npz",), "Path": ("path.csv",), **SCENE_FILES})
    say(f"Go on: cs-stem run {shlex.quote(f'{stem}_scan.npz')}")


def _save_scene(scene: Scene, options: argparse.Namespace) -> Path:
    make_folder(options.out)
    stem = options.out / file_stem(options.name)
    _clear(stem)
    size = scene.config.pixel_size_nm
    write_image(f"{stem}_frame.tif", scene.frame, pixel_size_nm=size)
    write_image(f"{stem}_labels.tif", scene.labels, pixel_size_nm=size)
    write_csv(f"{stem}_truth.csv", scene.table)
    scene_figure(scene, f"{stem}_figure.png")
    _record(options, scene.config)
    return stem


def _movie(options: argparse.Namespace) -> None:
    config = _configuration(options, MovieConfig, "scene")
    if schemes[options.scheme].needs_prior:
        raise InputError(f"scheme {options.scheme!r} needs weights; expected another scheme for a movie")
    position, noise = _streams(options.seed)
    paths = list(movie_paths(
        options.scheme, config.scene.shape, options.ratio, config.n_frames, mode=options.masks, rng=options.seed,
        dwell_us=options.dwell_us, hardware=chosen_hardware(options),
    ))  # fmt: skip
    paths = [reordered(options, path) for path in paths]
    make_folder(options.out)
    stem = options.out / file_stem(options.name)
    movie = Movie(config, position)
    scans = measure_movie(movie, paths, rng=noise, name=options.name, **_dose(options))
    frames, labels, sparse = [], [], []
    for frame, scan in tqdm(zip(movie, scans, strict=True), total=len(movie), unit="frame", leave=False):
        frames.append(frame.frame)
        labels.append(frame.labels)
        sparse.append(np.where(scan.mask, scan.values, np.nan).astype(np.float32))
    size = config.scene.pixel_size_nm
    _clear(stem)
    for kind, stack in (("movie", frames), ("labels", labels), ("scan", sparse)):
        write_image(f"{stem}_{kind}.tif", np.stack(stack), pixel_size_nm=size)
    tracks = movie.table
    write_csv(f"{stem}_tracks.csv", tracks)
    _record(options, config)
    still = not config.diffusion_nm2_per_s and not any(config.drift_nm_per_s)
    hint = ", which do not move (--diffusion-nm2-per-s, --drift-nm-per-s)" if still else ""
    say(
        f"{count(config.n_frames, 'frame')}, {count(tracks.particle.nunique(), 'particle')}{hint}\n{describe(paths[0])}"
    )
    _say_files(stem, {
        "Movie": ("movie.tif",), "Scans": ("scan.tif (NaN where nothing was scanned)",),
        "Paths": (_write_paths(Path(f"{stem}_paths"), paths),), "Truth": ("tracks.csv", "labels.tif"),
        "Record": ("provenance.json",),
    })  # fmt: skip
    interval = f" --frame-interval-s {config.frame_interval_s:g}" if config.n_frames > 1 else ""
    say(f"Go on: cs-stem run {shlex.quote(f'{stem}_scan.tif')}{interval}")


def _clear(stem: Path) -> None:
    """Remove what an earlier scene or movie of that name left, and the one at hand may not write."""
    for part in (*_OF_SCENES, *_OF_MOVIES):
        Path(f"{stem}_{part}").unlink(missing_ok=True)
    folder = Path(f"{stem}_paths")
    for left in folder.glob("frame_*.csv"):
        left.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _write_paths(folder: Path, paths: list[ScanPath]) -> str:
    """Write a movie's scan paths, a file a frame; return what they are called."""
    files = [write_scan(folder / f"frame_{index:04d}.csv", path) for index, path in enumerate(paths)]
    return f"paths/{files[0].name}" if len(files) == 1 else f"paths/{files[0].name} to {files[-1].name}"


def _say_files(stem: Path, files: dict[str, tuple[str, ...]]) -> None:
    """Name what was written: a line a kind, of what follows the stem in the files' names."""
    width = max(map(len, files)) + 2
    for kind, parts in files.items():
        say(f"{kind + ':':<{width}}{', '.join(f'{stem}_{part}' for part in parts)}")


def _dose(options: argparse.Namespace) -> dict[str, Any]:
    if options.beam_current_pA is not None:
        if options.peak_counts is not None:
            raise InputError("--peak-counts and --beam-current-pA were both given; give one of them")
        return {"beam_current_pA": options.beam_current_pA, "detector": Detector()}
    return {} if options.peak_counts is None else {"peak_counts": options.peak_counts}


def _streams(seed: int) -> list[np.random.Generator]:
    """Return the generators of scene and noise, so that the draws of neither shift the other's.

    The scan is drawn from the seed itself, which its file tells: it can be drawn again without the scene.
    """
    check_rng(seed)
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)]


def _record(options: argparse.Namespace, config: object) -> None:
    arguments = {name: value for name, value in vars(options).items() if name != "func"}
    record = provenance(configuration=config, arguments=arguments, seed=options.seed)
    write_provenance(options.out / f"{file_stem(options.name)}_provenance.json", record)
