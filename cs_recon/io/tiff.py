"""TIFF through tifffile: images and stacks with the calibration of ImageJ, OME or centimetre resolution tags."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from cs_recon.io.boundary import guarded
from cs_recon.io.raw import Raw, choose
from cs_recon.io.units import nm_per_unit, pixel_size_from
from simulate.errors import InputError, pixel_size_pair

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

    from simulate.errors import PixelSize

TIFF_SUFFIXES = (".tif", ".tiff")

_LARGEST_PIXEL_NM = 1e5
_PRINTERS_UNITS_NM = (1e7, 2.54e7)
"""Centimetres and inches."""
_PRINT_DPI = (60, 72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 220, 240, 250, 300, 350, 360, 400, 450, 500, 600)
_PRINT_DPI_FINE = (720, 800, 900, 1000, 1200, 1440, 2400, 2540, 2880, 3600, 4000, 4800, 5760, 9600)


def load_tiff(path: Path, signal: str | int | None = None) -> Raw:
    """Load an image or a stack from a TIFF file.

    Uncompressed stacks are memory-mapped. Files with images of several shapes, or several channels, need `signal`.
    """
    return guarded("TIFF", lambda: _load(path, signal))


def _load(path: Path, signal: str | int | None) -> Raw:
    import tifffile

    with tifffile.TiffFile(path) as file:
        _check_complete(path)
        if not file.series:
            raise InputError("holds no image; expected at least one")
        if any(0 in page.dataoffsets or 0 in page.databytecounts for page in file.pages):
            raise InputError("lacks part of its pixels, as an interrupted writer leaves it; expected a complete file")
        sizes = [_pixel_size(file, number) for number in range(len(file.series))]
        alike = len({(*_kind(series), size) for series, size in zip(file.series, sizes, strict=True)}) == 1
        if len(file.series) > 1 and alike and file.series[0].axes == "YX" and signal is None:
            data, axes, signal = np.stack([series.asarray() for series in file.series]), "IYX", None
            number, series = 0, file.series[0]
        else:
            names = [series.name or str(number) for number, series in enumerate(file.series)]
            several = len(names) > 1
            number = choose(names, signal, "images", [f" {series.shape}" for series in file.series]) if several else 0
            series = file.series[number]
            data, axes = _series_array(series, path, file.byteorder), series.axes
            signal = None if several else signal
        colour = "S" in axes
        if colour:
            data, axes = np.moveaxis(data, axes.index("S"), -1), axes.replace("S", "")
        if "C" in axes:
            axis = axes.index("C")
            channels = [str(number) for number in range(data.shape[axis])]
            data, axes = np.take(data, choose(channels, signal, "channels"), axis=axis), axes.replace("C", "")
        elif signal is not None:
            choose(["0"], signal, "images")
        if len(axes) > 3:
            raise InputError(
                f"holds axes {series.axes} of {series.shape}; expected an image or a stack of images: split it first"
            )
        data, coloured = _grey_values(data, series.keyframe, file)
        return Raw(data, sizes[number], colour or coloured)


def _kind(series: tifffile.TiffPageSeries) -> tuple[object, ...]:
    """Return what frames of one stack have in common besides their pixel size."""
    page: Any = series.keyframe
    return series.shape, series.axes, series.dtype, page.photometric


def _series_array(series: tifffile.TiffPageSeries, path: Path, byteorder: str) -> NDArray[Any]:
    if series.ndim > 2 and series.dataoffset is not None and series.dtype is not None:
        dtype = series.dtype.newbyteorder(byteorder)  # pyright: ignore[reportArgumentType]
        return np.memmap(path, dtype=dtype, mode="r", offset=series.dataoffset, shape=series.shape)
    return series.asarray()


_TYPE_BYTES = dict(zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8), strict=True))


def _check_complete(path: Path) -> None:
    """Refuse a file whose pages or tags lie beyond its end: tifffile would return what is left of them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(2) == b"II" else ">"
        big = struct.unpack(f"{order}H", file.read(2))[0] == 43
        offset_format, count_format, entry_format = (
            (f"{order}Q", f"{order}Q", f"{order}HHQQ") if big else (f"{order}I", f"{order}H", f"{order}HHII")
        )
        offset_bytes, count_bytes = struct.calcsize(offset_format), struct.calcsize(count_format)
        file.seek(8 if big else 4)
        seen: set[int] = set()
        while True:
            (offset,) = struct.unpack(offset_format, file.read(offset_bytes))
            if offset == 0:
                return
            if offset >= size or offset in seen:
                raise _cut_off(len(seen), size)
            seen.add(offset)
            file.seek(offset)
            (n_entries,) = struct.unpack(count_format, file.read(count_bytes))
            entries = file.read(n_entries * struct.calcsize(entry_format))
            for _, kind, count, value_at in struct.iter_unpack(entry_format, entries):
                n_bytes = _TYPE_BYTES.get(kind, 0) * count
                if n_bytes > offset_bytes and value_at + n_bytes > size:
                    raise _cut_off(len(seen) - 1, size)


