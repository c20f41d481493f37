"""Lengths to nanometres."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulate.errors import PixelSize

_SYMBOLS = {"m": 1e9, "cm": 1e7, "mm": 1e6, "µm": 1e3, "um": 1e3, "nm": 1.0, "Å": 0.1, "A": 0.1, "pm": 1e-3}
_WORDS = {
    "meter": 1e9,
    "centimeter": 1e7,
    "inch": 2.54e7,
    "inches": 2.54e7,
    "millimeter": 1e6,
    "micrometer": 1e3,
    "micron": 1e3,
    "nanometer": 1.0,
    "angstrom": 0.1,
    "ångström": 0.1,
    "picometer": 1e-3,
}


def nm_per_unit(unit: object) -> float | None:
    """Return how many nm a unit of length is; None if it is not one (1/nm, eV, px, empty).

    Examples
    --------
    >>> nm_per_unit("µm"), nm_per_unit("Å"), nm_per_unit("inch"), nm_per_unit("1/nm")
    (1000.0, 0.1, 25400000.0, None)
    """
    # Micro sign and Greek mu, of which ImageJ escapes the first; NFC has one code point for every Å.
    name = str(unit).strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("μ", "µ")
    name = unicodedata.normalize("NFC", name)
    if name in _SYMBOLS:  # these mind their case: Mm is not mm
        return _SYMBOLS[name]
    word = name.lower().replace("metre", "meter")
    return _WORDS.get(word, _WORDS.get(word.removesuffix("s")))


def pixel_size_from(rows: float | None, cols: float | None, row_unit: object, col_unit: object) -> PixelSize | None:
    """Return the (row, column) pixel size in nm; None unless both have a unit of length. Not checked further."""
    row_nm, col_nm = nm_per_unit(row_unit), nm_per_unit(col_unit)
    if rows is None or cols is None or row_nm is None or col_nm is None:
        return None
    return float(rows) * row_nm, float(cols) * col_nm
