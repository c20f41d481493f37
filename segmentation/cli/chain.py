"""The commands of daily use: run, reconstruct, segment, demo, methods."""

from __future__ import annotations

import argparse
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.resources import as_file, files
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from cs_recon import reconstruct, reconstructors
from cs_recon.device import pick_device
from cs_recon.io import provenance, read_frames, write_provenance
from segmentation.cli.fields import run_fields
from segmentation.cli.inputs import frames_of, is_folder, scans_of
from segmentation.cli.movies import movie_options, refuse_movie_options, run_movie
from segmentation.cli.options import analysis_option, frame_options, recon_options, scan_options, segment_options
from segmentation.cli.words import describe, remark_on_pixels, remark_on_scales, remark_on_sigma, say
from segmentation.mapping import MAPPINGS, RECONSTRUCT, check_mapping
from segmentation.measure import measure, summary
from segmentation.methods import segment, segmenters
from segmentation.models.family import ARCHITECTURES
from segmentation.output import analysis_paths
from segmentation.pipeline import ADAPTIVE, file_stem, run, save, save_particles, save_reconstruction
from segmentation.shipped import check_shipped, shipped, shipped_name
from simulate import measure as scan_frame
from simulate import scan_path, schemes
from simulate.atomic import make_folder, output_folder
from simulate.errors import InputError, check_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from segmentation.instances import Instances
    from segmentation.pipeline import Result
    from simulate.measurement import Measurement

MANY_ZEROS = 0.5
STAGES = ("reconstruct", "segment", "measure", "write")


def add_commands(commands: Any) -> None:
    """Add this module's commands to the parser."""
    parser = commands.add_parser("run", help="scan (or sparse scan) in, measured particles out")
    frame_options(parser)
    scan_options(parser)
    recon_options(parser)
    segment_options(parser)
    analysis_option(parser)
    movie_options(parser)
    parser.add_argument(
        "--separate", action="store_true", help="frames of a folder or stack are of different places: no movie"
    )
    parser.set_defaults(func=_run)

    parser = commands.add_parser("reconstruct", help="compute the full image from a sparse scan")
    frame_options(parser)
    scan_options(parser)
    recon_options(parser)
    parser.add_argument("--hspy", action="store_true", help="write the image as HyperSpy's .hspy too (extra 'io')")
    parser.set_defaults(func=_reconstruct)

    parser = commands.add_parser("segment", help="find and measure the particles of full images")
    frame_options(parser)
    segment_options(parser)
    analysis_option(parser)
    parser.set_defaults(func=_segment)

    parser = commands.add_parser("demo", help="the whole chain on a packaged frame")
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="where to write (default demo-output)"
    )
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu or cuda")
    parser.set_defaults(func=_demo)

    parser = commands.add_parser("methods", help="list scan schemes, reconstruction and segmentation methods")
    parser.set_defaults(func=_methods)


def _run(options: argparse.Namespace) -> None:
    _check_methods(options)
    if options.separate:
        refuse_movie_options(options, "the frames are of different places")
        _run_fields(options)
        return
    scans = scans_of(options)
    first = next(scans)
    _remark_on_zeros(first)
    others = _others(scans)
    if others is None:
        refuse_movie_options(options, "the file holds one frame")
    elif options.analysis:
        raise InputError(
            "--analysis is for one frame and the file holds a movie; leave it out, or add --separate if its frames are "
            "of different places"
        )
    with output_folder(options.out):
        if others is not None:
            run_movie(chain([first], others), options, _recon_choices(options), _segment_choices(options))
        else:
            with stages() as stage:
                result, paths = _run_frame(first, options, stage, {})
            say(report(result))
            remark_on_sigma(result.reconstruction.info.get("sigma_widened"))
            _remark_on_scale(result.instances, options)
            remark_on_pixels(result.table)
            _say_lines(_analyse(result.instances, result.table, options))
            say(f"\nFigure: {paths['figure']}\nTable:  {paths['table']}")


def _run_fields(options: argparse.Namespace) -> None:
    failed: dict[str, str] = {}
    scans = scans_of(options, failed)

    def work(scan: Measurement, stage: Callable[[str], object], fields: dict[str, object]) -> pd.DataFrame:
        result, _ = _run_frame(scan, options, stage, fields)
        _analyse(result.instances, result.table, options)
        return result.table

    with output_folder(options.out):
        run_fields(scans, failed, options, work, _recon_choices(options), _segment_choices(options))


def _run_frame(
    scan: Measurement, options: argparse.Namespace, stage: Callable[[str], object], fields: Mapping[str, object]
) -> tuple[Result, dict[str, Path]]:
    """Process a frame and write its result, with further fields for its provenance."""
    result = run(
        scan,
        recon=options.recon,
        segment=options.segment,
        device=options.device,
        recon_options=_recon_choices(options),
        segment_options=_segment_choices(options),
        stage=stage,
    )
    stage("write")
    return result, save(result, options.out, record={**_record(options), **fields})


def _remark_on_scale(found: Instances, options: argparse.Namespace) -> None:
    remark_on_scales(found.method, [found.info.get("scale")], asked=options.scale is not None)


