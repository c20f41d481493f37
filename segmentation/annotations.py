"""What publishing burns into micrographs: panel letters, scale bars, information strips; no particle is any of them.

Networks that never saw them call letters and bars particles.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "STIXGeneral", "STIXGeneralBol")
"""Fonts that come with matplotlib: sans and serif, light and bold."""
UNITS = ("nm", "nm", "nm", "µm", "Å")
LENGTHS = ("1", "2", "5", "10", "20", "25", "50", "100", "200", "250", "300", "500", "0.2", "0.5")
HIDDEN_SHARE = 0.6
"""A particle of which an annotation hides more than this is no longer there."""
BAR, LETTER, STRIP = "bar", "letter", "strip"


def annotate(
    frame: NDArray[np.float32], labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw one to three random annotations over a frame, in its darkest or brightest intensity.

    Parameters
    ----------
    frame : ndarray, shape (H, W)
        Intensities.
    labels : ndarray of int32, shape (H, W)
        Its particles.
    rng : numpy.random.Generator
        What is drawn, where, how large, and in which font.

    Returns
    -------
    frame : ndarray, shape (H, W)
        The annotated frame.
    labels : ndarray of int32, shape (H, W)
        The particles that are still to be seen, without the pixels that boxes and strips cover; letters and bars by
        themselves hide no pixel of a particle, as people draw outlines through them.
    """
    low, high = float(frame.min()), float(frame.max())
    paint, ground = _Layer(frame.shape), _Layer(frame.shape)
    kinds = [kind for kind, share in ((LETTER, 0.6), (BAR, 0.6), (STRIP, 0.15)) if rng.random() < share] or [LETTER]
    bright = rng.random() < 0.5
    for kind in kinds:
        _DRAW[kind](paint, ground, rng)
    ink, paper = (high, low) if bright else (low, high)
    covered, painted = ground.coverage(), paint.coverage()
    drawn = frame * (1 - covered) + paper * covered
    drawn = drawn * (1 - painted) + ink * painted
    return drawn.astype(np.float32), _still_seen(labels, covered > 0.5, (covered > 0.5) | (painted > 0.5))


