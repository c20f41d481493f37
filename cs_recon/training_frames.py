"""Clean frames for training: particle scenes, crystals and real images, each with its neighbours in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import shift

from simulate.crystal_frames import crystal_frame
from simulate.movie import Movie
from simulate.movie_config import MovieConfig
from simulate.random_scenes import random_config, random_crystal
from simulate.scenes import make_scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

Frames = list["NDArray[np.float32]"]
"""Consecutive clean frames of one scene; a single one, or three of which the middle one is to be reconstructed."""

LARGEST_DRIFT_PX = 6.0


def scene_frames(size: int, n: int, rng: np.random.Generator) -> Frames:
    """Draw `n` consecutive frames of a particle scene; its particles diffuse, grow and drift at random rates."""
    scene = random_config(rng, (size, size))
    if n == 1:
        return [make_scene(scene, rng=rng).frame]
    step_px, drift_px = _step(rng, 4.0), _step(rng, LARGEST_DRIFT_PX) * _direction(rng)
    movie = MovieConfig(
        scene=scene,
        n_frames=n,
        frame_interval_s=1.0,
        diffusion_nm2_per_s=float((step_px * scene.pixel_size_nm) ** 2 / 2),
        drift_nm_per_s=(float(drift_px[0] * scene.pixel_size_nm), float(drift_px[1] * scene.pixel_size_nm)),
    )
    return [frame.frame for frame in Movie(movie, rng=rng)]


def crystal_frames(size: int, n: int, rng: np.random.Generator) -> Frames:
    """Draw a crystal's frame, drifting over `n` frames."""
    return _drifting(crystal_frame(random_crystal(rng, (size, size)), rng=rng).frame, n, rng)


def real_frames(image: NDArray[np.uint8], size: int, n: int, rng: np.random.Generator) -> Frames:
    """Cut a crop out of a real image, drifting over `n` frames."""
    return _drifting(random_crop(image, size, rng), n, rng)


def random_crop(image: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Cut a square out of a real image, shrink it (which also averages its noise away), flip it, set its black level.

    Returns intensities of at least 0, at most 1; dark and bright particles are equally likely.
    """
    side = int(min(size / rng.uniform(0.4, 1.0), *image.shape))
    row, col = rng.integers(image.shape[0] - side + 1), rng.integers(image.shape[1] - side + 1)
    crop = Image.fromarray(image[row : row + side, col : col + side]).resize((size, size), Image.Resampling.BOX)
    array = np.rot90(np.asarray(crop, dtype=np.float32) / 255, int(rng.integers(4)))
    array = array if rng.random() < 0.5 else array[:, ::-1]
    array = array if rng.random() < 0.5 else 1 - array
    low = float(array.min()) * rng.random()
    return np.ascontiguousarray((array - low) / (1 - low) if low < 1 else array, dtype=np.float32)


def _drifting(frame: NDArray[np.float32], n: int, rng: np.random.Generator) -> Frames:
    """Return `n` frames that drift past; the middle one is `frame` itself, beyond whose edges its mirror image lies."""
    velocity = _step(rng, LARGEST_DRIFT_PX) * _direction(rng)
    middle = n // 2
    return [
        frame if k == middle else shift(frame, velocity * (k - middle), order=1, mode="reflect").astype(np.float32)
        for k in range(n)
    ]


def _step(rng: np.random.Generator, largest: float) -> float:
    """Draw a distance in pixels: zero, or log-uniform from a tenth of a pixel."""
    return 0.0 if rng.random() < 0.2 else float(np.exp(rng.uniform(np.log(0.1), np.log(largest))))


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sin(angle), np.cos(angle)])
