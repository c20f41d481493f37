"""What the commands say on standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from segmentation.columns import as_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

MUCH_WIDER = 2.0
"""From which growth of sigma on it is told: simulated validation frames reach 1.35, and one real one in 24 has 2."""


def say(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def count(number: int, what: str) -> str:
    """Return a number of things: ``1 frame``, ``2 frames``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def describe(table: pd.DataFrame) -> str:
    """Return one line: how many particles, and their median diameter with its middle 80 %."""
    if table.empty:
        return "0 particles"
    unit = "nm" if "equivalent_diameter_nm" in table else "px"
    sizes = table[f"equivalent_diameter_{unit}"]
    low, high = sizes.quantile([0.1, 0.9])
    cut = int(as_flags(table, "touches_border").sum())
    remark = f"; the border cuts {cut} of these, of which only what is seen is measured" if cut else ""
    return (
        f"{count(len(table), 'particle')}, median diameter {sizes.median():.2f} {unit} "
        f"(D10 {low:.2f}, D90 {high:.2f} {unit}){remark}"
    )


def remark_on_pixels(table: pd.DataFrame) -> None:
    """Say how sizes come in nanometres, if they are in pixels because nothing told the pixel size."""
    if "equivalent_diameter_px" in table and not table.empty:
        say("Sizes are in pixels: the file tells no pixel size; give it with --pixel-size-nm for nanometres")


def remark_on_sigma(widened: object) -> None:
    """Say so if the samples told of far larger errors than a network expects: `info["sigma_widened"]`."""
    if isinstance(widened, float) and widened >= MUCH_WIDER:
        say(
            f"Sigma is {widened:.1f} times what the network expects, as the samples lie that far from the image: the "
            "frame is unlike those of training, or noisier than told; 'cs-stem adapt' tunes the network to your scans"
        )


def remark_on_scales(method: str, scales: Sequence[object], *, asked: bool) -> None:
    """Say at which scales a network saw frames, if they were not all the frames' own, and whether the user chose."""
    reduced = sorted(scale for scale in scales if isinstance(scale, float) and scale < 1)
    if not reduced:
        return
    low, high = f"{reduced[0]:.2g}", f"{reduced[-1]:.2g}"
    share = low if low == high else f"{low} to {high}"
    one = len(scales) == 1
    seen = (
        f"the frame at {share} of its size"
        if one
        else f"{len(reduced)} of {len(scales)} frames at {share} of full size"
    )
    why = "as --scale says" if asked else "where it is surest of what it finds; see --scale"
    say(f"{method} saw {seen}, {why}")
