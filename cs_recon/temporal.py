"""Movies: each frame reconstructed from its own samples and those of the frames before and after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from cs_recon.batch import make_batch, neighbour_batch
from cs_recon.device import pick_device
from cs_recon.inpainting import InpaintingUNet
from cs_recon.learned import INPAINTING, denormalised, load_network
from simulate.errors import InputError, check_count
from simulate.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cs_recon.learned import LoadedNetwork
    from cs_recon.reconstruction import Reconstruction


def reconstruct_movie(
    scans: Sequence[Measurement], *, device: str = "auto", weights: str = "", batch_size: int = 4
) -> Iterator[Reconstruction]:
    """Reconstruct the frames of a movie by the inpainting network, each with its neighbours' samples.

    Parameters
    ----------
    scans : sequence of Measurement
        Consecutive scans of one shape; best at other pixels each time.
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
        If there are no scans, or their shapes differ.

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
    scans = list(scans) if isinstance(scans, Iterable) else []
    if not scans or not all(isinstance(scan, Measurement) for scan in scans):
        raise InputError("got no scans, or something else than measurements; expected a movie's measurements in order")
    shapes = {scan.shape for scan in scans}
    if len(shapes) > 1:
        raise InputError(f"the movie's scans have shapes {sorted(shapes)}; expected one shape")
    loaded = load_network(INPAINTING, weights, pick_device(device))
    network = loaded.network
    assert isinstance(network, InpaintingUNet)
    return _frames(scans, network, loaded, int(batch_size))


def _frames(
    scans: list[Measurement], network: InpaintingUNet, loaded: LoadedNetwork, batch_size: int
) -> Iterator[Reconstruction]:
    multiple, target = network.config.multiple, next(network.parameters()).device
    for start in range(0, len(scans), batch_size):
        chosen = range(start, min(start + batch_size, len(scans)))
        now = [scans[i] for i in chosen]
        with torch.inference_mode():
            batch = make_batch(now, multiple=multiple, device=target)
            before, after = (
                neighbour_batch([scans[i + d] if 0 <= i + d < len(scans) else None for i in chosen], now, batch)
                for d in (-1, 1)
            )
            done = denormalised(now, batch, network(batch, before, after), loaded)
        yield from done
