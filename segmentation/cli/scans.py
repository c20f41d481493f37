"""The command scan: plan where the beam goes, see what it costs, and export it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cs_recon.io import read_frames
from segmentation.cli.words import say
from simulate.atomic import make_folder
from simulate.dose import dose_e_per_A2
from simulate.errors import InputError, check_pixel_size, check_positive, check_shape
from simulate.export import scan_format, write_scan
from simulate.figures import draw_scan_figure, gallery_prior, schemes_figure
from simulate.hardware import HARDWARE, hardware_by_name
from simulate.reorder import METHODS, reorder
from simulate.scan_text import info_file
from simulate.schemes import scan_path, schemes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.hardware import ScanHardware
    from simulate.scan import ScanPath


def add_commands(commands: Any) -> None:
    """Add this module's command to the parser."""
    parser = commands.add_parser("scan", help="plan a scan: its time and dose, its picture, its coordinates")
    parser.add_argument("scheme", nargs="?", metavar="SCHEME", help="scan scheme, see --list")
    parser.add_argument("--list", action="store_true", help="list the scan schemes and the scan hardware")
    parser.add_argument("--compare", action="store_true", help="time, way and dose of every scheme, in one table")
    parser.add_argument("--gallery", type=Path, metavar="PNG", help="draw every scheme and its mask's spectrum")
    path_options(parser, "512 512; of --gallery 96 96")
    parser.add_argument("--prior", type=Path, metavar="IMAGE", help="weights for variable-density and adaptive")
    parser.add_argument("--beam-current-pA", type=float, metavar="I", help="beam current in pA, for the dose")
    parser.add_argument("--pixel-size-nm", type=float, metavar="X", help="pixel size in nm, for the dose in e-/Å²")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the scan: order, landing, spectrum")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="export the coordinates: .csv, .npy, .npz, .nxs/.h5, or NAME_scan_coordinates.csv (Direct Electron)",
    )
    parser.set_defaults(func=_scan)


def path_options(parser: argparse.ArgumentParser, default_shape: str) -> None:
    """Add the options that say how a frame is scanned."""
    parser.add_argument(
        "--shape", type=int, nargs=2, metavar=("H", "W"), help=f"frame shape in pixels (default {default_shape})"
    )
    parser.add_argument("--ratio", type=float, default=0.1, metavar="R", help="sampling ratio, 0 to 1 (default 0.1)")
    parser.add_argument("--dwell-us", type=float, default=10.0, metavar="T", help="dwell time in µs (default 10)")
    parser.add_argument(
        "--hardware",
        default="conventional",
        metavar="NAME",
        help=f"scan hardware: {', '.join(HARDWARE)} (default conventional)",
    )
    parser.add_argument("--unblanked", action="store_true", help="the beam stays on during jumps")
    parser.add_argument("--reorder", metavar="METHOD", help=f"shorten the way: {', '.join(METHODS)}")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed (default 0)")


def chosen_hardware(options: argparse.Namespace) -> ScanHardware:
    """Return the scan hardware that the options ask for."""
    hardware = hardware_by_name(options.hardware)
    return replace(hardware, blanked=False) if options.unblanked else hardware


def planned_path(
    options: argparse.Namespace, scheme: str, shape: tuple[int, int], rng: Any, prior: NDArray | None = None
) -> ScanPath:
    """Return the scan that the options ask for, in the scheme's own order."""
    hardware = chosen_hardware(options)
    return scan_path(scheme, shape, options.ratio, rng=rng, dwell_us=options.dwell_us, hardware=hardware, prior=prior)


def reordered(options: argparse.Namespace, path: ScanPath) -> ScanPath:
    """Return the scan in the order that the options ask for."""
    return reorder(path, options.reorder) if options.reorder else path


def _scan(options: argparse.Namespace) -> None:
    if options.list:
        list_schemes()
        return
    form = scan_format(options.out) if options.out else ""
    shape = _shape(options, (512, 512))
    check_pixel_size(options.pixel_size_nm)
    if options.beam_current_pA is not None:
        check_positive(options.beam_current_pA, "beam current", "give it in pA")
    if options.gallery:
        hardware = chosen_hardware(options)
        side = _shape(options, (96, 96))
        schemes_figure(
            options.gallery, shape=side, ratio=options.ratio, dwell_us=options.dwell_us, hardware=hardware,
            rng=options.seed,
        )  # fmt: skip
        say(f"Picture: {options.gallery}")
    if options.compare:
        say(comparison(options, shape).to_string(index=False, float_format="%.4g"))
    if options.scheme is None:
        if not (options.gallery or options.compare):
            raise InputError("no scheme was named; give one, e.g. 'cs-stem scan random', or see 'cs-stem scan --list'")
        if options.out or options.picture or options.prior:
            raise InputError(
                "--out, --picture and --prior are of one scheme and none was named; name it, or leave them"
            )
        return
    needs_prior = schemes[options.scheme].needs_prior
    if needs_prior and options.prior is None:
        raise InputError(f"scheme {options.scheme!r} needs weights; give an image with --prior")
    prior = read_frames(options.prior)[0].values if options.prior else None
    if prior is not None:
        if options.shape and tuple(options.shape) != prior.shape:
            raise InputError(f"--shape is {shape} but the prior has shape {prior.shape}; leave --shape out")
        shape = check_shape(prior.shape)
    before = planned_path(options, options.scheme, shape, options.seed, prior)
    path = reordered(options, before)
    say(describe(path, options.beam_current_pA, options.pixel_size_nm))
    if options.reorder:
        saved = 1 - path.travel_px / max(before.travel_px, 1e-9)
        say(f"Reordered: way {before.travel_px:.0f} -> {path.travel_px:.0f} px ({-saved:+.0%}), "
            f"frame time {before.frame_time_ms:.4g} -> {path.frame_time_ms:.4g} ms")  # fmt: skip
    if options.picture:
        say(f"Picture: {draw_scan_figure(path, options.picture)}")
    if options.out:
        make_folder(options.out.parent)
        with_info = form == "direct-electron"
        size = options.pixel_size_nm if with_info else None
        say(f"Coordinates: {write_scan(options.out, path, pixel_size_nm=size)}")
        if with_info:
            say(f"Info: {info_file(options.out)}")