def _remark_on_zeros(scan: Measurement) -> None:
    """Say that most pixels of a full frame are 0, which is likely a sparse scan whose mask was not told."""
    zeros = float(np.mean(scan.values == 0))
    if scan.mask.all() and zeros > MANY_ZEROS:
        say(f"{zeros:.0%} of the pixels are exactly 0 and count as scanned: if they were not, give the --mask\n")


def _others(scans: Iterator[Measurement]) -> Iterator[Measurement] | None:
    """Return a movie's further frames, None if there are none; what is wrong with the second is told in its place."""
    try:
        second = next(scans, None)
    except InputError as error:
        return _failing(error)
    return None if second is None else chain([second], scans)


def _failing(error: InputError) -> Iterator[Measurement]:
    raise error
    yield  # a generator: the error comes when the frame is asked for


def _analyse(instances: Instances, table: pd.DataFrame, options: argparse.Namespace) -> list[str]:
    """Write the analysis of a frame, if asked for, and return what to say of it."""
    if not options.analysis:
        for path in analysis_paths(options.out, file_stem(instances.name)).values():
            path.unlink(missing_ok=True)  # that of an earlier run would pass for this one's
        return []
    from segmentation.analysis import describe_analysis, save_analysis

    sizes, arranged, paths = save_analysis(instances, table, options.out, file_stem(instances.name))
    return [
        f"\n{describe_analysis(sizes, arranged)}",
        f"Sizes: {paths['population_figure']}\nArrangement: {paths['dispersion_figure']}",
    ]


def _say_lines(lines: list[str]) -> None:
    for line in lines:
        say(line)


def _reconstruct(options: argparse.Namespace) -> None:
    _check_methods(options)
    scans = list(scans_of(options))
    _remark_on_zeros(scans[0])
    with output_folder(options.out):
        _write_reconstructions(scans, options)


def _write_reconstructions(scans: list[Measurement], options: argparse.Namespace) -> None:
    for scan in tqdm(scans, unit="frame", leave=False):
        image = reconstruct(scan, options.recon, device=options.device, **_recon_choices(options))
        paths = save_reconstruction(image, options.out)
        hyperspy = paths["reconstruction"].with_suffix(".hspy")
        hyperspy.unlink(missing_ok=True)  # that of an earlier run would pass for this one's
        if options.hspy:
            from cs_recon.io import write_hspy

            write_hspy(hyperspy, image.image, pixel_size_nm=image.pixel_size_nm, title=image.name)
        stem = paths["reconstruction"].with_name(f"{file_stem(image.name)}_provenance.json")
        method = {"method": image.method, **image.info}
        write_provenance(stem, provenance(reconstruction=method, sampling_ratio=scan.ratio, **_record(options)))
        say(f"Reconstruction of {scan.ratio:.1%} of the pixels: {paths['reconstruction']}")
        remark_on_sigma(image.info.get("sigma_widened"))


def _segment(options: argparse.Namespace) -> None:
    _check_methods(options)
    failed: dict[str, str] = {}
    frames = frames_of(options.frame, options, failed)
    first, second = next(frames, None), next(frames, None)

    def work(frame: Measurement, stage: Callable[[str], object], fields: dict[str, object]) -> pd.DataFrame:
        found, table, _ = _segment_frame(frame, options, stage, fields)
        _analyse(found, table, options)
        return table

    with output_folder(options.out):
        if first is None or second is not None or failed or is_folder(options.frame):
            several = chain((frame for frame in (first, second) if frame is not None), frames)
            run_fields(several, failed, options, work, {}, _segment_choices(options))
            return
        with stages() as stage:
            found, table, paths = _segment_frame(first, options, stage, {})
        say(f"{describe(table)}\nFigure: {paths['figure']}\nTable:  {paths['table']}\nLabels: {paths['labels']}")
        _remark_on_scale(found, options)
        remark_on_pixels(table)
        _say_lines(_analyse(found, table, options))


def _segment_frame(
    frame: Measurement, options: argparse.Namespace, stage: Callable[[str], object], fields: Mapping[str, object]
) -> tuple[Instances, pd.DataFrame, dict[str, Path]]:
    """Find and measure the particles of a frame and write them, with further fields for their provenance."""
    from segmentation.figures import particles_figure

    stage("segment")
    found = segment(frame, options.segment, device=options.device, **_segment_choices(options))
    stage("measure")
    table = measure(found)
    stage("write")
    paths = save_particles(found, table, options.out)
    stem = file_stem(found.name)
    paths["figure"] = options.out / f"{stem}_figure.png"
    particles_figure(found, table, paths["figure"])
    told = {"segmentation": {"method": found.method, **found.info}, "summary": summary(table)}
    files = {name: path.name for name, path in paths.items()}
    record = provenance(**told, files=files, **_record(options), **fields)
    write_provenance(options.out / f"{stem}_provenance.json", record)
    return found, table, paths


