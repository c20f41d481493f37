"""Tables of numbers in a text file: with or without a header, any usual separator, ``# key: value`` comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cs_recon.io.boundary import guarded
from simulate.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


_BRACKETS = re.compile(r"\s*(\([^()]*\)|\[[^\[\]]*\])")
_HEADER_KEY = re.compile(r"^(columns|header|fields)\s*:", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers (rows, columns), the header's lower-case names if there is one, and the comments by key."""

    numbers: NDArray[np.float64]
    header: tuple[str, ...] | None
    comments: dict[str, str]

    def columns(self, names: dict[str, tuple[str, ...]]) -> dict[str, int]:
        """Return which column holds what: by the header's names, or in the order of `names` without a header."""
        if self.header is None:
            return dict(zip(names, range(self.numbers.shape[1]), strict=False))
        found = {}
        for wanted, aliases in names.items():
            at = [k for k, name in enumerate(self.header) if name in aliases]
            if len(at) > 1:
                raise InputError(f"has {len(at)} columns for {wanted} ({', '.join(self.header)}); expected one")
            if at:
                found[wanted] = at[0]
        return found


def read_table(path: Path, known: frozenset[str]) -> Table:
    """Read a table of numbers, or raise `InputError`; a comment is its header if it has a `known` column name."""
    lines = guarded("text", lambda: path.read_text(encoding="utf-8-sig").splitlines())
    comments: dict[str, str] = {}
    header: list[str] | None = None
    body: list[str] = []
    for line in (_decimal_points(raw.strip()) for raw in lines):
        if line.startswith("#"):
            text = line.lstrip("# ")
            key, _, value = text.partition(":")
            names = _without_units(_HEADER_KEY.sub("", text))
            if ":" in names:
                comments[key.strip().lower()] = value.strip()
            elif not body and header is None and not known.isdisjoint(_split(names.lower())):  # as numpy.savetxt does
                header = _split(names)
        elif line and not body and not _is_number(_split(line)[0]):
            header = _split(_without_units(line))
        elif line:
            body.append(line)
    if not body:
        raise InputError("holds no numbers; expected a table of them, one sample a line")
    numbers = guarded("a table of numbers", lambda: np.loadtxt(body, delimiter=_separator(body[0]), ndmin=2))
    if header is not None and len(header) != numbers.shape[1]:
        raise InputError(f"has {len(header)} column names but {numbers.shape[1]} columns; expected as many of both")
    return Table(numbers, None if header is None else tuple(name.lower() for name in header), comments)


def _without_units(line: str) -> str:
    """Return column names without what is said of them in brackets: ``x y value (unit: counts)``."""
    return _BRACKETS.sub("", line).strip()


def _decimal_points(line: str) -> str:
    """Return a line with points for decimal commas, which are those between semicolons, as spreadsheets write them."""
    return line.replace(",", ".") if ";" in line and not line.startswith("#") else line


def _separator(line: str) -> str | None:
    return next((mark for mark in (";", ",", "\t") if mark in line), None)


def _split(line: str) -> list[str]:
    return [word.strip().strip('"').strip() for word in line.split(_separator(line))]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
