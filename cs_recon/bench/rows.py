"""The file of a benchmark's rows: added to case by case, read back after a kill."""

from __future__ import annotations

import csv
import os
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from simulate.atomic import atomic_path, make_folder
from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = ("frame", "scheme", "ratio", "peak_counts", "method", "setting")
FIGURES = ("coverage", "psnr_db", "ssim", "frc_px", "seconds", "cpu_seconds", "peak_mb")
COLUMNS = (*KEY, "kind", *FIGURES, "error")
_NUMBERS = ("ratio", "peak_counts", *FIGURES)

Row = dict[str, object]


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows to the file in one write, with the header before the first ones."""
    text = StringIO(newline="")
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    make_folder(path.parent)
    if not path.exists() or path.stat().st_size == 0:
        writer.writeheader()
    writer.writerows(rows)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[Row]:
    """Return the finished rows of a file, and take what a kill left half-written and failed ones out of it.

    Raises
    ------
    InputError
        If the file holds other columns.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if not whole:
        path.unlink()
        return []
    reader = csv.DictReader(whole)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(f"{path} holds other columns than this benchmark's; move it away or choose another folder")
    found = [_parsed(row, path) for row in reader]
    kept: dict[tuple[object, ...], Row] = {tuple(row[name] for name in KEY): row for row in found if not row["error"]}
    if len(kept) < len(found) or len(whole) < len(lines):
        with atomic_path(path) as temporary:
            temporary.unlink(missing_ok=True)
            append_rows(temporary, list(kept.values()))
    return list(kept.values())


def _parsed(row: dict[str, str], path: Path) -> Row:
    try:
        return {name: float(row[name]) if name in _NUMBERS else row[name] for name in COLUMNS}
    except (TypeError, ValueError):
        raise InputError(f"{path} holds a row that is none of this benchmark's: {row}; remove the row") from None