def _demo(options: argparse.Namespace) -> None:
    data = files("segmentation") / "data"
    with ExitStack() as stack:
        frame = stack.enter_context(as_file(data / "demo_frame.tif"))
        truth = pd.read_csv(stack.enter_context(as_file(data / "demo_truth.csv")))
        pick_device(options.device)
        make_folder(options.out)
        full = read_frames(frame)[0]
    say(
        f"A simulated HAADF frame of {full.shape[0]} x {full.shape[1]} pixels of {full.pixel_size_nm:g} nm. "
        "10 % of its pixels are scanned,\nat 50 electrons where it is brightest; the rest is computed.\n"
    )
    path = scan_path("random", full.shape, 0.1, rng=0)
    scan = scan_frame(replace(full, name="demo"), path, peak_counts=50, rng=1)
    with stages() as stage:
        result = run(scan, device=options.device, stage=stage)
        stage("write")
        paths = save(result, options.out, record={"demo": True, "seed": 0})
    say(report(result))
    true = truth["equivalent_diameter_nm"]
    say(f"Truth of the simulated frame: {len(true)} particles, median diameter {true.median():.2f} nm")
    say(f"\nFigure: {paths['figure']}\nTable:  {paths['table']}")


def _methods(options: argparse.Namespace) -> None:
    for title, registry in (
        ("Scan schemes (--scheme)", schemes),
        ("Reconstruction methods (--recon)", reconstructors),
        ("Segmentation methods (--segment)", segmenters),
    ):
        say(title)
        for entry in registry:
            say(f"  {entry.name:<17} {entry.summary}")
        say("")
    say("Ways from a scan to a network (--mapping), and the networks with shipped weights for each")
    for mapping in MAPPINGS:
        there = [name for name in ARCHITECTURES if shipped_name(name, mapping) in shipped()]
        say(f"  {mapping:<17} {', '.join(there)}")


def refuse_prior(scheme: str) -> None:
    """Refuse a scheme that needs weights where none can be given; an adaptive scan finds its own."""
    if schemes[scheme].needs_prior and scheme != ADAPTIVE:
        raise InputError(
            f"scheme {scheme!r} needs weights; expected another one here: make such a scan with "
            f"'cs-stem scan {scheme} --prior IMAGE'"
        )


def _check_methods(options: argparse.Namespace) -> None:
    """Refuse bad names, devices and ratios before any file is read."""
    pick_device(options.device)
    if hasattr(options, "recon"):
        reconstructors[options.recon]
        if options.scheme is not None:
            refuse_prior(options.scheme)
            if options.ratio is None:
                raise InputError("--scheme says how --ratio sub-samples a frame; give both, or leave it out")
        if options.ratio is not None:
            check_ratio(options.ratio)
            if options.mask is not None:
                raise InputError("--ratio and --mask were both given; give one: --ratio makes a scan, --mask has one")
    if hasattr(options, "segment"):
        segmenters[options.segment]
        if options.mapping:
            check_mapping(options.mapping)
        if options.segment in ARCHITECTURES and not options.segment_weights:
            check_shipped(shipped_name(options.segment, options.mapping or RECONSTRUCT))


def _recon_choices(options: argparse.Namespace) -> dict[str, Any]:
    return _weights(options.recon_weights) | dict(map(_name_and_value, options.recon_option))


def _name_and_value(text: str) -> tuple[str, Any]:
    """Read an option of a method: a number, true or false where the value is one, else text."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--recon-option is {text!r}; expected NAME=VALUE, e.g. preset=fast or threshold=0.3")
    if name in ("measurement", "method", "device", "batch_size"):
        raise InputError(f"--recon-option is {text!r}, which is no option of a method; see --recon and --device")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def _weights(path: str) -> dict[str, Any]:
    return {"weights": path} if path else {}


def _segment_choices(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in ("min_score", "min_snr", "views", "scale")}
    mapping = {"mapping": options.mapping} if options.mapping else {}
    return _weights(options.segment_weights) | {name: v for name, v in given.items() if v is not None} | mapping


def _record(options: argparse.Namespace) -> dict[str, object]:
    arguments = {name: value for name, value in vars(options).items() if name != "func"}
    return {"arguments": arguments, "seed": getattr(options, "seed", None)}


@contextmanager
def stages() -> Iterator[Callable[[str], object]]:
    """Show a progress bar over the stages of one frame; yield what is called with the name of each as it begins."""
    with tqdm(total=len(STAGES), unit="stage", leave=False) as bar:

        def show(stage: str) -> None:
            bar.set_description(stage)
            bar.n = STAGES.index(stage)
            bar.refresh()

        yield show


def report(result: Result) -> str:
    """Return what to print about a result: the scan, the particles, and the largest of them."""
    scan, table = result.measurement, result.table
    lines = [f"{scan.ratio:.1%} of the pixels scanned; {describe(table)}"]
    if not table.empty:
        unit = "nm" if "equivalent_diameter_nm" in table else "px"
        shown = [f"equivalent_diameter_{unit}", f"feret_max_{unit}", f"area_{unit}2", "circularity", "score"]
        largest = table.sort_values(shown[0], ascending=False).head(5)
        lines += [
            "",
            "The five largest:",
            largest[["label", *shown]].to_string(index=False, float_format="%.3g"),
        ]
    return "\n".join(lines)
