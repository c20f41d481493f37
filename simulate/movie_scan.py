"""Scanning a movie: which pixels the beam visits in which frame, and what the detector counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.detector import measure
from simulate.errors import InputError, check_count, check_positive, check_ratio, check_rng, check_shape, nearest_name
from simulate.hardware import ScanHardware
from simulate.scan import ScanPath
from simulate.schemes import hilbert_curve, scan_path
from simulate.schemes.registry import schemes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from simulate.measurement import Measurement
    from simulate.movie import Movie

SAMPLING_MODES = ("fixed", "changing", "interleaved")
INTERLEAVED_SCHEMES = ("random", "bernoulli", "hilbert", "jittered-grid", "raster", "lines")
LARGEST_MISFIT = 0.1
"""Relative difference of 1/n, which an interleaved scan has, to the ratio asked for."""


def movie_paths(
    scheme: str,
    shape: tuple[int, int],
    ratio: float,
    n_frames: int,
    *,
    mode: str = "changing",
    rng: np.random.Generator | int | None = None,
    dwell_us: float = 10.0,
    hardware: ScanHardware | None = None,
    prior: ArrayLike | None = None,
) -> Iterator[ScanPath]:
    """Make the scans of a movie's frames, each when it is asked for.

    Parameters
    ----------
    scheme : str
        A name from `simulate.schemes.names`; interleaved one of `INTERLEAVED_SCHEMES`.
    shape : (int, int)
        Frame shape (rows, columns).
    ratio : float
        Share of the pixels to visit in a frame, in (0, 1]. Interleaved scans have 1/n for a whole number n, which must
        be within 10 % of it.
    n_frames : int
        Number of frames.
    mode : {"changing", "fixed", "interleaved"}
        A new draw for each frame; the same scan in all; or the parts of one partition of all pixels in turn, so that
        any n frames in a row visit each pixel exactly once. Each part obeys the scheme's law: "random" of nearly equal
        sizes, "hilbert" the same along the curve, "bernoulli" of sizes by chance, "jittered-grid" one pixel in each
        cell of n, "raster" every n-th row, "lines" random rows.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed; the same seed gives the same scans.
    dwell_us : float
        Dwell time at each position in µs.
    hardware : ScanHardware, optional
        What moves the beam.
    prior : array_like, shape (H, W), optional
        Weight of each pixel for the schemes that need one.

    Returns
    -------
    iterator of ScanPath

    Raises
    ------
    InputError
        For an unknown scheme or mode, or a ratio that is out of reach.

    Examples
    --------
    >>> scans = list(movie_paths("random", (64, 64), 0.25, 4, mode="interleaved", rng=0))
    >>> bool((sum(scan.visits for scan in scans) == 1).all())
    True
    """
    frame = check_shape(shape, "scan")
    check_count(n_frames, "n_frames", 1)
    if mode not in SAMPLING_MODES:
        raise InputError(
            f"sampling mode is {mode!r}{nearest_name(str(mode), SAMPLING_MODES)}; expected one of "
            f"{', '.join(SAMPLING_MODES)}"
        )
    if mode == "interleaved":
        if prior is not None:
            raise InputError("interleaved frames share the pixels evenly and take no prior; leave it out")
        parts = _partition(scheme, frame, ratio, check_rng(rng))
        hardware = hardware or ScanHardware()
        return (
            ScanPath(*np.divmod(parts[k % len(parts)], frame[1]), frame, dwell_us, scheme, hardware=hardware)
            for k in range(int(n_frames))
        )
    options: dict[str, Any] = {"dwell_us": dwell_us, "hardware": hardware, "prior": prior}
    generator = check_rng(rng)
    # The first scan is made here, so that what is wrong with the arguments is said where they are given.
    first = scan_path(scheme, frame, ratio, rng=rng if mode == "fixed" else generator, **options)
    if mode == "fixed":
        return (first for _ in range(int(n_frames)))
    return (
        scan_path(scheme, frame, ratio, rng=generator, **options) if index else first for index in range(int(n_frames))
    )


def _partition(scheme: str, shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Cut the frame into parts of about `ratio`: row-major pixel indices in visiting order."""
    _ = schemes[scheme]
    if scheme not in INTERLEAVED_SCHEMES:
        raise InputError(
            f"scans of the scheme {scheme!r} cannot be interleaved; expected one of {', '.join(INTERLEAVED_SCHEMES)}, "
            "or the mode 'changing'"
        )
    ratio, units = check_ratio(ratio), "rows" if schemes[scheme].granularity == "line" else "pixels"
    n, n_units = round(1 / ratio), shape[0] if units == "rows" else shape[0] * shape[1]
    if n > n_units:
        raise InputError(
            f"interleaved scans of a ratio of {ratio:g} would need {n} parts of {n_units} {units}; "
            f"expected a ratio of at least {1 / n_units:.3g}"
        )
    if abs(1 / n - ratio) > LARGEST_MISFIT * ratio:
        lower = int(1 / ratio)
        raise InputError(
            f"interleaved scans have 1/n of the pixels, and none is near {ratio:g}; "
            f"expected about {1 / (lower + 1):.3g} or {1 / lower:.3g}"
        )
    part = _PARTS[scheme](shape, n, rng)
    if scheme == "hilbert":
        curve = hilbert_curve(shape)
        return [curve[part[curve] == k] for k in range(n)]
    return [np.flatnonzero(part == k) for k in range(n)]


