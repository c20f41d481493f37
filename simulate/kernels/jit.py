"""Compile a function once and keep the machine code on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable")


def compiled(function: F) -> F:
    """Compile `function` with numba at its first call for each combination of argument types.

    The machine code is kept beside the source, or in the user's cache folder where that cannot be written; where
    neither can, it is compiled anew in every process.
    """
    try:
        return cast("F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba's "cannot cache function: no locator available"
        return cast("F", numba.njit(nogil=True)(function))