def _cut_off(n_pages: int, size: int) -> InputError:
    return InputError(
        f"is cut off or damaged after page {n_pages} ({size} bytes); expected a complete file: copy or export it again"
    )


def _grey_values(data: NDArray[Any], page: Any, file: tifffile.TiffFile) -> tuple[NDArray[Any], bool]:
    """Undo inverted greys and colour tables; say whether the last axis now holds colours."""
    photometric = getattr(page.photometric, "name", "")
    if photometric == "MINISWHITE":
        if data.dtype.kind == "b":
            # tifffile itself stores booleans as they are and calls them inverted: so does scikit-image with it.
            return (data if page.software == "tifffile.py" else ~data), False
        if data.dtype.kind != "u":
            raise InputError(f"has inverted greys of type {data.dtype}; expected unsigned integers: invert and save it")
        return (2**page.bitspersample - 1) - data, False
    if (
        photometric == "PALETTE" and not file.is_imagej
    ):  # ImageJ's colour tables are for display, the index is the value
        table = (page.colormap >> 8).astype(np.uint8)
        return np.moveaxis(table[:, data], 0, -1), True
    return data, False


def _pixel_size(file: tifffile.TiffFile, number: int) -> PixelSize | None:
    if file.is_ome:
        return _ome_pixel_size(file.ome_metadata or "", number)
    page: Any = file.series[number].keyframe
    cols, rows = (_per_unit(page, tag) for tag in ("XResolution", "YResolution"))
    if cols is None or rows is None:
        return None
    row_size, col_size = (1 / value if value else math.inf for value in (rows, cols))
    if file.is_imagej:
        metadata = file.imagej_metadata or {}
        unit = metadata.get("unit", "")
        size_nm = pixel_size_from(row_size, col_size, metadata.get("yunit", unit), unit)
        # ImageJ keeps a printer's resolution as the pixel size of whatever it opens.
        return _unless_for_print(size_nm) if nm_per_unit(unit) in _PRINTERS_UNITS_NM else size_nm
    unit = page.tags.get("ResolutionUnit")
    if unit is None or int(unit.value) != 3 or not rows or not cols:
        return None
    return _unless_for_print((row_size * 1e7, col_size * 1e7))


def _unless_for_print(size_nm: PixelSize | None) -> PixelSize | None:
    return size_nm if all(_is_microscope_pixel(size) for size in pixel_size_pair(size_nm)) else None


def _is_microscope_pixel(size_nm: float) -> bool:
    dpi = 2.54e7 / size_nm
    for_print = any(math.isclose(dpi, known, rel_tol=0.01) for known in (*_PRINT_DPI, *_PRINT_DPI_FINE))
    return size_nm < _LARGEST_PIXEL_NM and not for_print


def _per_unit(page: Any, tag: str) -> float | None:
    found = page.tags.get(tag)
    if found is None:
        return None
    value = found.value
    if isinstance(value, tuple):
        numerator, denominator = value
        return numerator / denominator if denominator else math.inf
    return float(value)


def _ome_pixel_size(xml: str, number: int) -> PixelSize | None:
    """Return the pixel size of an image of the file, each of which has an element of its own."""
    images = [element for element in ElementTree.fromstring(xml).iter() if element.tag.endswith("}Pixels")]
    if number >= len(images):
        return None
    pixels = images[number]
    sizes = (pixels.get(f"PhysicalSize{axis}") for axis in "YX")
    rows, cols = (None if size is None else float(size) for size in sizes)
    row_unit, col_unit = (pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "YX")
    return pixel_size_from(rows, cols, row_unit, col_unit)
