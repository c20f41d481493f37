"""Training images that are drawn once, kept in a folder, and seen again turned and mirrored."""

from __future__ import annotations

import hashlib
import json
import tokenize
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from cs_recon.learned import INPAINTING, UNROLLED, load_network
from segmentation.mapping import RECONSTRUCT, moved
from simulate.atomic import atomic_path, make_folder
from simulate.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from segmentation.training_data import SceneData

T = TypeVar("T", bound=np.generic)
Frame = tuple["NDArray[np.float32]", "NDArray[np.int32]"]
"""Maps (C, h, w) and label map (H, W)."""
LARGEST_HALF = 60000.0
LARGEST_SHORT = np.iinfo(np.uint16).max
_DAMAGE = (OSError, EOFError, KeyError, ValueError, SyntaxError, RuntimeError)
_DAMAGE = (*_DAMAGE, zipfile.BadZipFile, zlib.error, tokenize.TokenError)
"""What reading a file raises that is not there, or of which a byte or its end is lost."""
DRAWING = 2
"""Raised with every change of how images and labels are drawn, so that none drawn before is taken for one of now."""


class FramePool:
    """The first `config.distinct` frames of a seed, each computed once.

    Reconstructing an image costs as much as a training step on it.

    Frames lie in a sub-folder whose name is the fingerprint of all that they depend on, so that several networks may
    share them and none gets another configuration's. Several processes may fill a pool together.

    Parameters
    ----------
    folder : path
        Where the frames are kept: 0.4 MB each at 256², 1.3 MB with features.
    config : SceneData
        What the images look like.
    seed : int
        The frames' seed.
    mapping : {"reconstruct", "features"}
        Whether the maps are images or the features of the shipped reconstruction network.
    sources : sequence of str
        What else frames are drawn from: the split, and the names of its real images.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: SceneData,
        seed: int,
        mapping: str = RECONSTRUCT,
        sources: Sequence[str] = (),
    ) -> None:
        self.mapping = mapping
        recon = config.recon if mapping == RECONSTRUCT else UNROLLED
        learned = load_network(recon).info if recon in (UNROLLED, INPAINTING) else {}
        what = {**asdict(config), "distinct": None, "seed": seed, "mapping": mapping, **learned}
        what |= {"drawing": DRAWING, "sources": list(sources)}
        described = json.dumps(what, sort_keys=True)
        self.folder = Path(folder) / hashlib.sha256(described.encode()).hexdigest()[:12]
        self.distinct, self.seed = config.distinct, seed
        if not self.folder.is_dir():  # told now, not by the process that draws the first frame
            make_folder(self.folder)

    def frame(self, index: int, draw: Callable[[int], Frame]) -> Frame:
        """Return frame ``index % distinct``, drawn by ``draw`` if it is not kept, in one of eight positions."""
        number = index % self.distinct
        file = self.folder / f"{number:06d}.npz"
        try:
            # Opened here: of a damaged file np.load would leave its own handle open.
            with file.open("rb") as stream, np.load(stream) as stored:
                maps, labels = np.asarray(stored["maps"], dtype=np.float32), np.asarray(stored["labels"], np.int32)
        except _DAMAGE:
            drawn, labels = draw(number)
            # What is kept is what is given, the first time too: a run that goes on sees the same images.
            half = np.clip(drawn, -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
            short = labels.astype(np.uint16) if labels.max() <= LARGEST_SHORT else labels
            try:
                with atomic_path(file) as temporary:
                    np.savez(temporary, maps=half, labels=short)
            except OSError as error:
                raise InputError(
                    f"cannot write {file} ({error.strerror or error}); expected room for the frames of a pool: make "
                    "some on the disk and start again, or choose another folder"
                ) from None
            maps = half.astype(np.float32)
        position = int(np.random.default_rng([self.seed, index, 1]).integers(8)) if index >= self.distinct else 0
        seen = moved(
            torch.from_numpy(maps)[None], self.mapping, lambda x: torch.from_numpy(turned(x.numpy(), position))
        )
        return seen[0].numpy(), turned(labels, position)


def turned(array: NDArray[T], position: int) -> NDArray[T]:
    """Return an array (..., H, W) in one of eight positions: `position` % 4 quarter turns, mirrored from 4 on."""
    array = np.rot90(array, position % 4, axes=(-2, -1))
    return np.ascontiguousarray(array[..., ::-1] if position >= 4 else array)
