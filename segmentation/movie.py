"""Movies: frame by frame through the whole chain in bounded memory, going on after a kill where it stopped.

Each frame leaves a table, a label map and a small annotated picture in a folder of parts, each written whole or not at
all. What is found there when a run starts is not computed again. At the end the parts become one table with a particle
number a row, the events, and a video.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cs_recon.io.write import write_image
from cs_recon.reconstruction import reconstructors
from cs_recon.temporal import check_movie_method, reconstruct_movie
from cs_recon.tiles import WHOLE_PIXELS
from segmentation.figures import outline_overlay
from segmentation.measure import measure
from segmentation.output import write_csv, write_table
from segmentation.pipeline import find_in, frame_digest, means
from segmentation.streaming import streamed
from segmentation.tracking import Tracks, track
from segmentation.video import check_video, with_caption, write_video
from simulate.atomic import atomic_path, output_folder, sole_writer
from simulate.errors import InputError, check_positive, pixel_size_pair

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from PIL import Image

    from cs_recon.reconstruction import Reconstruction
    from segmentation.instances import Instances
    from simulate.measurement import Measurement

VIDEO_SIDE_PX = (320, 512)
"""Longest side of the video's pictures: smaller frames are enlarged, larger ones thinned."""


@dataclass(frozen=True)
class MovieOptions:
    """How a movie is processed.

    Parameters
    ----------
    recon, segment : str
        Method names.
    temporal : bool
        Whether each frame is reconstructed from its neighbours' samples too (`cs_recon.reconstruct_movie`); `recon`
        must be one of its methods then.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    recon_options, segment_options : dict
        Options of the methods.
    frame_interval_s : float, optional
        Time from a frame to the next.
    max_step_px : float, optional
        Longest way of a particle from a frame to the next, see `tracking.track`.
    """

    recon: str = "unrolled-ista"
    segment: str = "mask-rcnn"
    temporal: bool = False
    device: str = "auto"
    recon_options: dict[str, Any] = field(default_factory=dict)
    segment_options: dict[str, Any] = field(default_factory=dict)
    frame_interval_s: float | None = None
    max_step_px: float | None = None

    def __post_init__(self) -> None:
        if self.temporal:
            check_movie_method(self.recon)
        reconstructors.check_options(self.recon, self.recon_options)
        for name in ("frame_interval_s", "max_step_px"):
            if getattr(self, name) is not None:
                check_positive(getattr(self, name), name)


@dataclass(frozen=True, eq=False)
class MovieResult:
    """What became of a movie.

    Attributes
    ----------
    tracks : Tracks
        One row a particle and frame, with `frame`, `particle`, `x`, `y` as trackpy has them; and the events.
    frames : int
        How many frames were processed.
    ended : str
        Why the movie ended early; empty if it did not.
    scales : list of float or None
        Share of its sides at which a network saw each frame; None of other methods.
    paths : dict of str to Path
        The files: ``particles``, ``events``, ``video`` if there is one, ``parts``.
    """

    tracks: Tracks
    frames: int
    ended: str
    scales: list[float | None]
    paths: dict[str, Path]


def process_movie(
    scans: Iterable[Measurement],
    folder: str | os.PathLike[str],
    *,
    name: str = "movie",
    options: MovieOptions | None = None,
    video: str = "gif",
    progress: Callable[[int], object] = lambda frame: None,
) -> MovieResult:
    """Reconstruct, segment, measure and track a movie, a few frames under way at a time (`segmentation.stream`).

    Parameters
    ----------
    scans : iterable of Measurement
        The frames in order, of one shape; they are taken as they are needed.
    folder : path
        Where the results go: ``NAME_all_particles.csv`` and ``.parquet``, ``NAME_events.csv``, ``NAME_movie.gif`` or
        ``.mp4``, and the folder ``NAME_parts`` of single frames, by which an interrupted run goes on.
    name : str
        The movie's name.
    options : MovieOptions, optional
        The methods.
    video : {"gif", "mp4", "none"}
        Of the annotated frames; another one may be asked for when a run goes on.
    progress : callable
        Called with the number of each frame that is done.

    Returns
    -------
    MovieResult
        If a frame can't be read or processed, of those that are finished: `ended` says which one and why.

    Raises
    ------
    InputError
        If there is not a single frame, the parts are those of other options or of another movie, or another run is
        writing them.
    """
    check_video(video)
    with output_folder(folder) as root, output_folder(root / f"{name}_parts") as parts, sole_writer(parts):
        return _process(scans, root, parts, name, options or MovieOptions(), video, progress)


