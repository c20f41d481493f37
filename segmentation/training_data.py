"""Labelled images for the segmentation networks: simulated scenes and real images, as a microscope degrades them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import find_objects, gaussian_filter
from torch.utils.data import Dataset

from cs_recon.batch import make_batch
from cs_recon.real_images import LabelledImage, labelled_images
from cs_recon.training_data import SCHEMES
from segmentation.preprocess import normalise
from simulate.detector import measure
from simulate.errors import InputError
from simulate.random_scenes import random_config
from simulate.scenes import make_scene
from simulate.schemes import scan_path

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Sample = tuple["Tensor", dict[str, "Tensor"]]
MIN_AREA_PX = 16
"""Particles with fewer visible pixels are no training targets."""


@dataclass(frozen=True)
class SceneData:
    """What the training images look like.

    Parameters
    ----------
    size : int
        Side of the square images in pixels, a multiple of 32.
    real_folder : str
        Folder of real labelled images, of which the training split is used; without
        one their share is simulated too.
    real_share : float
        Share of images cut from real ones; the rest are simulated scenes.
    noisy_share, sparse_share : float
        Shares of images with counting noise on a full scan, and of images reconstructed from a sparse noisy scan; the
        rest stay clean.
    reconstructor : str
        A weights file of the unrolled network for the sparse share; empty for the pyramid fill, which is instant.
    """

    size: int = 256
    real_folder: str = ""
    real_share: float = 0.45
    noisy_share: float = 0.4
    sparse_share: float = 0.3
    reconstructor: str = ""

    def __post_init__(self) -> None:
        if self.size % 32:
            raise InputError(f"size is {self.size}; expected a multiple of 32")
        if self.noisy_share + self.sparse_share > 1:
            raise InputError("noisy_share and sparse_share must sum to at most 1")


class LabelledScenes(Dataset[Sample]):
    """An endless, reproducible data set: item `i` is drawn from the seed ``(seed, i)``."""

    def __init__(self, config: SceneData, seed: int, length: int) -> None:
        self.config, self.seed, self.length = config, seed, length
        self.real = labelled_images(config.real_folder, "train") if config.real_folder else []
        self.network = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        while True:
            if rng.random() < self.config.real_share and self.real:
                image, labels = crop_labelled(self.real[rng.integers(len(self.real))], self.config.size, rng)
            else:
                scene = make_scene(random_config(rng, (self.config.size, self.config.size)), rng=rng)
                image, labels = scene.frame, scene.labels
            try:
                degraded = self._degrade(image, rng)
            except InputError:
                continue  # a blank crop: draw another
            return torch.from_numpy(normalise(degraded))[None], target(labels)

    def _degrade(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
        if rng.random() < 0.3:
            image = np.asarray(gaussian_filter(image, rng.uniform(0.3, 1.5)), dtype=np.float32)
        if rng.random() < 0.2:
            image = np.asarray(image.max() - image, dtype=np.float32)
        kind = rng.random()
        if kind < self.config.noisy_share:
            counts = float(np.exp(rng.uniform(np.log(8), np.log(2000))))
            return measure(image, scan_path("raster", image.shape), peak_counts=counts, rng=rng).values
        if kind < self.config.noisy_share + self.config.sparse_share:
            return self._sparse(image, rng)
        measure(image, scan_path("raster", image.shape))  # refuses a blank image
        return image.astype(np.float64)

    def _sparse(self, image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
        ratio = float(np.exp(rng.uniform(np.log(0.04), 0)))
        scheme = str(rng.choice(list(SCHEMES), p=list(SCHEMES.values())))
        counts = float(np.exp(rng.uniform(np.log(10), np.log(1000))))
        scan = measure(image, scan_path(scheme, image.shape, ratio, rng=rng), peak_counts=counts, rng=rng)  # pyright: ignore[reportArgumentType]
        with torch.inference_mode():
            batch = make_batch([scan])
            if not self.config.reconstructor:
                return batch.denormalise(batch.x0)[0, 0].numpy()
            if self.network is None:
                from cs_recon.learned import load_network

                self.network = load_network("unrolled-ista", self.config.reconstructor).network
            return batch.denormalise(self.network(batch).image)[0, 0].numpy()


def crop_labelled(
    item: LabelledImage, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Cut a square out of a real image at a random scale, flip and turn it; intensities from 0 to 1."""
    side = int(min(size / np.exp(rng.uniform(np.log(0.4), np.log(1.3))), *item.image.shape))
    row, col = (int(rng.integers(extent - side + 1)) for extent in item.image.shape)
    window = np.s_[row : row + side, col : col + side]
    image = Image.fromarray(item.image[window]).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    labels = Image.fromarray(item.labels[window]).resize((size, size), Image.Resampling.NEAREST)
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    arrays = [np.rot90(np.asarray(array), turns) for array in (image, labels)]
    arrays = [array[:, ::-1] if flip else array for array in arrays]
    gamma = float(np.exp(rng.normal(0, 0.25)))
    return np.asarray((arrays[0] / 255) ** gamma, dtype=np.float32), np.ascontiguousarray(arrays[1], dtype=np.int32)


def target(labels: NDArray[np.int32]) -> dict[str, Tensor]:
    """Return the training target of a label map: boxes, classes, ids, and the map itself."""
    areas = np.bincount(labels.ravel())
    boxes, ids = [], []
    for index, window in enumerate(find_objects(labels)):
        if window is None or areas[index + 1] < MIN_AREA_PX:
            continue
        rows, cols = window
        # One-pixel slivers at the edge of a crop are degenerate boxes.
        if rows.stop - rows.start < 3 or cols.stop - cols.start < 3:
            continue
        boxes.append((cols.start, rows.start, cols.stop, rows.stop))
        ids.append(index + 1)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(ids), dtype=torch.int64),
        "ids": torch.tensor(ids, dtype=torch.int32),
        "label_map": torch.from_numpy(labels.copy()),
    }
