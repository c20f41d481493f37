"""The one exception that a user's input can raise, and the checks that raise it.

Every message is one line that says what was got, what was expected and what to do. Checks live at the
boundary (constructors, readers, the command line); the numerical code behind it trusts its arguments.
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

PixelSize = float | tuple[float, float]

SMALLEST_PIXEL_NM, LARGEST_PIXEL_NM = 1e-4, 1e6
"""A tenth of a picometre to a millimetre: what lies outside is a wrong unit."""


LARGEST_FRAME = 2**30
"""Pixels of a frame: beyond, its arrays would not fit into memory."""


class InputError(ValueError):
    """Bad input from outside: a file, an array, an option or a name.

    The command line prints the message alone and exits with status 2.
    """


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known name, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_ratio(ratio: float) -> float:
    """Return `ratio` as a float in (0, 1], or raise `InputError`."""
    value = _as_float(ratio, "sampling ratio")
    if not 0 < value <= 1:
        raise InputError(f"sampling ratio is {value:g}; expected a number above 0 and at most 1, e.g. 0.1 for 10 %")
    return value


def check_positive(value: float, name: str, hint: str = "") -> float:
    """Return `value` as a finite float above zero, or raise `InputError` naming it."""
    number = _as_float(value, name)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{name} is {number:g}; expected a finite number above 0{'; ' + hint if hint else ''}")
    return number


def is_real(value: object) -> TypeGuard[float]:
    """Return whether `value` is one real number, infinite or NaN perhaps, but no text, truth value or array."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether `value` is one finite real number that a double can hold."""
    try:
        return is_real(value) and math.isfinite(value)
    except OverflowError:
        return False


def check_within(value: object, name: str, low: float = 0.0, high: float = math.inf) -> None:
    """Raise `InputError` naming the value unless it is a finite number from `low` to `high`."""
    if is_finite(value) and low <= value <= high:
        return
    limits = "a finite number"
    if math.isfinite(high):
        limits += f" from {low:g} to {high:g}"
    elif math.isfinite(low):
        limits += f" of at least {low:g}"
    raise InputError(f"{name} is {value!r}; expected {limits}")


def check_count(value: object, name: str, low: int = 0, high: float = math.inf) -> None:
    """Raise `InputError` naming the value unless it is a whole number from `low` to `high`."""
    if not (is_finite(value) and value == int(value) and value >= low):
        raise InputError(f"{name} is {value!r}; expected a whole number of at least {low}")
    if value > high:
        raise InputError(f"{name} is {value:g}; expected at most {high:g}")


def check_kind(value: object, name: str, kind: type) -> None:
    """Raise `InputError` naming the value unless it is of the kind."""
    if not isinstance(value, kind):
        shown = repr(value)
        shown = shown if len(shown) <= 60 and "\n" not in shown else f"a {type(value).__name__}"
        raise InputError(f"{name} is {shown}; expected a {kind.__name__}")


def check_numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return an array of real numbers (or truth values) from anything array-like, or raise `InputError` naming it."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{name}: got lists of different lengths; expected an array of numbers") from None
    if array.dtype.kind not in "buif":
        raise InputError(f"{name}: got the type {array.dtype}; expected real numbers")
    return array


def check_pixel_size(pixel_size_nm: PixelSize | None) -> PixelSize | None:
    """Return a pixel size in nm: None, one number, or a (row, column) pair that really differs."""
    if pixel_size_nm is None:
        return None
    hint = "give --pixel-size-nm or leave it out to measure in pixels"
    if isinstance(pixel_size_nm, tuple | list):
        if len(pixel_size_nm) != 2:
            raise InputError(f"pixel size has {len(pixel_size_nm)} entries; expected one number or (row, column)")
        rows, cols = (_pixel_side(size, hint) for size in pixel_size_nm)
        return rows if math.isclose(rows, cols, rel_tol=1e-6) else (rows, cols)
    return _pixel_side(pixel_size_nm, hint)


def _pixel_side(size_nm: float, hint: str) -> float:
    size = check_positive(size_nm, "pixel size", hint)
    if not SMALLEST_PIXEL_NM <= size <= LARGEST_PIXEL_NM:
        raise InputError(
            f"pixel size is {size:g} nm; expected {SMALLEST_PIXEL_NM:g} to {LARGEST_PIXEL_NM:g} nm: "
            "is it in another unit?"
        )
    return size


def check_rng(rng: np.random.Generator | int | None) -> np.random.Generator:
    """Return a generator from a generator, a seed of at least 0, or None for a fresh one."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise InputError(f"seed is {rng!r}; expected a whole number of at least 0, or a numpy Generator") from None


def pixel_size_pair(pixel_size_nm: PixelSize | None) -> tuple[float, float]:
    """Return (row, column) pixel sizes; (1, 1) where none is known, so that lengths come out in pixels."""
    if pixel_size_nm is None:
        return 1.0, 1.0
    return pixel_size_nm if isinstance(pixel_size_nm, tuple) else (pixel_size_nm, pixel_size_nm)


def check_shape(shape: tuple[int, ...], what: str = "frame", smallest: int = 8) -> tuple[int, int]:
    """Return a 2-D frame shape with both sides at least `smallest` pixels, or raise `InputError`."""
    if not (isinstance(shape, tuple | list) and all(is_finite(side) and side == int(side) for side in shape)):
        raise InputError(f"{what} shape is {shape!r}; expected two whole numbers (rows, columns)")
    if len(shape) != 2:
        raise InputError(f"{what} has {len(shape)} dimensions {tuple(shape)}; expected a 2-D image (rows, columns)")
    rows, cols = int(shape[0]), int(shape[1])
    if min(rows, cols) < smallest:
        raise InputError(
            f"{what} is {rows} x {cols} pixels; expected at least {smallest} x {smallest}: "
            "is it a line profile or a wrongly shaped array?"
        )
    if rows * cols > LARGEST_FRAME:
        raise InputError(
            f"{what} is {rows} x {cols} pixels; expected at most {LARGEST_FRAME} pixels: cut it into parts"
        )
    return rows, cols


def _as_float(value: float, name: str) -> float:
    if isinstance(value, bool | np.bool_ | str):
        raise InputError(f"{name} is {value!r}; expected a number")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{name} is a whole number of 309 digits or more; expected a smaller one") from None
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r}; expected a number") from None