def _process(
    scans: Iterable[Measurement],
    root: Path,
    parts: Path,
    name: str,
    chosen: MovieOptions,
    video: str,
    progress: Callable[[int], object],
) -> MovieResult:
    remaining = iter(scans)
    first = list(islice(remaining, 1))
    if not first:
        raise InputError("the movie has no frames; expected at least one")
    claim = _claim(parts, chosen)
    finished = 0
    while (parts / f"{finished:06d}.parquet").exists():
        progress(finished)
        finished += 1
    read = _Read(parts, finished)
    ended = ""
    try:
        workers = 1 if first[0].mask.size > WHOLE_PIXELS else 2  # each takes the memory of a frame
        for number, scan, image, found in _frames(read.each(chain(first, remaining)), chosen, finished, workers):
            if number == 0:
                with atomic_path(parts / "options.json") as temporary:
                    temporary.write_text(claim, encoding="utf-8")
            _write_part(parts, number, scan, found, measure(found, sigma=image.sigma))
            finished = number + 1
            progress(number)
    except _OtherMovieError as error:
        raise InputError(str(error)) from None
    except InputError as error:
        ended = f"frame {min(finished, read.frames)}: {error}"
    else:
        if chosen.temporal and read.frames < finished:
            _end_earlier(parts, read, chosen)
        finished = min(finished, read.frames)  # a shorter movie than the one before
    if finished == 0:
        raise InputError(ended.removeprefix("frame 0: "))
    paths = {"parts": parts}
    if video != "none":
        pictures = (parts / f"{number:06d}.png" for number in range(finished))
        paths["video"] = write_video(pictures, root / f"{name}_movie.{video}")
    tables = [_read_part(parts, number) for number in range(finished)]
    scales = [table.attrs.get("scale") for table in tables]
    tracks = _tracks(tables, chosen)
    paths["particles"] = write_table(root / f"{name}_all_particles", tracks.table)[0]
    paths["events"] = write_csv(root / f"{name}_events.csv", tracks.events)
    if chosen.temporal:
        # It lacks its later neighbour: computed again when the movie goes on.
        (parts / f"{finished - 1:06d}.parquet").unlink()
    return MovieResult(tracks, finished, ended, scales, paths)


def _found(scan: Measurement, image: Reconstruction, chosen: MovieOptions) -> Instances:
    return find_in(scan, image, chosen.segment, device=chosen.device, **chosen.segment_options)


def _end_earlier(parts: Path, read: _Read, chosen: MovieOptions) -> None:
    """Compute the last frame of a movie that has become shorter again, without the later neighbour that it had."""
    scan = read.latest[-1]
    *_, image = reconstruct_movie(read.latest, chosen.recon, device=chosen.device, **chosen.recon_options)
    found = _found(scan, image, chosen)
    _write_part(parts, read.frames - 1, scan, found, measure(found, sigma=image.sigma))


def _frames(
    scans: Iterator[Measurement], options: MovieOptions, finished: int, workers: int
) -> Iterator[tuple[int, Measurement, Reconstruction, Instances]]:
    """Yield number, scan, reconstruction and particles of every frame that is not finished yet."""
    first: Measurement | None = None
    # With neighbours, the last finished frame is needed once more, as the one before.
    skipped = max(0, finished - 1) if options.temporal else finished
    kept: list[Measurement] = []

    def remaining() -> Iterator[Measurement]:
        nonlocal first
        for number, scan in enumerate(scans):
            first = first or scan
            if scan.shape != first.shape or scan.pixel_size_nm != first.pixel_size_nm:
                raise InputError(
                    f"it has shape {scan.shape} and pixel size {scan.pixel_size_nm}, and the first frame {first.shape} "
                    f"and {first.pixel_size_nm}; expected a movie of one shape and scale"
                )
            if number >= skipped:
                if options.temporal:
                    kept.append(scan)
                yield scan

    needed = remaining()
    start = list(islice(needed, 1))
    if not start:
        return  # nothing is left to do, wherever it would be done
    needed = chain(start, needed)
    if options.temporal:
        images = reconstruct_movie(needed, options.recon, device=options.device, **options.recon_options)
        for number, image in enumerate(images, start=skipped):
            scan = kept.pop(0)
            if number >= finished:
                yield number, scan, image, _found(scan, image, options)
        return
    frames = streamed(
        needed, first=finished, recon=options.recon, segment=options.segment, device=options.device, workers=workers,
        recon_options=options.recon_options, segment_options=options.segment_options,
    )  # fmt: skip
    for number, (scan, image, found) in enumerate(frames, start=finished):
        yield number, scan, image, found


