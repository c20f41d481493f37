"""Columns of particle tables as numbers, whatever they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

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
