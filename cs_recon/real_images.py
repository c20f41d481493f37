"""Folders of labelled real images, split once and for all into train, validation and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from simulate.errors import InputError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One real image: its name, grey values and instance labels (0 = background)."""

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]


def split_of(name: str) -> Split:
    """Return the split an image belongs to: 80 % train, 10 % validation, 10 % test, by a hash of its name.

    The split depends on nothing else, so an image never changes sides when others come or go.

    Examples
    --------
    >>> [split_of(name) for name in ("a", "b", "c", "j")]
    ['train', 'train', 'train', 'validation']
    """
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def labelled_images(folder: str | os.PathLike[str], split: Split) -> list[LabelledImage]:
    """Read the images of one split from ``folder/images/NAME.*`` with ``folder/labels/NAME.png``.

    Raises
    ------
    InputError
        If the folder has no images, or an image has no labels or labels of another shape.
    """
    return [labelled_image(file) for file in image_files(folder) if split_of(file.stem) == split]


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the files ``folder/images/NAME.*`` in the order of their names; `InputError` if there are none."""
    root = Path(folder)
    inside = (root / "images").glob("*") if root.is_dir() else []
    files = sorted(file for file in inside if file.is_file() and not file.name.startswith("."))
    if not files:
        raise InputError(f"no images in {root / 'images'}; expected images/NAME.* with labels/NAME.png")
    return files


def labelled_image(file: Path) -> LabelledImage:
    """Read one of `image_files` with its labels; `InputError` if it has none, or labels of another shape.

    Images of more than eight bits are stretched to 0 to 255.
    """
    labels_file = file.parents[1] / "labels" / f"{file.stem}.png"
    if not labels_file.is_file():
        raise InputError(f"{file.name} has no labels; expected {labels_file}")
    try:
        with Image.open(file) as opened:
            deep = opened.mode == "F" or opened.mode.startswith("I")
            image = np.asarray(opened) if deep else np.asarray(opened.convert("L"))
        with Image.open(labels_file) as opened:
            labels = np.asarray(opened).astype(np.int32)
    except OSError as error:
        raise InputError(f"{file.name} or its labels cannot be read ({error}); expected two pictures") from None
    if labels.shape != image.shape:
        raise InputError(f"labels of {file.name} have shape {labels.shape}; expected the image's {image.shape}")
    return LabelledImage(file.stem, _eight_bits(image, file.name) if deep else image, labels)


def _eight_bits(image: NDArray, name: str) -> NDArray[np.uint8]:
    """Return an image of more bits, or of real numbers, stretched to 0 to 255."""
    values = image.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} has pixels that are no finite numbers; expected an image without them: fill them in")
    low, high = values.min(), values.max()
    return np.round(255 * (values - low) / max(high - low, np.finfo(np.float64).tiny)).astype(np.uint8)
