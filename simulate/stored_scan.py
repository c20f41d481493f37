"""What a file says about a scan, before it is checked to be one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_FRAME = 2**26
MOST_POSITIONS = 2**27
"""Far beyond a real scan: a file that claims more is damaged or hostile."""


@dataclass(frozen=True, eq=False)
class StoredScan:
    """Positions (x = `cols`, y = `rows`) in visiting order, and what else the file says; None where it does not."""

    cols: NDArray[np.int64]
    rows: NDArray[np.int64]
    shape: tuple[int, int] | None = None
    dwell_us: float | NDArray[np.float64] | None = None
    scheme: str = "custom"
    seed: int | None = None


def whole_numbers(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Return pixel indices as integers, or raise `InputError` with the first position that is not one."""
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise InputError(f"{name} has type {values.dtype} and shape {values.shape}; expected a list of pixel indices")
    bad = ~((values >= 0) & (values < 2**31) & (values == np.floor(values)))  # NaN compares false
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"{name} is {values[first]:g} at position {first + 1}; expected a pixel index, a whole number from 0"
        )
    return values.astype(np.int64)


def shape_of(words: list[str]) -> tuple[int, int]:
    """Return a frame shape from two words, or raise `InputError`."""
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise InputError(f"says its shape is {' '.join(words)[:60]!r}; expected two whole numbers, rows and columns")
    return int(words[0]), int(words[1])


def seed_of(text: str) -> int | None:
    """Return a seed from its text, None from an empty one, or raise `InputError`."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 1000):
        raise InputError(f"says its seed is {text[:60]!r}; expected a whole number of at least 0")
    return int(text)


def scheme_of(text: str) -> str:
    """Return a scheme's name, or raise `InputError` if it is not one short line."""
    if not text.isprintable() or len(text) > 200:
        raise InputError("says its scheme is something else than one short line; expected a scheme's name")
    return text
