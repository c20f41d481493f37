"""From the command line to scans: files, stacks and folders, read frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.io.read import SUFFIXES, iter_frames
from segmentation.pipeline import adaptive_measure
from simulate import measure as scan_frame
from simulate import scan_path
from simulate.errors import InputError, check_rng

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from simulate.measurement import Measurement


def scans_of(options: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the scans of a file, or of the files of a folder in the order of their names, sub-sampled if asked for.

    The file is opened and its options are checked at once; frames are read as they are needed.
    """
    frames = _frames(options)
    if options.ratio is None and options.peak_counts is None:
        return frames
    scheme, ratio = (options.scheme, options.ratio) if options.ratio is not None else ("raster", 1.0)
    return (
        _sub_sample(frame, scheme, ratio, options.peak_counts, *generators)
        for frame, generators in zip(frames, _generators(options.seed), strict=False)
    )


def _frames(options: argparse.Namespace) -> Iterator[Measurement]:
    how = {"mask": options.mask, "coordinates": options.coordinates, **read_options(options)}
    folder = Path(options.frame)
    if not folder.is_dir() or folder.suffix.lower() in SUFFIXES:
        return iter_frames(folder, **how)
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(
            f"the folder {folder} holds no frames; expected files that end in {', '.join(SUFFIXES[:6])}, ..."
        )
    return (frame for file in files for frame in iter_frames(file, **how))


def _sub_sample(
    frame: Measurement,
    scheme: str,
    ratio: float,
    peak_counts: float | None,
    position: np.random.Generator,
    noise: np.random.Generator,
) -> Measurement:
    if scheme == "adaptive":
        return adaptive_measure(frame, ratio, rng=position, noise_rng=noise, peak_counts=peak_counts)
    return scan_frame(frame, scan_path(scheme, frame.shape, ratio, rng=position), peak_counts=peak_counts, rng=noise)


def _generators(seed: int) -> Iterator[list[np.random.Generator]]:
    """Yield for each frame independent generators of the scan's positions and of its noise, without end."""
    check_rng(seed)
    root = np.random.SeedSequence(seed)
    while True:
        (child,) = root.spawn(1)
        yield [np.random.default_rng(part) for part in child.spawn(2)]


def read_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the command line's options of reading."""
    return {"pixel_size_nm": options.pixel_size_nm, "grey": options.grey, "signal": options.signal}
