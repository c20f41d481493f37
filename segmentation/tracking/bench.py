"""How right tracking is on simulated movies: on perfect detections, on spoilt ones, and through the whole chain."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cs_recon.metrics import psnr
from cs_recon.reconstruction import reconstruct
from cs_recon.temporal import reconstruct_movie
from segmentation.measure import measure
from segmentation.methods import segment
from segmentation.tracking.scores import event_score, score_tracks
from segmentation.tracking.tracks import Tracks, track
from simulate.errors import InputError, pixel_size_pair
from simulate.movie import Movie, MovieConfig
from simulate.movie_scan import measure_movie, movie_paths
from simulate.scenes import SceneConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KINDS = ("merge", "split", "enter", "leave")
CHAINS = ("none", "frames", "temporal", "both")
LONGEST_GAP = 2
"""Frames in a row that `track` bridges by default."""


@dataclass(frozen=True)
class Spoiling:
    """What is wrong with detections: the share missed, false ones a frame, and jitter of positions in pixels.

    With jitter, diameters are off by 5 % (one standard deviation) as well.
    """

    miss: float = 0.0
    false: float = 0.0
    jitter_px: float = 0.0


LEVELS = {"perfect": Spoiling(), "spoilt": Spoiling(0.05, 1.0, 0.5), "badly spoilt": Spoiling(0.15, 3.0, 1.0)}


def bench_movie(n_frames: int = 100, side: int = 384, particles: int = 50, seed: int = 0) -> Movie:
    """Return a movie of about `particles` round particles of 8 nm at 0.5 nm a pixel that diffuse and coalesce."""
    scene = SceneConfig((side, side), n_particles=particles, shapes=("sphere",))
    return Movie(MovieConfig(scene, n_frames=n_frames, diffusion_nm2_per_s=0.6, coalescence=True), rng=seed)


def true_tables(movie: Movie) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the true trajectories, of what is seen at least by half, with `diameter_px`, and the true events.

    Particles enter and leave in the first and last frame where at least half of them is seen.
    """
    rows = movie.tracks
    height, width = movie.config.scene.shape
    diameter = np.sqrt(4 * rows["area_nm2"] / np.pi) / pixel_size_pair(movie.config.scene.pixel_size_nm)[0]
    x, y = rows["x"], rows["y"]
    rim = np.minimum(np.minimum(x, y) + 0.5, np.minimum(width - 0.5 - x, height - 0.5 - y))
    columns = {name: rows[name] for name in ("frame", "particle", "x", "y")}
    seen = rows["visible"] * rows["in_frame"] >= 0.5
    table = pd.DataFrame({
        name: values[seen]
        for name, values in (columns | {"diameter_px": diameter, "touches_border": rim < diameter / 2}).items()
    })  # fmt: skip
    happened = np.isin(rows["event"], ["merge", "split"])
    events = pd.DataFrame({
        "frame": rows["frame"][happened], "kind": rows["event"][happened].astype(str),
        "x": x[happened], "y": y[happened],
    })  # fmt: skip
    return table, pd.concat([events, _crossings(table, rows, len(movie))], ignore_index=True)


def _crossings(table: pd.DataFrame, rows: NDArray, n_frames: int) -> pd.DataFrame:
    """Return where a particle as it is seen comes or goes at the border, and no merger or split is why.

    One that is out of sight for more frames than a linker bridges leaves, and enters if it comes again.
    """
    absorbed, born = (rows[rows["event"] == kind] for kind in ("merge", "split"))
    frame, particle, border = (table[name].to_numpy() for name in ("frame", "particle", "touches_border"))
    order = np.lexsort((frame, particle))
    frame, particle, border = frame[order], particle[order], border[order]
    changes = np.diff(particle) != 0
    cuts = np.flatnonzero(changes | (np.diff(frame) > LONGEST_GAP + 1))
    first, last = np.concatenate([[0], cuts + 1]), np.concatenate([cuts, [len(frame) - 1]])
    begins, ends = np.concatenate([[True], changes[cuts]]), np.concatenate([changes[cuts], [True]])
    gone = np.concatenate([absorbed["other"], born["other"]])
    entered = border[first] & (frame[first] > 0) & ~(begins & np.isin(particle[first], born["particle"]))
    left = border[last] & (frame[last] < n_frames - 1) & ~(ends & np.isin(particle[last], gone))
    first, last = first[entered], last[left]
    kinds = np.repeat(["enter", "leave"], [first.size, last.size])
    chosen = order[np.concatenate([first, last])]
    columns = {name: table[name].to_numpy()[chosen] for name in ("frame", "x", "y")}
    return pd.DataFrame(columns | {"kind": kinds})


