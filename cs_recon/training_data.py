"""Pairs of a sparse noisy scan and its clean frame, made on the fly: any index gives the same pair for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from cs_recon.real_images import Split, labelled_images
from simulate.detector import measure
from simulate.errors import InputError
from simulate.lattice import lattice_frame
from simulate.random_scenes import random_config
from simulate.scenes import make_scene
from simulate.schemes import scan_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.measurement import Measurement

SCHEMES = {"random": 0.45, "jittered-grid": 0.2, "bernoulli": 0.1, "line-hop": 0.1, "spiral": 0.1, "lines": 0.05}
"""The scan schemes of training and how often each is drawn."""


@dataclass(frozen=True)
class PairConfig:
    """What training pairs look like.

    Parameters
    ----------
    size : int
        Side of the square frames in pixels.
    real_folder : str
        Folder of real images (see `real_images.labelled_images`), of which the training split is used; without
        one their share is simulated too.
    real_share, lattice_share : float
        Shares of pairs from real images and from atomic lattices; the rest are particle scenes.
    min_ratio : float
        Smallest sampling ratio; ratios are drawn log-uniformly from it to 1.
    min_counts, max_counts : float
        Range of the peak counts, drawn log-uniformly; one pair in ten is noise-free.
    """

    size: int = 128
    real_folder: str = ""
    real_share: float = 0.4
    lattice_share: float = 0.1
    min_ratio: float = 0.02
    min_counts: float = 4.0
    max_counts: float = 2000.0

    def __post_init__(self) -> None:
        if min(self.real_share, self.lattice_share) < 0 or self.real_share + self.lattice_share > 1:
            raise InputError(
                f"real_share is {self.real_share} and lattice_share {self.lattice_share}; "
                "expected shares of at least 0 that sum to at most 1"
            )


class ScanPairs(Dataset["tuple[Measurement, NDArray[np.float32]]"]):
    """An endless, reproducible data set: item `i` is drawn from the seed ``(seed, i)``."""

    def __init__(self, config: PairConfig, seed: int, length: int, split: Split = "train") -> None:
        self.config, self.seed, self.length = config, seed, length
        self.real = [item.image for item in labelled_images(config.real_folder, split)] if config.real_folder else []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Measurement, NDArray[np.float32]]:
        rng = np.random.default_rng([self.seed, index])
        while True:
            clean = self._frame(rng)
            try:
                return random_measurement(clean, rng, self.config), clean
            except InputError:
                # A blank crop, or a scan so sparse that all its samples are equal, teaches nothing: draw another.
                continue

    def _frame(self, rng: np.random.Generator) -> NDArray[np.float32]:
        size = (self.config.size, self.config.size)
        kind = rng.random()
        if self.real and kind < self.config.real_share:
            return random_crop(self.real[rng.integers(len(self.real))], self.config.size, rng)
        if kind < self.config.real_share + self.config.lattice_share:
            spacing = float(np.exp(rng.uniform(np.log(4), np.log(24))))
            return lattice_frame(
                size,
                spacing_px=spacing,
                column_sigma_px=float(max(0.9, spacing * rng.uniform(0.12, 0.25))),
                rng=rng,
                n_grains=int(rng.integers(1, 4)),
                second_column=float(rng.choice([0, rng.uniform(0.1, 1)])),
            )
        return make_scene(random_config(rng, size), rng=rng).frame


def random_crop(image: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Cut a square out of a real image, shrink it (which also averages its noise away), flip it, set its black level.

    Returns intensities of at least 0, at most 1; dark and bright particles are equally likely.
    """
    side = int(min(size / rng.uniform(0.4, 1.0), *image.shape))
    row, col = rng.integers(image.shape[0] - side + 1), rng.integers(image.shape[1] - side + 1)
    crop = Image.fromarray(image[row : row + side, col : col + side]).resize((size, size), Image.Resampling.BOX)
    array = np.rot90(np.asarray(crop, dtype=np.float32) / 255, int(rng.integers(4)))
    array = array if rng.random() < 0.5 else 1 - array
    low = float(array.min()) * rng.random()
    return np.ascontiguousarray((array - low) / (1 - low) if low < 1 else array, dtype=np.float32)


def random_measurement(clean: NDArray[np.float32], rng: np.random.Generator, config: PairConfig) -> Measurement:
    """Scan a frame with a random scheme, ratio and dose."""
    scheme = str(rng.choice(list(SCHEMES), p=list(SCHEMES.values())))
    ratio = float(np.exp(rng.uniform(np.log(config.min_ratio), 0)))
    lowest = 2 / clean.shape[0]
    path = scan_path(scheme, clean.shape, max(ratio, lowest) if scheme in ("lines", "line-hop") else ratio, rng=rng)  # pyright: ignore[reportArgumentType]
    if rng.random() < 0.1:
        return measure(clean, path)
    counts = float(np.exp(rng.uniform(np.log(config.min_counts), np.log(config.max_counts))))
    read_noise = float(rng.uniform(0, 1)) if rng.random() < 0.3 else 0.0
    return measure(clean, path, peak_counts=counts, read_noise_counts=read_noise, rng=rng)
