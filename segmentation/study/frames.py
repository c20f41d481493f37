"""The frames of a study: named by what makes them, so that any worker can make or read them again."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from cs_recon.real_images import image_files, labelled_image, split_of
from segmentation.bench.frames import TEST_SEED, simulated_frame
from segmentation.measure import measure
from segmentation.study.config import SCENE
from simulate.errors import InputError, PixelSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segmentation.study.config import FrameChoice
    from simulate.scenes import SceneConfig

REAL = "real"


@dataclass(frozen=True)
class FrameSpec:
    """What makes a frame.

    Attributes
    ----------
    source : str
        The generator of simulated frames, or ``"real"``.
    name : str
        The frame's own.
    seed : int
        Of scene, scans and noise.
    size : int
        Side of a simulated frame in pixels.
    pixel_size_nm : float
        Of a real frame, 0 if it is not known; simulated ones have their own.
    digest : str
        Hash of a real frame and its labels.
    file : str
        Where a real frame is; it may move.
    scene : SceneConfig, optional
        Of the generator ``"scene"``.
    """

    source: str
    name: str
    seed: int
    size: int = 0
    pixel_size_nm: float = 0.0
    digest: str = ""
    file: str = ""
    scene: SceneConfig | None = None


@dataclass(frozen=True, eq=False)
class StudyFrame:
    """A frame with its truth.

    Attributes
    ----------
    image : ndarray, shape (H, W)
        What is scanned: clean if simulated, as recorded if real.
    labels : ndarray of int32, shape (H, W)
        The particles that are asked for.
    diameters_px : ndarray, shape (N,)
        Their equivalent diameters, by ascending label.
    pixel_size_nm : float or (float, float), optional
        None where it is not known.
    """

    image: NDArray
    labels: NDArray[np.int32]
    diameters_px: NDArray[np.float64]
    pixel_size_nm: PixelSize | None


def frame_specs(choice: FrameChoice) -> list[FrameSpec]:
    """Return the frames of a choice; every real one is read and checked.

    Raises
    ------
    InputError
        If a folder has no images or none in its split, or an image has no labels or labels of another shape.
    """
    scene = choice.scene if choice.generator == SCENE else None
    specs = [
        FrameSpec(choice.generator, f"{choice.generator}-{index}", TEST_SEED + index, choice.size, scene=scene)
        for index in range(choice.first, choice.first + choice.n)
    ]
    for folder in choice.folders:
        found = [file for file in image_files(folder) if choice.split in ("all", split_of(file.stem))]
        if not found:
            raise InputError(f"no image in {folder} is of the split {choice.split!r}; choose split = 'all'")
        specs += [_real_spec(file, choice.pixel_size_nm) for file in found[: choice.limit or None]]
    return _told_apart(specs)


def _told_apart(specs: list[FrameSpec]) -> list[FrameSpec]:
    """Return the frames with names of their own: files of the same name in two folders are two frames."""
    shared = {name for name, count in Counter(spec.name for spec in specs).items() if count > 1}
    return [replace(spec, name=f"{spec.name}-{spec.digest}") if spec.name in shared else spec for spec in specs]


@lru_cache(maxsize=2)
def load_frame(spec: FrameSpec) -> StudyFrame:
    """Make or read a frame; what was read last is kept for the next case on it."""
    if spec.source == REAL:
        read = labelled_image(Path(spec.file))
        image, labels = read.image.astype(np.float64), read.labels
        if _digest(read.image, labels) != spec.digest:
            raise InputError(f"{spec.file} is not the image that the study began with; expected it unchanged")
        pixel_size = spec.pixel_size_nm or None
    else:
        made, pixel_size = simulated_frame(spec.name, spec.seed, spec.size, spec.scene or spec.source)
        image, labels = made.image, made.labels
    diameters = measure(labels)["equivalent_diameter_px"].to_numpy(np.float64)
    return StudyFrame(image, labels, diameters, pixel_size)


def _real_spec(file: Path, pixel_size_nm: float) -> FrameSpec:
    read = labelled_image(file)
    digest = _digest(read.image, read.labels)
    return FrameSpec(REAL, read.name, crc32(digest.encode()), 0, pixel_size_nm, digest, str(file.resolve()))


def _digest(image: NDArray, labels: NDArray) -> str:
    joint = hashlib.sha256(np.ascontiguousarray(image).tobytes())
    joint.update(np.ascontiguousarray(labels).tobytes())
    return joint.hexdigest()[:16]