def spoilt(truth: pd.DataFrame, shape: tuple[int, int], how: Spoiling, seed: int = 0) -> pd.DataFrame:
    """Return the true detections as `how` says, in the columns that `segmentation.measure` gives."""
    rng = np.random.default_rng(seed)
    frames, diameters = truth["frame"].to_numpy(), truth["diameter_px"].to_numpy(float)
    kept = rng.random(len(truth)) >= how.miss
    numbers = np.unique(frames)
    n = rng.poisson(how.false, numbers.size)
    total = int(n.sum())
    points = np.concatenate([
        truth[["x", "y"]].to_numpy(float)[kept], rng.uniform(0, 1, (total, 2)) * [shape[1], shape[0]],
    ])  # fmt: skip
    sizes = np.concatenate([diameters[kept], rng.choice(diameters, total)])
    points += rng.normal(0, 1, points.shape) * how.jitter_px
    sizes *= np.exp(rng.normal(0, 0.05, sizes.size) * (how.jitter_px > 0))
    border = np.concatenate([truth["touches_border"].to_numpy(bool)[kept], np.zeros(total, dtype=bool)])
    return pd.DataFrame({
        "frame": np.concatenate([frames[kept], np.repeat(numbers, n)]), "x": points[:, 0], "y": points[:, 1],
        "equivalent_diameter_px": sizes, "touches_border": border,
    })  # fmt: skip


def scored(tracks: Tracks, movie: Movie) -> dict[str, float]:
    """Return HOTA, DetA, AssA, MOTA, IDF1, switches, and F1 and number of each kind of event."""
    truth, events = true_tables(movie)
    table = tracks.table.copy()
    if "equivalent_diameter_nm" in table:
        pixel = pixel_size_pair(movie.config.scene.pixel_size_nm)[0]
        table["equivalent_diameter_px"] = table["equivalent_diameter_nm"] / pixel
    result = score_tracks(table.rename(columns={"equivalent_diameter_px": "diameter_px"}), truth)
    for kind in KINDS:
        one = event_score(tracks.events, events, kind=kind)
        if one["n_true"] or one["n_found"]:
            result |= {f"{kind}_{name}": one[name] for name in ("f1", "n_true", "n_found")}
    return result


def chain_tables(
    movie: Movie, *, ratio: float = 0.1, peak_counts: float = 50.0, temporal: bool = False, seed: int = 1
) -> Iterator[tuple[pd.DataFrame, NDArray[np.int32], float]]:
    """Scan, reconstruct, segment and measure each frame; yield its table, its label map and the image's PSNR in dB."""
    shape = movie.config.scene.shape
    paths = movie_paths("random", shape, ratio, len(movie), rng=seed)
    scans = measure_movie(movie, paths, peak_counts=peak_counts, rng=seed)
    images = reconstruct_movie(scans) if temporal else (reconstruct(scan) for scan in scans)
    for truth, image in zip(movie, images, strict=True):
        particles = segment(image)
        yield measure(particles), particles.labels, psnr(truth.frame, image.image)


def bench(
    n_frames: int = 100, side: int = 384, particles: int = 50, *, chain: str = "both", seed: int = 0
) -> pd.DataFrame:
    """Score tracking on perfect and spoilt detections and, unless `chain` is "none", on scans at 10 % sampling.

    Parameters
    ----------
    n_frames, side, particles : int
        Of the movie.
    chain : {"both", "frames", "temporal", "none"}
        Reconstruct frame by frame, with the neighbouring frames, or both.
    seed : int
        Of the movie.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of detections, and a column for each score of `scored`; for chains the mean PSNR too.
    """
    if chain not in CHAINS:
        raise InputError(f"chain is {chain!r}; expected one of {', '.join(CHAINS)}")
    movie = bench_movie(n_frames, side, particles, seed)
    truth, _ = true_tables(movie)
    rows = {
        name: scored(track(spoilt(truth, movie.config.scene.shape, how)), movie) for name, how in LEVELS.items()
    }  # fmt: skip
    for name in ("frames", "temporal"):
        if chain in ("both", name):
            tables, maps, psnrs = zip(*chain_tables(movie, temporal=name == "temporal"), strict=True)
            pixel = movie.config.scene.pixel_size_nm
            rows[name] = {"PSNR_dB": float(np.mean(psnrs))}
            rows[name] |= scored(track(tables, labels=maps, pixel_size_nm=pixel), movie)
    return pd.DataFrame.from_dict(rows, orient="index")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:4]]
    result = bench(*numbers, chain=sys.argv[4] if len(sys.argv) > 4 else "both")
    sys.stdout.write(result.round(3).T.to_string() + "\n")