def _shape(options: argparse.Namespace, default: tuple[int, int]) -> tuple[int, int]:
    return check_shape(tuple(options.shape), "--shape") if options.shape else default


def list_schemes() -> None:
    """Print every scheme and every scan hardware, a line each."""
    say("Scan schemes (realised ratio exact to: pixel, line of the frame, or chance)")
    for entry in schemes:
        facts = [entry.value.granularity]
        if entry.value.revisits:
            facts.append("revisits pixels")
        if entry.value.needs_prior:
            facts.append("needs --prior")
        say(f"  {entry.name:<17} {entry.summary} [{', '.join(facts)}]")
    say("\nScan hardware (--hardware)")
    for name, hardware in HARDWARE.items():
        say(f"  {name:<17} lag {hardware.lag_us:g} µs, fly-back {hardware.flyback_us:g} µs, "
            f"dwell from {hardware.shortest_dwell_us:g} µs, "
            f"slew {hardware.slew_px_per_us:g} px/µs, hysteresis {hardware.hysteresis_px:g} px")  # fmt: skip


def comparison(options: argparse.Namespace, shape: tuple[int, int]) -> pd.DataFrame:
    """Return a row for each scheme: realised ratio, positions, frame time, way, beam's distance from its target."""
    rows = []
    for entry in schemes:
        prior = gallery_prior(shape) if entry.value.needs_prior else None
        try:
            path = reordered(options, planned_path(options, entry.name, shape, options.seed, prior))
        except InputError as error:
            rows.append({"scheme": entry.name, "note": str(error).split(";")[0]})
            continue
        row = {
            "scheme": entry.name,
            "ratio": path.ratio,
            "positions": path.n_positions,
            "frame_time_ms": path.frame_time_ms,
            "way_px": path.travel_px,
            "off_target_px": path.landing_error_px,
        }
        if options.beam_current_pA is not None:
            row["electrons"] = path.electrons(options.beam_current_pA)
            if options.pixel_size_nm:
                row["dose_e_per_A2"] = path.dose_e_per_A2(options.beam_current_pA, options.pixel_size_nm)
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.fillna({"note": ""}) if "note" in table else table


def describe(path: ScanPath, beam_current_pA: float | None = None, pixel_size_nm: float | None = None) -> str:
    """Return a few lines on a scan: ratio, time, way, landing, and dose where the current is known."""
    dwell_ms = float(path.dwells_us.sum()) / 1000
    lines = [
        f"{path.scheme}: {path.n_positions} positions on {path.shape[0]} x {path.shape[1]} pixels, "
        f"{path.ratio:.4%} of the pixels",
        f"Frame time {path.frame_time_ms:.4g} ms: dwell {dwell_ms:.4g} ms, jumps and fly-back "
        f"{path.frame_time_ms - dwell_ms:.4g} ms over a way of {path.travel_px:.0f} px",
        f"The beam lands {path.landing_error_px:.3g} px (root mean square) beside its target",
    ]
    shortest = path.hardware.shortest_dwell_us
    if path.dwells_us.min(initial=shortest) < shortest:
        lines.append(f"This hardware cannot dwell so shortly: {shortest:g} µs is its shortest (see --hardware)")
    if beam_current_pA is not None:
        on_pixel = path.dose_e_per_pixel(beam_current_pA)
        scanned = on_pixel[path.mask].mean()
        lines.append(f"{path.electrons(beam_current_pA):.4g} electrons a frame, {scanned:.4g} on a scanned pixel")
        if pixel_size_nm is not None:
            lines.append(
                f"Dose {path.dose_e_per_A2(beam_current_pA, pixel_size_nm):.4g} e-/Å² over the frame, "
                f"{float(dose_e_per_A2(scanned, pixel_size_nm)):.4g} e-/Å² on a scanned pixel"
            )
    return "\n".join(lines)