class _OtherMovieError(InputError):
    """Parts in the folder that are none of this movie's."""

    def __init__(self, parts: Path) -> None:
        super().__init__(
            f"{parts} holds frames of a run with other options, weights or program, or of another movie or pixel size; "
            "delete it or choose another output folder"
        )


class _Read:
    """The frames of a movie as they are read: counted, and those that are finished compared with what was."""

    def __init__(self, parts: Path, finished: int) -> None:
        self.parts, self.finished, self.frames = parts, finished, 0
        self.latest: deque[Measurement] = deque(maxlen=2)

    def each(self, scans: Iterable[Measurement]) -> Iterator[Measurement]:
        for number, scan in enumerate(scans):
            if number < self.finished and _read_part(self.parts, number).attrs.get("frame") != frame_digest(scan):
                raise _OtherMovieError(self.parts)
            self.frames = number + 1
            self.latest.append(scan)
            yield scan


def _claim(parts: Path, options: MovieOptions) -> str:
    """Return what is noted of a run in its folder of parts; `InputError` if another one's is there."""
    told = {name: value for name, value in asdict(options).items() if name not in ("frame_interval_s", "max_step_px")}
    told |= means(options.recon, options.segment, options.recon_options, options.segment_options)
    claim = json.dumps(told, default=str, sort_keys=True)
    file = parts / "options.json"
    if file.exists() and file.read_bytes() != claim.encode():
        raise _OtherMovieError(parts)
    return claim


def _write_part(parts: Path, number: int, scan: Measurement, found: Instances, table: pd.DataFrame) -> None:
    with atomic_path(parts / f"{number:06d}.png") as temporary:
        _picture(number, found).save(temporary)
    write_image(parts / f"{number:06d}_labels.tif", found.labels, pixel_size_nm=found.pixel_size_nm)
    # The table last: where it is, the frame is finished.
    table = table.assign(sampling_ratio=scan.ratio)
    table.attrs |= {"pixel_size_nm": scan.pixel_size_nm, "frame": frame_digest(scan)}
    table.attrs["scale"] = found.info.get("scale")
    with atomic_path(parts / f"{number:06d}.parquet") as temporary:
        table.to_parquet(temporary)


def _picture(number: int, found: Instances) -> Image.Image:
    """Draw a frame of the video: the image with the particles' outlines, its number and a scale bar below it."""
    image = found.intensity
    assert image is not None
    least, most = VIDEO_SIDE_PX
    step = -(-max(found.shape) // most)
    factor = max(1, least // max(found.shape))
    overlay = outline_overlay(image[::step, ::step], found.labels[::step, ::step])
    pixels = (255 * overlay).astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)
    column_nm = None if found.pixel_size_nm is None else pixel_size_pair(found.pixel_size_nm)[1] * step / factor
    return with_caption(pixels, f"frame {number}", column_nm)


def _tracks(tables: list[pd.DataFrame], options: MovieOptions) -> Tracks:
    pixel_size = tables[0].attrs.get("pixel_size_nm")
    size = tuple(pixel_size) if isinstance(pixel_size, list) else pixel_size
    return track(tables, pixel_size_nm=size, frame_interval_s=options.frame_interval_s, max_step_px=options.max_step_px)


def _read_part(parts: Path, number: int) -> pd.DataFrame:
    # Absolute: a folder "s3:scans" would be taken for an address.
    file = parts.absolute() / f"{number:06d}.parquet"
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is damaged ({reason}); delete it, and its frame is computed again") from None
