"""From the command line to scans: files, stacks and folders, read frame by frame."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cs_recon.io.read import SUFFIXES, ReadOptions, iter_frames
from cs_recon.io.sparse import LIST_SUFFIXES
from segmentation.cli.words import say
from segmentation.pipeline import ADAPTIVE, adaptive_measure, file_stem
from simulate import measure as scan_frame
from simulate import scan_path
from simulate.errors import InputError, check_rng
from simulate.measurement import Measurement

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def scans_of(options: argparse.Namespace, failed: dict[str, str] | None = None) -> Iterator[Measurement]:
    """Yield the scans of a file, or of the files of a folder in the order of their numbers, sub-sampled if asked for.

    The file is opened and its options are checked at once; frames are read as they are needed. With `failed`, frames
    are of different places, see `frames_of`.
    """
    frames = frames_of(options.frame, options, failed)
    if options.ratio is None and options.peak_counts is None:
        return frames
    scheme, ratio = (options.scheme or "random", options.ratio) if options.ratio is not None else ("raster", 1.0)
    if failed is not None:
        check_rng(options.seed)
        return (
            _sub_sample(frame, scheme, ratio, options, *_generators_of(options.seed, frame.name)) for frame in frames
        )
    return (
        _sub_sample(frame, scheme, ratio, options, *generators)
        for frame, generators in zip(frames, _generators(options.seed), strict=False)
    )


def frames_of(source: Path, options: argparse.Namespace, failed: dict[str, str] | None = None) -> Iterator[Measurement]:
    """Yield the frames of a file, or of the files of a folder in the order of their numbers.

    With `failed`, frames are of different places: none is missing between two, and what is wrong with a file is noted
    there under its name while the others go on.
    """
    noise = _noise_told(options)
    frames = _frames_as_read(Path(source), options, failed)
    return (replace(frame, **noise) for frame in frames) if noise else frames


def _noise_told(options: argparse.Namespace) -> dict[str, float]:
    """Return what the command line says of the noise of a file's values, in place of what the file says."""
    given = {name: getattr(options, name, None) for name in ("counts_per_unit", "black_level", "read_noise")}
    told: dict[str, float] = {name: value for name, value in given.items() if value is not None}
    # Nonsense is refused here, by the same rules, before any file is read.
    Measurement(np.eye(8), np.ones((8, 8), dtype=bool), **told)  # pyright: ignore[reportArgumentType]
    if "counts_per_unit" in told and getattr(options, "peak_counts", None) is not None:
        raise InputError(
            "--counts-per-unit says how noisy the values are and --peak-counts takes them for clean and adds noise; "
            "give one"
        )
    return told


def _frames_as_read(folder: Path, options: argparse.Namespace, failed: dict[str, str] | None) -> Iterator[Measurement]:
    how: ReadOptions = read_options(options)
    if hasattr(options, "mask"):
        how |= {"mask": options.mask, "coordinates": options.coordinates}
    if not is_folder(folder):
        frames = iter_frames(folder, **how)
        return frames if failed is None else _noted(frames, folder.name, failed)
    if folder.resolve() == Path(options.out).resolve():
        raise InputError(
            f"--out is {folder}, the folder the frames are read from, where results would pass for frames; "
            "expected another folder"
        )
    files = frame_files(folder)
    if failed is not None:
        return (frame for file in files for frame in _noted(_opened(file, how), file.name, failed))
    gap = missing_frame(files)
    if gap:
        say(f"Between {gap[0]} and {gap[1]} a frame is missing; they count as neighbours in time")
    return (frame for file in files for frame in iter_frames(file, **how))


def is_folder(source: Path) -> bool:
    """Return whether a path is a folder of frames; some files of frames are folders too (ZSPY)."""
    return source.is_dir() and source.suffix.lower() not in SUFFIXES