class _Layer:
    """A mask one draws on."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.image = Image.new("L", (shape[1], shape[0]))
        self.draw = ImageDraw.Draw(self.image)
        self.width, self.height = self.image.size

    def coverage(self) -> NDArray[np.float32]:
        return np.asarray(self.image, dtype=np.float32) / np.float32(255)


def _letter(paint: _Layer, ground: _Layer, rng: np.random.Generator) -> None:
    letter = chr(ord("A" if rng.random() < 0.3 else "a") + int(rng.integers(12)))
    text = str(rng.choice(["({})", "{}", "{})", "{}."], p=[0.4, 0.4, 0.1, 0.1])).format(letter)
    text = str(
        rng.choice([text, f"{text} {rng.integers(1, 60)} min", f"{rng.integers(2, 99) * 10} °C"], p=[0.8, 0.1, 0.1])
    )
    height = _between(rng, 0.05, 0.25) * min(paint.width, paint.height)
    _boxed_text(paint, ground, text, height, rng)


def _bar(paint: _Layer, ground: _Layer, rng: np.random.Generator) -> None:
    side = min(paint.width, paint.height)
    length, thickness = _between(rng, 0.1, 0.45) * paint.width, max(1.0, _between(rng, 0.006, 0.04) * side)
    text = f"{rng.choice(LENGTHS)}{' ' if rng.random() < 0.8 else ''}{rng.choice(UNITS)}" if rng.random() < 0.85 else ""
    font = _font(rng, _between(rng, 0.04, 0.12) * side)
    left, top, right, bottom = font.getbbox(text)
    gap = 0.25 * (bottom - top) + 1
    width, height = max(length, right - left), thickness + (bottom - top + gap if text else 0)
    x, y = _place(paint, width, height, rng)
    _box(ground, (x, y, x + width, y + height), rng)
    above = rng.random() < 0.5
    line = y + (height - thickness if above else 0)
    start = x + (width - length) / 2
    _line(paint, (start, line, start + length, line + thickness), rng)
    if text:
        at = (x + (width - (right - left)) / 2 - left, (y if above else y + thickness + gap) - top)
        paint.draw.text(at, text, fill=255, font=font)


def _strip(paint: _Layer, ground: _Layer, rng: np.random.Generator) -> None:
    height = _between(rng, 0.05, 0.14) * paint.height
    top = paint.height - height if rng.random() < 0.85 else 0.0
    voltage, distance, zoom = rng.integers(5, 300), rng.uniform(2, 12), rng.integers(5, 400)
    words = f"{voltage}.0kV {distance:.1f}mm x{zoom}k SE {rng.choice(LENGTHS)}nm"
    ground.draw.rectangle((0, top, paint.width, top + height), fill=255)
    font = _font(rng, 0.55 * height)
    paint.draw.text((_between(rng, 0.01, 0.2) * paint.width, top + 0.2 * height), words, fill=255, font=font)


_DRAW = {LETTER: _letter, BAR: _bar, STRIP: _strip}


def _boxed_text(paint: _Layer, ground: _Layer, text: str, size: float, rng: np.random.Generator) -> None:
    font = _font(rng, size)
    left, top, right, bottom = font.getbbox(text)
    x, y = _place(paint, right - left, bottom - top, rng)
    _box(ground, (x, y, x + right - left, y + bottom - top), rng)
    paint.draw.text((x - left, y - top), text, fill=255, font=font)


def _box(ground: _Layer, inside: tuple[float, float, float, float], rng: np.random.Generator) -> None:
    """Put what is drawn on a box of the other intensity, one time in three."""
    if rng.random() < 0.35:
        margin = _between(rng, 0.1, 0.5) * (inside[3] - inside[1])
        x0, y0, x1, y1 = inside
        ground.draw.rectangle((x0 - margin, y0 - margin, x1 + margin, y1 + margin), fill=255)


def _line(paint: _Layer, box: tuple[float, float, float, float], rng: np.random.Generator) -> None:
    """Draw a scale bar: a bar, or a thin line with its ends marked."""
    x0, y0, x1, y1 = box
    if rng.random() < 0.75:
        paint.draw.rectangle(box, fill=255)
        return
    reach = 2 * (y1 - y0) + 2
    paint.draw.line((x0, y0, x1, y0), fill=255, width=1 + round((y1 - y0) / 3))
    for x in (x0, x1):
        paint.draw.line((x, y0 - reach, x, y0 + reach), fill=255, width=1 + round((y1 - y0) / 3))


def _place(layer: _Layer, width: float, height: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return the upper left corner of something: near a corner of the frame, or now and then anywhere."""
    room_x, room_y = max(0.0, layer.width - width), max(0.0, layer.height - height)
    if rng.random() < 0.25:
        return rng.random() * room_x, rng.random() * room_y
    margin = _between(rng, 0.01, 0.06) * min(layer.width, layer.height)
    x, y = (min(margin, room) if rng.random() < 0.5 else max(0.0, room - margin) for room in (room_x, room_y))
    return x, y


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _font(rng: np.random.Generator, size: float) -> ImageFont.FreeTypeFont:
    return _load_font(str(rng.choice(FONTS)), max(5, round(size)))


@cache
def _load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def _still_seen(labels: NDArray[np.int32], covered: NDArray[np.bool_], hidden: NDArray[np.bool_]) -> NDArray[np.int32]:
    areas, lost = (np.bincount(labels.ravel(), weights=weights) for weights in (None, hidden.ravel().astype(float)))
    gone = lost > HIDDEN_SHARE * areas
    return np.where(covered | gone[labels], 0, labels).astype(np.int32)
