"""Movies: each frame reconstructed from its own samples and those of the frames before and after it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from cs_recon.learned import NETWORKS, UNROLLED
from cs_recon.motion import with_neighbours
from cs_recon.reconstruction import reconstruct, reconstructors
from simulate.errors import InputError, check_count, nearest_name
from simulate.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cs_recon.reconstruction import Reconstruction

    Frame = tuple[Measurement, Reconstruction]


def reconstruct_movie(
    scans: Iterable[Measurement],
    method: str = UNROLLED,
    *,
    device: str = "auto",
    batch_size: int = 4,
    **options: Any,
) -> Iterator[Reconstruction]:
    """Reconstruct the frames of a movie, each with its neighbours' samples.

    Every frame is reconstructed by itself, the samples of the frames before and after are carried along with what moved
    (`motion.with_neighbours`), and it is reconstructed again from all of them.

    Parameters
    ----------
    scans : iterable of Measurement
        Consecutive scans of one shape; best at other pixels each time. They are taken as they are needed.
    method : {"unrolled-ista", "inpainting"}
        The network.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    batch_size : int
        How many frames are computed together.
    **options
        Of the method itself, as of `reconstruct`.

    Yields
    ------
    Reconstruction
        One a scan, in order. The first and the last frame have one neighbour. Sigma is not widened where samples of
        neighbours were carried along, whose noise nothing tells.

    Raises
    ------
    InputError
        If there are no scans, or no such method or option; and at a scan whose shape differs, after the frames
        before it.

    Examples
    --------
    >>> from simulate import MovieConfig, Movie, SceneConfig, movie_paths, measure_movie
    >>> movie = Movie(MovieConfig(scene=SceneConfig(shape=(64, 64), n_particles=3), n_frames=3), rng=0)
    >>> paths = movie_paths("random", (64, 64), 0.2, 3, rng=0)
    >>> scans = list(measure_movie(movie, paths, peak_counts=50, rng=1))
    >>> [frame.image.shape for frame in reconstruct_movie(scans, device="cpu")]
    [(64, 64), (64, 64), (64, 64)]
    """
    check_count(batch_size, "batch_size", 1)
    check_movie_method(method)
    reconstructors.check_options(method, options)
    remaining = iter(scans) if isinstance(scans, Iterable) else iter(())
    first = next(remaining, None)
    if not isinstance(first, Measurement):
        raise InputError("got no scans, or something else than measurements; expected a movie's measurements in order")
    movie = chain([first], _checked(remaining, first))

    def each(batch: list[Measurement]) -> list[Reconstruction]:
        return reconstruct(batch, method, device=device, batch_size=int(batch_size), **options)

    return _frames(movie, int(batch_size), each)


def check_movie_method(method: str) -> None:
    """Raise `InputError` if a method cannot look at neighbouring frames."""
    if method not in NETWORKS:
        raise InputError(
            f"neighbouring frames are used by {' and '.join(NETWORKS)}, not by {method!r}"
            f"{nearest_name(str(method), NETWORKS)}; choose one of them"
        )


def _checked(scans: Iterator[Measurement], first: Measurement) -> Iterator[Measurement]:
    """Yield the scans, each as it is reached; `InputError` at one that does not go with the first."""
    for index, scan in enumerate(scans, start=1):
        if not isinstance(scan, Measurement):
            raise InputError(f"frame {index} of the movie is a {type(scan).__name__}; expected a measurement")
        if scan.shape != first.shape:
            raise InputError(
                f"frame {index} of the movie has shape {scan.shape} and the first {first.shape}; expected one shape"
            )
        yield scan


def _frames(
    scans: Iterator[Measurement], batch_size: int, each: Callable[[list[Measurement]], list[Reconstruction]]
) -> Iterator[Reconstruction]:
    """Go through the scans with one look ahead and one back, so that a long movie never lies in memory."""

    def take(number: int) -> tuple[list[Frame], InputError | None]:
        taken, error = _take(scans, number)
        return list(zip(taken, each(taken), strict=True)), error

    last: Frame | None = None
    # One more than a batch: the frame after its last one.
    now, failure = take(batch_size + 1)
    while now:
        now, ahead = now[:batch_size], now[batch_size:]
        around = [last, *now, ahead[0] if ahead else None]
        joined = [
            with_neighbours(*own, [frame for frame in (before, after) if frame is not None])
            for before, own, after in zip(around[:-2], now, around[2:], strict=True)
        ]
        yield from each(joined)
        last = now[-1]
        if failure is None and ahead:
            more, failure = take(batch_size)
            now = [*ahead, *more]
        else:
            now = ahead
    if failure is not None:
        raise failure


def _take(scans: Iterator[Measurement], number: int) -> tuple[list[Measurement], InputError | None]:
    """Return the next scans, and the error that ended them early, so that what was read before it is not lost."""
    taken: list[Measurement] = []
    try:
        for scan in islice(scans, number):
            taken.append(scan)
    except InputError as error:
        return taken, error
    return taken, None
