"""Sparse scans as lists: ``row,col,value`` tables, and values in visiting order with a list of scan coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.io.boundary import named
from cs_recon.io.raw import Raw
from cs_recon.io.table import read_table
from simulate.errors import InputError, check_numbers, check_shape
from simulate.scan_text import COORDINATES_ENDING, info_file, read_info
from simulate.stored_scan import whole_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from simulate.errors import PixelSize

LIST_SUFFIXES = (".csv", ".txt")

_ROW = ("row", "rows", "y", "row_px", "y_px")
_COL = ("col", "cols", "column", "x", "col_px", "x_px")
_VALUE = ("value", "values", "intensity", "counts", "signal")
_EXPOSURE = ("exposure", "visits", "dwell", "dwell_us", "dwell_time")
_KNOWN = frozenset((*_ROW, *_COL, *_VALUE, *_EXPOSURE))
_LARGEST_FRAME = 2**26


def load_list(path: Path, shape: tuple[int, int] | None = None) -> Raw:
    """Load a table with a row, a column and a value for each visit.

    With a header the columns may stand in any order, among others, and an ``exposure`` column weights the visits;
    without one they are row, column, value. Comment lines ``# shape: H W``, ``# pixel_size_nm: 0.5`` (or two numbers)
    and ``# samples: N`` are understood; `cs_recon.io.write_sparse` writes them. The frame shape is `shape`, else the
    comment's, else the largest index + 1.
    """
    table = read_table(path, _KNOWN)
    columns = table.columns({"row": _ROW, "col": _COL, "value": _VALUE, "exposure": _EXPOSURE})
    n_columns = table.numbers.shape[1]
    if table.header is None and n_columns != 3:
        raise InputError(
            f"has {n_columns} columns and no header; expected three, row,col,value: name the columns in a first line, "
            "or save a full image as TIFF or NPY"
        )
    missing = [name for name in ("row", "col", "value") if name not in columns]
    if missing:
        raise InputError(f"has the columns {', '.join(table.header or ())}; expected row, col and value")
    rows, cols = (whole_numbers(table.numbers[:, columns[name]], name) for name in ("row", "col"))
    values = table.numbers[:, columns["value"]]
    if "samples" in table.comments and _numbers(table.comments, "samples", (1,))[0] != len(values):
        raise InputError(f"holds {len(values)} of {table.comments['samples']} samples; expected all: copy it again")
    if shape is None and "shape" in table.comments:
        height, width = _numbers(table.comments, "shape", (2,))
        if not (height.is_integer() and width.is_integer() and min(height, width) > 0):
            raise InputError(f"says its shape is {table.comments['shape']}; expected two whole numbers above 0")
        shape = int(height), int(width)
    weights = table.numbers[:, columns["exposure"]] if "exposure" in columns else None
    pixel_size: PixelSize | None = None
    if "pixel_size_nm" in table.comments:
        sizes = _numbers(table.comments, "pixel_size_nm", (1, 2))
        pixel_size = sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])
    raw = on_grid(values, rows, cols, grid_shape(rows, cols, shape), pixel_size, weights=weights)
    noise = {name: _numbers(table.comments, name, (1,))[0] for name in _NOISE if name in table.comments}
    return Raw(raw.data, raw.pixel_size_nm, extra={**raw.extra, **noise})


_NOISE = ("counts_per_unit", "black_level", "read_noise")


def _numbers(comments: dict[str, str], key: str, lengths: tuple[int, ...]) -> list[float]:
    words = comments[key].replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) not in lengths:
        raise InputError(f"the comment '# {key}' says {comments[key]!r}; expected {lengths[-1]} number(s)")
    return numbers


def find_coordinates(path: Path) -> Path | None:
    """Return the scan coordinates that DE-Server saved beside an MRC file: same prefix, ``_scan_coordinates.csv``."""
    matches = []
    for candidate in path.parent.glob(f"*{COORDINATES_ENDING}"):
        prefix = candidate.name.removesuffix(COORDINATES_ENDING)
        if path.stem == prefix or path.stem.startswith(f"{prefix}_"):
            matches.append(candidate)
    return max(matches, key=lambda match: len(match.name), default=None)


def with_coordinates(raw: Raw, coordinates: Path, shape: tuple[int, int] | None = None) -> Raw:
    """Put values on the grid by a list of scan coordinates.

    The layout is Direct Electron's, as RosettaSciIO reads it (its ``rsciio.mrc`` reader and pull request 356) and as
    its test files ``ROI_Random_Scan_*`` and ``Custom_*`` show it: the table has no header, one line a visit in visiting
    order, the column x first and the row y second, both from 0 and relative to the scanned region; further columns may
    follow. ``*_info.txt`` beside it gives the grid ("Scan - Size X/Y", or "Scan - ROI Size X/Y" with "Scan - ROI
    Enable") and "Specimen Pixel Size X/Y (nanometers)", where -1 is unknown. Virtual and external-detector images of
    such scans are already on the grid (that reader's test compares one with the re-ordered movie), with zeros where the
    beam never was; movies are in visiting order.

    Hence an image of the grid's shape is taken as lying on the grid, and the coordinates say which of its pixels were
    scanned; any other array with one value a visit is taken in visiting order. The grid's shape is `shape`, else the
    info file's, else the image's own if it holds every coordinate and cannot be a list of visits, else the largest
    coordinates + 1.

    Parameters
    ----------
    raw : Raw
        One value a visit in any shape, or an image on the grid.
    coordinates : Path
        The table.
    shape : (int, int), optional
        The grid's (rows, columns).
    """
    with named(coordinates):
        table = read_table(coordinates, _KNOWN)
        columns = table.columns({"x": _COL, "y": _ROW})
        if len(columns) < 2:
            raise InputError(f"has {table.numbers.shape[1]} column(s) for x and y; expected x,y for each visit")
        cols, rows = (whole_numbers(table.numbers[:, columns[name]], name) for name in "xy")
        told_shape, told_pixel_nm = read_info(info_file(coordinates))
    if raw.data.ndim > 2 and min(raw.data.shape[:-2]) > 0:
        raise InputError(
            f"holds {raw.data.shape[0]} images for {len(rows)} scan coordinates; expected one value a visit: "
            "is it a 4D-STEM movie? give a virtual or external-detector image of it"
        )
    shape = shape or told_shape
    image_shape = raw.data.shape if raw.data.ndim == 2 else None
    covers = image_shape is not None and rows.max() < image_shape[0] and cols.max() < image_shape[1]
    if shape is None and covers and raw.data.size != len(rows):
        shape = image_shape
    grid = grid_shape(rows, cols, shape)
    pixel_size = told_pixel_nm or raw.pixel_size_nm
    if image_shape == grid:
        return _scanned_part(raw.data, rows, cols, pixel_size)
    if raw.data.size != len(rows):
        raise InputError(
            f"holds {raw.data.size} values of shape {raw.data.shape} for {len(rows)} scan coordinates on a grid of "
            f"{grid}; "
            "expected one value a visit, or an image of the grid's shape: do the files belong together?"
        )
    return on_grid(np.ravel(raw.data), rows, cols, grid, pixel_size)


def on_grid(
    values: NDArray[Any],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    shape: tuple[int, int],
    pixel_size_nm: PixelSize | None = None,
    *,
    weights: NDArray[np.float64] | None = None,
) -> Raw:
    """Put values in visiting order on the grid; visits of one pixel are averaged and counted as its exposure."""
    values = check_numbers(values, "values")
    if weights is not None and not (np.isfinite(weights).all() and (weights > 0).all()):
        raise InputError("exposure of a visit is not a finite number above 0; expected a relative dwell time")
    flat = np.ravel_multi_index((rows, cols), shape)
    size = shape[0] * shape[1]
    exposure = np.bincount(flat, weights, minlength=size).astype(np.float64)
    mask = exposure > 0
    image = np.zeros(size)
    if mask.sum() == len(values):  # each pixel once: the values as they are
        image[flat] = values
    else:
        weighted = values.astype(np.float64) * (1.0 if weights is None else weights)
        image[mask] = np.bincount(flat, weighted, minlength=size)[mask] / exposure[mask]
    extra: dict[str, Any] = {"mask": mask.reshape(shape)}
    if (exposure[mask] != 1).any():
        extra["exposure"] = exposure.reshape(shape)
    return Raw(image.reshape(shape), pixel_size_nm, extra=extra)


def grid_shape(
    rows: NDArray[np.int64], cols: NDArray[np.int64], shape: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Return `shape`, or the smallest that holds all indices; raise `InputError` if one lies outside."""
    needed = int(rows.max()) + 1, int(cols.max()) + 1
    if shape is None:
        shape = needed
    elif needed[0] > shape[0] or needed[1] > shape[1]:
        raise InputError(
            f"indices reach row {needed[0] - 1} and column {needed[1] - 1}; expected them inside the frame of "
            f"{shape[0]} x {shape[1]} pixels: give the right shape, and row before column"
        )
    if shape[0] * shape[1] > _LARGEST_FRAME:
        raise InputError(
            f"indices need a frame of {shape[0]} x {shape[1]} pixels; expected at most {_LARGEST_FRAME} pixels: "
            "are they pixel indices?"
        )
    return check_shape(shape)


def _scanned_part(
    image: NDArray[Any], rows: NDArray[np.int64], cols: NDArray[np.int64], pixel_size_nm: PixelSize | None
) -> Raw:
    visits = np.zeros(image.shape, dtype=np.int64)
    np.add.at(visits, (rows, cols), 1)
    mask = visits > 0
    if (visits[mask] != visits[mask][0]).any():
        raise InputError(
            "some pixels of the image were visited more often than others, and it does not say whether it holds their "
            "sum, mean or last value; expected values in visiting order: or give the scanned pixels as mask="
        )
    return Raw(image, pixel_size_nm, extra={"mask": mask})
