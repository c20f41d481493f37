"""Microscope formats through RosettaSciIO (GPL-3, the extra ``io``): DM3/DM4, EMD, SER/EMI, MRC, HSPY/ZSPY."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.io.boundary import guarded
from cs_recon.io.raw import Raw, choose
from cs_recon.io.units import pixel_size_from
from simulate.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from simulate.errors import PixelSize

#: The RosettaSciIO reader of each extension.
PLUGINS = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".emd": "emd",
    ".ser": "tia",
    ".emi": "tia",
    ".mrc": "mrc",
    ".hspy": "hspy",
    ".zspy": "zspy",
}

# Velox: the images only, because its spectra need another package. MRC: no guessed metadata file.
_OPTIONS: dict[str, dict[str, Any]] = {".emd": {"select_type": "images"}, ".mrc": {"metadata_file": None}}


def load_microscope(path: Path, signal: str | int | None = None, *, values_only: bool = False) -> Raw:
    """Load the one image or stack of a microscope file.

    A file with several images (detectors) needs `signal`, the title or the number among the images. Spectra, spectrum
    images and 4D-STEM data cubes are refused.

    Parameters
    ----------
    path : Path
        The file.
    signal : str or int, optional
        Which image.
    values_only : bool
        Take the data whatever its dimensions mean: values in visiting order.
    """
    signals = guarded(path.suffix[1:].upper(), lambda: _signals(path))
    images = [s for s in signals if _image_axes(s) is not None]
    if values_only and not images:
        images = [s for s in signals if np.ndim(s["data"]) < 3]
    if not images:
        raise InputError(_refusal(signals))
    titles = [str(s["metadata"].get("General", {}).get("title", "")) or str(k) for k, s in enumerate(images)]
    chosen = images[choose(titles, signal, "images")]
    frame_axes = _image_axes(chosen)
    if frame_axes is None:
        return Raw(np.ravel(chosen["data"]))
    data = np.moveaxis(chosen["data"], frame_axes, (-2, -1))
    return Raw(data, None if path.suffix.lower() == ".mrc" and _no_cell(chosen) else _pixel_size(chosen, frame_axes))


def _signals(path: Path) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    try:
        reader = importlib.import_module(f"rsciio.{PLUGINS[suffix]}").file_reader
    except ImportError:
        raise InputError(f'{suffix} files are read with RosettaSciIO; install it: pip install "cs-stem[io]"') from None
    known = inspect.signature(reader).parameters
    options = {key: value for key, value in _OPTIONS.get(suffix, {}).items() if key in known}
    signals = reader(str(path), **options)
    for signal in signals:
        signal["data"] = np.asarray(signal["data"])
        if signal["data"].size == 0:
            raise InputError(f"holds an array of shape {signal['data'].shape}; expected an image with pixels in it")
    return signals


def _axes(signal: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the axes in the order of the array's dimensions."""
    axes = signal["axes"]
    return sorted(axes, key=lambda axis: axis["index_in_array"]) if all("index_in_array" in a for a in axes) else axes


def _image_axes(signal: dict[str, Any]) -> tuple[int, int] | None:
    """Return the (row, column) dimensions of an image or a stack of images; None for anything else."""
    axes = _axes(signal)
    if len(axes) != np.ndim(signal["data"]):
        return None
    inner = [k for k, axis in enumerate(axes) if not axis.get("navigate", False)]
    outer = [k for k in range(len(axes)) if k not in inner]
    if len(inner) in (2, 3) and len(axes) <= 3:
        return inner[-2], inner[-1]
    if not inner and len(outer) == 2:  # a map of single numbers: a virtual image
        return outer[0], outer[1]
    return None


def _refusal(signals: list[dict[str, Any]]) -> str:
    if not signals:
        return "holds no image; expected one"
    first = signals[0]
    shape = np.shape(first["data"])
    outer = sum(bool(axis.get("navigate", False)) for axis in first["axes"])
    inner = len(shape) - outer
    if len(shape) < 2:
        kind = "a line"
    elif inner < 2:
        kind = "a spectrum image"
    else:
        kind = "a 4D-STEM data cube" if len(shape) == 4 else "a data cube"
    return (
        f"holds {kind} of shape {shape}; expected an image or a stack: save a detector or virtual image of it instead"
    )


def _pixel_size(signal: dict[str, Any], frame_axes: tuple[int, int]) -> PixelSize | None:
    axes = _axes(signal)
    rows, cols = (axes[k] for k in frame_axes)
    return pixel_size_from(rows.get("scale"), cols.get("scale"), rows.get("units"), cols.get("units"))


def _no_cell(signal: dict[str, Any]) -> bool:
    """Say whether an MRC header lacks a cell: it has no calibration then, though RosettaSciIO gives one."""
    header = signal.get("original_metadata", {}).get("std_header", {})
    return any(not float(np.ravel(header.get(name, 1))[0]) for name in ("Xlen", "Ylen", "MX", "MY"))