def results_stem(source: Path) -> str:
    """Return what results of all frames of a file or folder together are named after: a folder by its whole name.

    >>> results_stem(Path("movie.tif"))
    'movie'
    """
    named = source.resolve() if source.name in ("", "..") else source
    return file_stem(named.name if is_folder(named) else named.stem)


def _opened(file: Path, how: ReadOptions) -> Iterator[Measurement]:
    """Yield the frames of a file that is opened when the first one is asked for."""
    yield from iter_frames(file, **how)


def _noted(frames: Iterator[Measurement], name: str, failed: dict[str, str]) -> Iterator[Measurement]:
    """Yield frames up to the first that cannot be read, and note what is wrong with that."""
    try:
        yield from frames
    except InputError as error:
        failed[name] = str(error)


def frame_files(folder: Path) -> list[Path]:
    """Return the frames of a folder, numbers in their names in order: ``frame2`` comes before ``frame10``.

    Tables of text beside files of other kinds are notes or coordinates, no frames; nor are hidden files (macOS writes
    ``._NAME`` beside each file of a foreign disk).
    """
    visible = (file for file in folder.iterdir() if not file.name.startswith("."))
    found = [file for file in visible if file.suffix.lower() in SUFFIXES]
    others = [file for file in found if file.suffix.lower() not in LIST_SUFFIXES]
    if not found:
        raise InputError(
            f"the folder {folder} holds no frames; expected files that end in {', '.join(SUFFIXES[:6])}, ..."
        )
    files = sorted(others or found, key=lambda file: (_text_and_numbers(file.name), file.name))
    names: dict[str, Path] = {}
    for file in files:
        first = names.setdefault(file_stem(file.stem), file)
        if first is not file:
            raise InputError(
                f"the folder {folder} holds {first.name} and {file.name}, whose results would have one name; "
                "expected one file a frame: move one of them away"
            )
    return files


def missing_frame(files: list[Path]) -> tuple[str, str] | None:
    """Return the names between which a number of an evenly numbered series is missing first, None if none is."""
    numbers = [int(found[-1]) if (found := re.findall(r"[0-9]+", file.stem)) else 0 for file in files]
    steps = [after - before for before, after in pairwise(numbers)]
    if not steps or min(steps) < 1:
        return None
    first = next((k for k, step in enumerate(steps) if step != min(steps)), None)
    return None if first is None else (files[first].name, files[first + 1].name)


def _text_and_numbers(name: str) -> list[tuple[int, str]]:
    """Split a name so that it sorts by its numbers' values."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)]


def _sub_sample(
    frame: Measurement,
    scheme: str,
    ratio: float,
    options: argparse.Namespace,
    position: np.random.Generator,
    noise: np.random.Generator,
) -> Measurement:
    dose = {"peak_counts": options.peak_counts}
    if scheme == ADAPTIVE:
        return adaptive_measure(frame, ratio, rng=position, noise_rng=noise, device=options.device, **dose)
    return scan_frame(frame, scan_path(scheme, frame.shape, ratio, rng=position), rng=noise, **dose)


def _generators(seed: int) -> Iterator[list[np.random.Generator]]:
    """Yield for each frame independent generators of the scan's positions and of its noise, without end."""
    check_rng(seed)
    root = np.random.SeedSequence(seed)
    while True:
        (child,) = root.spawn(1)
        yield [np.random.default_rng(part) for part in child.spawn(2)]


def _generators_of(seed: int, name: str) -> list[np.random.Generator]:
    """Return generators of a scan's positions and noise that depend on no other frame: one may be mended or join."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    root = np.random.SeedSequence([int(seed), int.from_bytes(digest[:8], "big")])
    return [np.random.default_rng(part) for part in root.spawn(2)]


def read_options(options: argparse.Namespace) -> ReadOptions:
    """Return the command line's options of reading."""
    return {"pixel_size_nm": options.pixel_size_nm, "grey": options.grey, "signal": options.signal}
