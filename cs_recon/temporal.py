"""Movies: each frame reconstructed from its own samples and those of the frames before and after it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING

import torch

from cs_recon.batch import make_batch, neighbour_batch
from cs_recon.device import pick_device
from cs_recon.inpainting import InpaintingUNet
from cs_recon.learned import INPAINTING, denormalised, load_network
from simulate.errors import InputError, check_count
from simulate.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cs_recon.learned import LoadedNetwork
    from cs_recon.reconstruction import Reconstruction


def reconstruct_movie(
    scans: Iterable[Measurement], *, device: str = "auto", weights: str = "", batch_size: int = 4
) -> Iterator[Reconstruction]:
    """Reconstruct the frames of a movie by the inpainting network, each with its neighbours' samples.

    Parameters
    ----------
    scans : iterable of Measurement
        Consecutive scans of one shape; best at other pixels each time. They are taken as they are needed.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    weights : str
        A weights file of your own training; the shipped one if empty.
    batch_size : int
        How many frames are computed together.

    Yields
    ------
    Reconstruction
        One a scan, in order. The first and the last frame have one neighbour.

    Raises
    ------
    InputError
        If there are no scans; and at a scan whose shape differs, after the frames before it.

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
    loaded = load_network(INPAINTING, weights, pick_device(device))
    network = loaded.network
    assert isinstance(network, InpaintingUNet)
    remaining = iter(scans) if isinstance(scans, Iterable) else iter(())
    first = next(remaining, None)
    if not isinstance(first, Measurement):
        raise InputError("got no scans, or something else than measurements; expected a movie's measurements in order")
    return _frames(chain([first], _checked(remaining, first)), network, loaded, int(batch_size))


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
    scans: Iterator[Measurement], network: InpaintingUNet, loaded: LoadedNetwork, batch_size: int
) -> Iterator[Reconstruction]:
    """Go through the scans with one look ahead and one back, so that a long movie never lies in memory."""
    multiple, target = network.config.multiple, next(network.parameters()).device
    last: Measurement | None = None
    # One more than a batch: the frame after its last one.
    now, failure = _take(scans, batch_size + 1)
    while now:
        now, ahead = now[:batch_size], now[batch_size:]
        around = [last, *now, ahead[0] if ahead else None]
        with torch.inference_mode():
            batch = make_batch(now, multiple=multiple, device=target)
            before, after = (neighbour_batch(part, now, batch) for part in (around[:-2], around[2:]))
            done = denormalised(now, batch, network(batch, before, after), loaded)
        yield from done
        last = now[-1]
        if failure is None and ahead:
            more, failure = _take(scans, batch_size)
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