def _dealt(size: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which part each of `size` things is in, at random, in parts of equal sizes to within one."""
    return rng.permutation(np.arange(size) % n)


def _random_parts(shape: tuple[int, int], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return _dealt(shape[0] * shape[1], n, rng)


def _coin_parts(shape: tuple[int, int], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    part = rng.integers(n, size=shape[0] * shape[1])
    # A scan visits at least one pixel: an empty part takes one from the largest.
    for k in np.setdiff1d(np.arange(n), part):
        largest = np.argmax(np.bincount(part, minlength=n))
        part[rng.choice(np.flatnonzero(part == largest))] = k
    return part


def _cell_parts(shape: tuple[int, int], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Shuffle the parts within each cell of `n` pixels, as square as strips of whole rows allow."""
    height = min(shape[0], max(1, round(np.sqrt(n))))
    rows, cols = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    # Strip after strip, and in a strip column after column, cells are runs of n pixels.
    order = np.lexsort((rows, cols, rows // height))
    runs = -(-order.size // n)
    deals = rng.permuted(np.tile(np.arange(n), (runs, 1)), axis=1)
    part = np.empty(order.size, dtype=np.int64)
    part[order] = deals.ravel()[: order.size]
    return part


def _nth_rows(shape: tuple[int, int], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.repeat(np.arange(shape[0]) % n, shape[1])


def _random_rows(shape: tuple[int, int], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.repeat(_dealt(shape[0], n, rng), shape[1])


_PARTS = {
    "random": _random_parts,
    "bernoulli": _coin_parts,
    "hilbert": _random_parts,
    "jittered-grid": _cell_parts,
    "raster": _nth_rows,
    "lines": _random_rows,
}


def measure_movie(
    movie: Movie,
    paths: Iterable[ScanPath],
    *,
    peak_counts: float | None = None,
    rng: np.random.Generator | int | None = None,
    name: str = "movie",
    **options: Any,
) -> Iterator[Measurement]:
    """Scan each frame of a movie along its path, with the detector's noise.

    Counts are in proportion to the frames' intensity with one factor for all frames.

    Parameters
    ----------
    movie : Movie
        What to scan.
    paths : iterable of ScanPath
        One for each frame, as `movie_paths` gives.
    peak_counts : float, optional
        Mean detected electrons where the *first* frame is brightest, in a visit of the path's mean dwell time.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed, for all frames together.
    name : str
        What the measurements are called, followed by their frame's number.
    **options
        Passed on to `simulate.measure` for each frame.

    Returns
    -------
    iterator of Measurement

    Raises
    ------
    InputError
        While iterating, if there are more or fewer paths than frames, if a scan takes longer than from one frame to the
        next, or as `simulate.measure` says.

    Examples
    --------
    >>> from simulate.movie import Movie, MovieConfig
    >>> from simulate.scenes import SceneConfig
    >>> movie = Movie(MovieConfig(SceneConfig((64, 64), n_particles=5), n_frames=3, growth_nm_per_s=1.0), rng=0)
    >>> scans = list(measure_movie(movie, movie_paths("random", (64, 64), 0.2, 3, rng=0), peak_counts=50, rng=0))
    >>> len(scans), len({round(scan.counts_per_unit, 6) for scan in scans}), scans[2].name
    (3, 1, 'movie frame 2')
    """
    if peak_counts is not None:
        peak_counts = check_positive(peak_counts, "peak counts", "give the counts of the brightest pixel, e.g. 50")
    return _measurements(movie, iter(paths), peak_counts, check_rng(rng), name, options)


def _measurements(
    movie: Movie,
    paths: Iterator[ScanPath],
    peak_counts: float | None,
    rng: np.random.Generator,
    name: str,
    options: dict[str, Any],
) -> Iterator[Measurement]:
    options = {"pixel_size_nm": movie.config.scene.pixel_size_nm} | options
    counts_per_unit = None
    for frame in movie:
        path = next(paths, None)
        if path is None:
            raise InputError(f"there are {frame.index} paths for {len(movie)} frames; expected one for each")
        interval_ms = 1000 * movie.config.frame_interval_s
        if path.frame_time_ms > interval_ms:
            raise InputError(
                f"the scan of frame {frame.index} takes {path.frame_time_ms:.4g} ms, and the next frame comes after "
                f"{interval_ms:.4g} ms; expected a faster scan (fewer pixels, short dwells) or a longer frame interval"
            )
        # `measure` counts by the frame's own maximum: the intensity is at least 0, so that its black level is 0.
        peak = float(frame.frame.max())
        if peak_counts is not None and peak <= 0:
            raise InputError(f"frame {frame.index} is blank; expected some intensity to count electrons from")
        if peak_counts is not None and counts_per_unit is None:
            counts_per_unit = peak_counts / peak
        counts = None if counts_per_unit is None else counts_per_unit * peak
        yield measure(frame.frame, path, peak_counts=counts, rng=rng, name=f"{name} frame {frame.index}", **options)
    if next(paths, None) is not None:
        raise InputError(f"there are more paths than the {len(movie)} frames; expected one for each")
