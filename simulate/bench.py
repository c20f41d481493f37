"""How fast the simulator is: large frames, every scan scheme, and labelled frames a second for training."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.figures import gallery_prior
from simulate.random_scenes import random_config
from simulate.scenes import SceneConfig, make_scene
from simulate.schemes import scan_path, schemes
from simulate.shapes import bodies

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = SceneConfig(
    shape=(2048, 2048), n_particles=1000, diameter_nm=20.0, shapes=bodies.names, materials=("Au", "TiO2")
)
RATIOS = (0.01, 0.1, 0.5, 1.0)
_SEED = 505_300_000


def bench_large_frame(repeats: int = 3) -> float:
    """Return the seconds that a 2048 x 2048 frame with 1,000 particles of every shape takes, compiled code loaded."""
    make_scene(SceneConfig(shape=(64, 64), n_particles=3, shapes=("sphere", "cube")), rng=0)
    return float(np.median([_timed(make_scene, LARGE, rng=seed) for seed in range(repeats)]))


def bench_training_frames(n_frames: int = 200, n_processes: int = 2) -> float:
    """Return how many labelled 256 x 256 frames a second some processes draw from `random_config`."""
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(_draw_frames, [(seed, 3) for seed in range(n_processes)]))  # start and load the compiled code
        parts = [(_SEED + seed, n_frames // n_processes) for seed in range(n_processes)]
        seconds = _timed(lambda: list(pool.map(_draw_frames, parts)))
    return n_processes * (n_frames // n_processes) / seconds


def bench_schemes(side: int = 2048, progress: Callable[[str], object] = lambda text: None) -> list[dict[str, object]]:
    """Return the seconds that each scheme takes at each of `RATIOS` on a square frame, compiled code loaded.

    Returns
    -------
    list of dict
        One a scheme and ratio: ``scheme, ratio, seconds``.
    """
    rows: list[dict[str, object]] = []
    for entry in schemes:
        progress(entry.name)
        weights = {size: gallery_prior((size, size)) if entry.value.needs_prior else None for size in (64, side)}
        scan_path(entry.name, (64, 64), 0.1, rng=0, prior=weights[64])
        for ratio in RATIOS:
            seconds = _timed(scan_path, entry.name, (side, side), ratio, rng=0, prior=weights[side])
            rows.append({"scheme": entry.name, "ratio": ratio, "seconds": seconds})
    return rows


def _draw_frames(part: tuple[int, int]) -> int:
    seed, n_frames = part
    rng = np.random.default_rng(seed)
    for _ in range(n_frames):
        make_scene(random_config(rng), rng=rng)
    return n_frames


def _timed(function: Callable[..., object], *arguments: Any, **options: Any) -> float:
    began = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - began
