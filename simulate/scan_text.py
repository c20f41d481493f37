"""Scan paths as text: an ordered table with its frame in comments, and Direct Electron's scan coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, pixel_size_pair
from simulate.stored_scan import StoredScan, scheme_of, seed_of, shape_of, whole_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from simulate.errors import PixelSize
    from simulate.scan import ScanPath

COORDINATES_ENDING = "_scan_coordinates.csv"

_COLUMNS = ("x", "y", "dwell_us")


class OrderedCsv:
    """The columns x,y,dwell_us in visiting order, below comment lines ``# key: value``."""

    def write(self, temporary: Path, scan: ScanPath) -> None:
        """Write the table."""
        lines = [
            f"# shape: {scan.shape[0]} {scan.shape[1]}",
            f"# scheme: {scan.scheme}",
            *([] if scan.seed is None else [f"# seed: {scan.seed}"]),
            f"# positions: {scan.rows.size}",
            ",".join(_COLUMNS),
        ]
        columns = zip(scan.cols.tolist(), scan.rows.tolist(), scan.dwells_us.tolist(), strict=True)
        lines += [f"{x},{y},{dwell!r}" for x, y, dwell in columns]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")

    def read(self, file: Path) -> StoredScan:
        """Read the table; its dwell_us column and its comments may be missing."""
        text = file.read_text(encoding="utf-8-sig")
        lines = text.splitlines()
        comments: dict[str, str] = {}
        start = 0
        while start < len(lines) and (not lines[start].strip() or lines[start].startswith("#")):
            key, _, value = lines[start].lstrip("# ").partition(":")
            comments[key.strip().lower()] = value.strip()
            start += 1
        names = tuple(name.strip().lower() for name in lines[start].split(",")) if start < len(lines) else ()
        if names not in (_COLUMNS, _COLUMNS[:2]):
            raise InputError(
                f"has the columns {','.join(names)[:60]!r}; expected {','.join(_COLUMNS)}, named in a line"
            )
        numbers = _numbers(lines[start + 1 :], len(names))
        if "positions" in comments:
            said = comments["positions"]
            # A file cut off within its last number still has all its lines, but not the end of the last one.
            if said != str(len(numbers)) or not text.endswith("\n"):
                raise InputError(f"ends within position {len(numbers)} of {said[:20]}; expected all: copy it again")
        return StoredScan(
            cols=whole_numbers(numbers[:, 0], "x"),
            rows=whole_numbers(numbers[:, 1], "y"),
            shape=shape_of(comments["shape"].replace(",", " ").split()) if "shape" in comments else None,
            dwell_us=numbers[:, 2] if len(names) == 3 else None,
            scheme=scheme_of(comments.get("scheme", "custom")),
            seed=seed_of(comments.get("seed", "")),
        )


class DirectElectron:
    """Lines x,y from 0 without a header, and an info file beside them with the scan's size."""

    def write(self, temporary: Path, scan: ScanPath) -> None:
        """Write the coordinates; `write_info` writes the info file."""
        lines = [f"{x},{y}" for x, y in zip(scan.cols.tolist(), scan.rows.tolist(), strict=True)]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")

    def read(self, file: Path) -> StoredScan:
        """Read the coordinates, and the shape from the info file if there is one. Further columns are left out."""
        lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        numbers = _numbers(lines, None)
        if numbers.shape[1] < 2:
            raise InputError("has one column; expected x,y for each position")
        cols, rows = whole_numbers(numbers[:, 0], "x"), whole_numbers(numbers[:, 1], "y")
        return StoredScan(cols=cols, rows=rows, shape=read_info(info_file(file))[0])


def info_file(coordinates: Path) -> Path:
    """Return the info file's path for a file of scan coordinates."""
    return coordinates.with_name(coordinates.name.removesuffix(COORDINATES_ENDING) + "_info.txt")


def write_info(temporary: Path, shape: tuple[int, int], pixel_size_nm: PixelSize | None) -> None:
    """Write the scan's size and pixel size as DE-Server names them; -1 is an unknown pixel size."""
    row_nm, col_nm = (-1, -1) if pixel_size_nm is None else pixel_size_pair(pixel_size_nm)
    entries = {
        "Scan - Size X": shape[1],
        "Scan - Size Y": shape[0],
        "Specimen Pixel Size X (nanometers)": col_nm,
        "Specimen Pixel Size Y (nanometers)": row_nm,
    }
    text = "".join(f"{key} = {value}\n" for key, value in entries.items())
    temporary.write_text(text, encoding="utf-8", newline="\n")


def read_info(file: Path) -> tuple[tuple[int, int] | None, tuple[float, float] | None]:
    """Return the scan's shape and pixel size in nm, (rows, columns) each, as DE-Server's info file says them.

    None for what it does not know (-1), or if there is no such file.
    """
    if not file.is_file():
        return None, None
    pairs = (line.partition("=") for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    entries = {key.strip(): value.strip() for key, _, value in pairs}
    region = "ROI Size" if entries.get("Scan - ROI Enable") == "Enable" else "Size"
    try:
        rows, cols = (int(entries.get(f"Scan - {region} {axis}", -1)) for axis in "YX")
        row_nm, col_nm = (float(entries.get(f"Specimen Pixel Size {axis} (nanometers)", -1)) for axis in "YX")
    except ValueError:
        raise InputError(f"{file.name} has a scan or pixel size that is not a number; expected numbers") from None
    return (
        (rows, cols) if min(rows, cols) > 0 else None,
        (row_nm, col_nm) if min(row_nm, col_nm) > 0 else None,
    )


def _numbers(lines: list[str], n_columns: int | None) -> NDArray[np.float64]:
    if not lines:
        raise InputError("holds no position; expected one a line")
    try:
        numbers = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None)
    except ValueError as error:
        raise InputError(f"has a line that is not numbers ({str(error).splitlines()[0][:120]})") from None
    if n_columns is not None and numbers.shape[1] != n_columns:
        raise InputError(f"has {numbers.shape[1]} numbers a line; expected {n_columns}")
    return numbers
