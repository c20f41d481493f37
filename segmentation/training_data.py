"""Labelled frames for the segmentation networks: simulated scenes and real images, as a microscope degrades them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import find_objects, gaussian_filter
from torch.utils.data import Dataset

from cs_recon.learned import UNROLLED
from cs_recon.real_images import LabelledImage, Split, labelled_images
from cs_recon.reconstruction import reconstruct, reconstructors
from cs_recon.training_data import SCHEMES, first_taken, random_path
from segmentation.annotations import annotate
from segmentation.frame_pool import FramePool
from segmentation.instances import label_ids
from segmentation.mapping import RECONSTRUCT, SPARSE, feature_maps, image_maps
from segmentation.split import depth_map
from segmentation.visibility import MIN_AREA_PX, outline_snr, visible
from simulate.detector import measure
from simulate.errors import InputError, check_count, check_within
from simulate.random_scenes import ordinary_config, random_config
from simulate.scenes import make_scene
from simulate.schemes import scan_path

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from torch import Tensor

    from simulate.measurement import Measurement


@dataclass(frozen=True)
class SceneData:
    """What the training images look like.

    Parameters
    ----------
    size : int
        Side of the square images in pixels, a multiple of 32.
    real_folders : tuple of str
        Folders of real labelled images, of which the training splits are used; without any their share is simulated.
    real_share : float
        Share of images cut from real ones; the rest are simulated scenes.
    ordinary_share : float
        Share of the simulated scenes that are as a microscopist would choose them (`simulate.ordinary_config`); the
        rest are of all kinds (`simulate.random_config`), heaps and coarse grain among them.
    noisy_share, sparse_share : float
        Shares of images with counting noise on a full scan, and of sparse scans; the rest stay clean.
    denoised_share : float
        Share of the noisy full scans that come to a detector of images by way of the reconstruction too.
    min_ratio : float
        Smallest sampling ratio; drawn log-uniformly from it to 1.
    blur_share, inverted_share : float
        Shares of images that are blurred, and whose contrast is inverted.
    annotated_share : float
        Share of images with letters, scale bars or information strips drawn over them (`annotate`).
    recon : str
        The method by which sparse scans become images, for detectors that take images.
    fast_share : float
        Share of the reconstructions by `unrolled-ista`'s preset ``fast``; the rest are by ``full``.
    target_snr : float
        Particles of a smaller signal-to-noise ratio (`visibility.rose_snr`) are no targets, nor are real ones where
        noise was added: they would teach to see what is not there. Chosen above Rose's 5, with which networks saw
        particles in plain noise.
    outline_snr : float
        The same for the signal-to-noise ratio of a particle's outline (`visibility`).
    fewest_samples : int
        Particles of simulated sparse scans on which fewer samples fell are no targets either.
    distinct : int
        How many different images to make; from then on they come again, turned and mirrored. 0: every image is a new
        one.
    """

    size: int = 256
    real_folders: tuple[str, ...] = ()
    real_share: float = 0.4
    ordinary_share: float = 0.0
    noisy_share: float = 0.35
    sparse_share: float = 0.45
    denoised_share: float = 0.3
    min_ratio: float = 0.03
    blur_share: float = 0.25
    inverted_share: float = 0.25
    annotated_share: float = 0.3
    recon: str = "unrolled-ista"
    fast_share: float = 0.75
    target_snr: float = 7.0
    outline_snr: float = 2.0
    fewest_samples: int = 3
    distinct: int = 0

    def __post_init__(self) -> None:
        if self.size % 32 or self.size < 32:
            raise InputError(f"size is {self.size}; expected a multiple of 32")
        for name in (field.name for field in fields(self) if field.name.endswith("_share")):
            check_within(getattr(self, name), name, 0, 1)
        if self.noisy_share + self.sparse_share > 1:
            raise InputError("noisy_share and sparse_share must sum to at most 1")
        if not 0 < self.min_ratio <= 1:
            raise InputError(f"min_ratio is {self.min_ratio}; expected a ratio above 0 and at most 1")
        reconstructors[self.recon]  # an unknown name is told here
        check_within(self.target_snr, "target_snr")
        check_within(self.outline_snr, "outline_snr")
        check_count(self.fewest_samples, "fewest_samples")
        check_count(self.distinct, "distinct")


@dataclass(frozen=True, eq=False)
class Sample:
    """What a network sees, maps (2, H, W) for a detector of images or else the scan, and the target."""

    seen: Tensor | Measurement
    target: dict[str, Tensor]


class LabelledScenes(Dataset[Sample]):
    """An endless, reproducible data set: item `i` is drawn from the seed ``(seed, i)``.

    Parameters
    ----------
    config : SceneData
        What the images look like.
    seed, length : int
        Seed of all items, and their number.
    mapping : str
        What the detector sees; without a pool, only for a detector of images the maps themselves.
    depth : bool
        Whether targets hold the depth map.
    split : {"train", "validation", "test"}
        Which real images.
    pool : path, optional
        Where to keep the images of a configuration with `distinct`, or the shipped reconstruction network's features.
    """

    def __init__(
        self,
        config: SceneData,
        seed: int,
        length: int,
        *,
        mapping: str = RECONSTRUCT,
        depth: bool = False,
        split: Split = "train",
        pool: str | os.PathLike[str] | None = None,
    ) -> None:
        self.config, self.seed, self.length, self.mapping, self.depth = config, seed, length, mapping, depth
        self.real = [item for folder in config.real_folders for item in labelled_images(folder, split)]
        if config.real_folders and config.real_share and split == "train" and not self.real:
            raise InputError(
                f"none of the images of {', '.join(map(str, config.real_folders))} belongs to the training split; "
                "expected labelled images (images/NAME.*, labels/NAME.png), of which four in five do"
            )
        self.pool = None
        if pool is not None and config.distinct > 0 and mapping != SPARSE:
            self.pool = FramePool(pool, config, seed, mapping, [split, *(item.name for item in self.real)])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if self.pool or self.mapping == RECONSTRUCT:
            maps, labels = self.pool.frame(index, self._image) if self.pool else self._image(index)
            return Sample(torch.from_numpy(maps), target(labels, depth=self.depth))
        scan, labels, _ = self._labelled_scan(index)
        return Sample(scan, target(labels, depth=self.depth))

    def _image(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        scan, labels, rng = self._labelled_scan(index)
        if self.mapping == RECONSTRUCT:
            return self._maps(scan, rng), labels
        return feature_maps(reconstruct(scan, UNROLLED, device="cpu"))[0].numpy(), labels

    def _labelled_scan(self, index: int) -> tuple[Measurement, NDArray[np.int32], np.random.Generator]:
        rng = np.random.default_rng([self.seed, index])
        # Particles that found no room, or a blank crop: draw another.
        scan, counts, frame, labels, simulated = first_taken(lambda: self._drawn(rng))
        if simulated or counts:
            # A real frame's labels are what people saw, on all of it and with its own noise alone.
            labels = visible(labels, frame, peak_counts=counts, ratio=scan.ratio, snr=self.config.target_snr)
        return scan, discernible(labels, frame, scan, counts, self.config), rng

    def _drawn(
        self, rng: np.random.Generator
    ) -> tuple[Measurement, float | None, NDArray[np.float32], NDArray[np.int32], bool]:
        frame, labels, simulated = self._frame(rng)
        if rng.random() < self.config.annotated_share:
            frame, labels = annotate(frame, labels, rng)
        frame = self._changed(frame, rng)
        return *self._scan(frame, rng), frame, labels, simulated

    def _frame(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int32], bool]:
        if rng.random() < self.config.real_share and self.real:
            return *crop_labelled(self.real[rng.integers(len(self.real))], self.config.size, rng), False
        # A share of 0 draws nothing: the scenes of a seed stay what they were.
        ordinary = self.config.ordinary_share > 0 and rng.random() < self.config.ordinary_share
        draw = ordinary_config if ordinary else random_config
        scene = make_scene(draw(rng, (self.config.size, self.config.size)), rng=rng)
        return scene.frame, scene.labels, True

    def _changed(self, frame: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the frame blurred or inverted, or as it is: what it shows of a particle changes with it."""
        if rng.random() < self.config.blur_share:
            frame = np.asarray(gaussian_filter(frame, np.exp(rng.uniform(np.log(0.3), np.log(4.0)))), dtype=np.float32)
        if rng.random() < self.config.inverted_share:
            frame = np.asarray(frame.max() - frame, dtype=np.float32)
        return frame

    def _scan(self, frame: NDArray[np.float32], rng: np.random.Generator) -> tuple[Measurement, float | None]:
        kind = rng.random()
        noisy = kind < self.config.noisy_share + 0.85 * self.config.sparse_share
        counts = float(np.exp(rng.uniform(np.log(12), np.log(2000)))) if noisy else None
        path = scan_path("raster", frame.shape)
        if self.config.noisy_share <= kind < self.config.noisy_share + self.config.sparse_share:
            ratio = float(np.exp(rng.uniform(np.log(self.config.min_ratio), 0)))
            path = random_path(str(rng.choice(list(SCHEMES), p=list(SCHEMES.values()))), frame, ratio, rng)
        return measure(frame, path, peak_counts=counts, rng=rng), counts

    def _maps(self, scan: Measurement, rng: np.random.Generator) -> NDArray[np.float32]:
        full = bool(scan.mask.all())
        if full and not (scan.counts_per_unit and rng.random() < self.config.denoised_share):
            return image_maps(scan.values)
        options: dict[str, Any] = {}
        if self.config.recon == UNROLLED:
            options["preset"] = "fast" if rng.random() < self.config.fast_share else "full"
        found = reconstruct(scan, self.config.recon, device="cpu", **options)
        return image_maps(found.image, found.own_sigma)


def discernible(
    labels: NDArray[np.int32],
    frame: NDArray[np.float32],
    scan: Measurement,
    peak_counts: float | None,
    config: SceneData,
) -> NDArray[np.int32]:
    """Return the particles that a scan has samples of, and whose outlines it can show."""
    keep = np.bincount(labels[scan.mask], minlength=labels.max() + 1) >= config.fewest_samples
    if peak_counts:
        sure = outline_snr(frame, labels, peak_counts=peak_counts, ratio=scan.ratio) >= config.outline_snr
        keep[label_ids(labels)] &= sure
    keep[0] = False
    return np.where(keep[labels], labels, 0).astype(np.int32)


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


def target(labels: NDArray[np.int32], *, depth: bool = False) -> dict[str, Tensor]:
    """Return the training target of a label map: boxes, classes, ids, the map itself, and its depth if asked for."""
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
    wanted = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(ids), dtype=torch.int64),
        "ids": torch.tensor(ids, dtype=torch.int32),
        "label_map": torch.from_numpy(labels.copy()),
    }
    if depth:
        wanted["depth"] = torch.from_numpy(depth_map(labels))
    return wanted
