"""Pictures, one after the other, as a video: GIF, or MP4 with the extra ``video``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segmentation.figures import length_text, scale_bar_nm
from simulate.atomic import atomic_path
from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

KINDS = ("gif", "mp4", "none")
FRAMES_PER_S = 8
CAPTION_PX = 20
"""Height of the strip below a picture."""


def check_video(kind: str) -> None:
    """Raise `InputError` if a kind of video is unknown, or cannot be written here."""
    if kind not in KINDS:
        raise InputError(f"video is {kind!r}{nearest_name(str(kind), KINDS)}; expected one of {', '.join(KINDS)}")
    if kind == "mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError:
            raise InputError(
                "MP4 needs the package imageio-ffmpeg; pip install 'cs-stem[video]', or choose gif"
            ) from None


def write_video(pictures: Iterable[Path], file: Path) -> Path:
    """Write pictures of one size as the video that the file's suffix names, one at a time, whole or not at all.

    Parameters
    ----------
    pictures : iterable of Path
        Image files.
    file : Path
        ``.gif`` (repeats for ever) or ``.mp4`` (H.264, 8 frames a second).
    """
    with atomic_path(file) as temporary:
        (_write_mp4 if file.suffix == ".mp4" else _write_gif)(pictures, temporary)
    return file


def with_caption(pixels: NDArray[np.uint8], text: str, pixel_nm: float | None) -> Image.Image:
    """Return a picture (H, W, 3) with a black strip below it: a text and, if the pixel size is known, a scale bar."""
    from PIL import Image, ImageDraw

    height, width = pixels.shape[:2]
    strip = Image.new("RGB", (width, height + CAPTION_PX))
    strip.paste(Image.fromarray(pixels), (0, 0))
    draw = ImageDraw.Draw(strip)
    middle, margin = height + CAPTION_PX // 2, 6
    draw.text((margin, middle), text, fill="white", anchor="lm", font_size=12)
    if pixel_nm is not None:
        length_nm = scale_bar_nm(width * pixel_nm)
        left = width - margin - round(length_nm / pixel_nm)
        draw.rectangle((left, middle - 1, width - margin, middle + 2), fill="white")
        draw.text((left - margin, middle), length_text(length_nm), fill="white", anchor="rm", font_size=12)
    return strip


def _write_gif(pictures: Iterable[Path], file: Path) -> None:
    from PIL import Image

    def opened() -> Iterator[Image.Image]:
        for picture in pictures:
            with Image.open(picture) as image:
                yield image.convert("P", palette=Image.Palette.ADAPTIVE, colors=128)

    images = opened()
    next(images).save(
        file, save_all=True, append_images=images, duration=round(1000 / FRAMES_PER_S), loop=0, optimize=False
    )


def _write_mp4(pictures: Iterable[Path], file: Path) -> None:
    import imageio_ffmpeg
    from PIL import Image

    writer = None
    try:
        for picture in pictures:
            with Image.open(picture) as image:
                frame = _even(np.asarray(image.convert("RGB")))
            if writer is None:
                size = frame.shape[1::-1]
                writer = imageio_ffmpeg.write_frames(str(file), size, fps=FRAMES_PER_S, macro_block_size=2, quality=8)
                writer.send(None)
            writer.send(frame.tobytes())
    finally:
        if writer is not None:
            writer.close()


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row and column where needed: H.264 wants even sides."""
    return np.ascontiguousarray(np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge"))
