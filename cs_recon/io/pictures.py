"""PNG, JPEG, WebP and BMP through Pillow. Their resolution tags are for printers: never a calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.io.boundary import guarded
from cs_recon.io.raw import Raw, transparent
from simulate.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_PNG_COLOUR_TYPE = {2: "RGB", 4: "grey with alpha", 6: "RGBA"}


def load_picture(path: Path) -> Raw:
    """Load every frame of a picture in its own depth (1, 8 or 16 bit)."""
    frames = guarded(path.suffix[1:].upper(), lambda: _frames(path))
    channels = frames[0].ndim == 3
    return Raw(frames[0] if len(frames) == 1 else np.stack(frames), channels=channels)


def _frames(path: Path) -> list[NDArray[Any]]:
    from PIL import Image

    with path.open("rb") as file:
        header = file.read(26)
    # Pillow reads these with 8 bits and says nothing.
    if header[:8] == b"\x89PNG\r\n\x1a\n" and header[12:16] == b"IHDR" and len(header) == 26:
        depth, colour_type = header[24], header[25]
        if depth == 16 and colour_type in _PNG_COLOUR_TYPE:
            raise InputError(
                f"16-bit {_PNG_COLOUR_TYPE[colour_type]} PNG; expected 16-bit grey or 8-bit colour: "
                "save it as 16-bit grey or TIFF"
            )
    frames = []
    with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP")) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            frames.append(_array(image))
    return frames


def _array(image: Image) -> NDArray[Any]:
    if image.mode in _DEEP_MODES:  # Pillow's RGBA has 8 bits
        grey = np.array(image)
        if (grey == image.info.get("transparency")).any():
            raise transparent()
        return grey
    if "transparency" in image.info or image.mode == "PA":
        return np.array(image.convert("RGBA"))
    if image.mode == "P":
        return np.array(image.convert("RGB"))
    if image.mode in ("1", "L", "LA", "RGB", "RGBA"):
        return np.array(image)
    raise InputError(f"picture has the colour mode {image.mode}; expected grey or RGB: convert it first")
