"""What ``cs-stem run`` does with a movie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cs_recon.io import provenance, write_provenance
from segmentation.cli.inputs import results_stem
from segmentation.cli.words import count, describe, remark_on_pixels, remark_on_scales, say
from segmentation.movie import MovieOptions, process_movie
from simulate.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from simulate.measurement import Measurement


def movie_options(parser: argparse.ArgumentParser) -> None:
    """Add what only movies have."""
    parser.add_argument(
        "--temporal", action="store_true", help="movies: reconstruct each frame from its neighbours' samples too"
    )
    parser.add_argument("--video", metavar="KIND", help="movies: gif (default), mp4 (extra 'video') or none")
    parser.add_argument("--frame-interval-s", type=float, metavar="S", help="movies: time from a frame to the next")
    parser.add_argument(
        "--max-step-px", type=float, metavar="N", help="movies: longest way of a particle to the next frame"
    )


def refuse_movie_options(options: argparse.Namespace, why: str) -> None:
    """Raise `InputError` if what is no movie, for this reason, comes with options of movies."""
    for name in ("temporal", "video", "frame_interval_s", "max_step_px"):
        if getattr(options, name) not in (None, False):
            raise InputError(f"--{name.replace('_', '-')} is for movies and {why}; leave it out")


def run_movie(
    scans: Iterable[Measurement],
    options: argparse.Namespace,
    recon_options: dict[str, Any],
    segment_options: dict[str, Any],
) -> None:
    """Process a movie into ``--out``; a movie that breaks off is one clear error after what was read is written."""
    chosen = MovieOptions(
        recon=options.recon,
        segment=options.segment,
        temporal=options.temporal,
        device=options.device,
        recon_options=recon_options,
        segment_options=segment_options,
        frame_interval_s=options.frame_interval_s,
        max_step_px=options.max_step_px,
    )
    stem = results_stem(options.frame)
    with tqdm(unit="frame", leave=False) as bar:
        result = process_movie(
            scans,
            options.out,
            name=stem,
            options=chosen,
            video=options.video or "gif",
            progress=lambda number: bar.update(),
        )
    arguments = {name: value for name, value in vars(options).items() if name != "func"}
    write_provenance(
        options.out / f"{stem}_provenance.json",
        provenance(arguments=arguments, frames=result.frames, ended_early=result.ended, scales=result.scales),
    )
    numbers = {"frame": result.frames, "track": len(result.tracks), "event": len(result.tracks.events)}
    say(", ".join(count(number, what) for what, number in numbers.items()))
    say(f"All frames together: {describe(result.tracks.table)}")
    remark_on_pixels(result.tracks.table)
    remark_on_scales(options.segment, result.scales, asked=options.scale is not None)
    say(f"\nTable:  {result.paths['particles']}\nEvents: {result.paths['events']}")
    if "video" in result.paths:
        say(f"Video:  {result.paths['video']}")
    if result.ended:
        raise InputError(f"the movie ended early at {result.ended}; what was read before it was kept")
