"""Columns of particle tables as numbers, whatever they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def as_numbers(table: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Return columns as numbers, shape (rows, columns), NaN where a table holds something else.

    >>> as_numbers(pd.DataFrame({"x": [1, "left"]}), ["x"]).ravel().tolist()
    [1.0, nan]
    """
    columns: Any = table[list(names)].apply(pd.to_numeric, errors="coerce")
    return columns.to_numpy(dtype=np.float64)


def whole_numbers(table: pd.DataFrame, name: str) -> NDArray[np.int64]:
    """Return a column as whole numbers, shape (rows,), or raise `InputError`."""
    numbers = as_numbers(table, [name])[:, 0]
    bad = ~(np.isfinite(numbers) & (numbers == np.round(numbers)))
    if bad.any():
        raise InputError(
            f"the column {name!r} holds {table[name].to_numpy()[bad][0]}; expected whole numbers: leave that row out"
        )
    return numbers.astype(np.int64)


def as_flags(table: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """Return a column of truth values, shape (rows,), or raise `InputError`: text and NaN would all count as true.

    >>> as_flags(pd.DataFrame({"touches_border": [0, 1]}), "touches_border").tolist()
    [False, True]
    """
    values = table[name].to_numpy()
    if values.dtype.kind == "O" and all(isinstance(value, bool | np.bool_) for value in values):
        values = values.astype(np.bool_)
    bad = values.dtype.kind not in "biuf" or bool(np.isnan(values.astype(np.float64)).any())
    if len(values) and bad:
        raise InputError(f"{name} holds {values[0]} and perhaps other things; expected true or false")
    return values.astype(np.bool_)
