"""Read microscope images and sparse scans of any known format as measurements."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from cs_recon.io.arrays import NUMPY_SUFFIXES, load_numpy
from cs_recon.io.boundary import checked_file, named
from cs_recon.io.microscope import PLUGINS, load_microscope
from cs_recon.io.pictures import PICTURE_SUFFIXES, load_picture
from cs_recon.io.raw import Raw, grey_frame
from cs_recon.io.sparse import LIST_SUFFIXES, find_coordinates, load_list, with_coordinates
from cs_recon.io.tiff import TIFF_SUFFIXES, load_tiff
from simulate.errors import InputError, PixelSize, check_numbers, check_pixel_size, check_shape
from simulate.measurement import Measurement, check_mask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Unpack

    from numpy.typing import ArrayLike, NDArray

#: Every extension that `read` knows.
SUFFIXES = (*TIFF_SUFFIXES, *PICTURE_SUFFIXES, *NUMPY_SUFFIXES, *LIST_SUFFIXES, *PLUGINS)
_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".npz")
_FOLDER_SUFFIXES = (".zspy",)


class ReadOptions(TypedDict, total=False):
    """The options of `iter_frames`, where they are documented."""

    mask: str | os.PathLike[str] | ArrayLike | None
    coordinates: str | os.PathLike[str] | None
    shape: tuple[int, int] | None
    pixel_size_nm: PixelSize | None
    grey: bool
    signal: str | int | None


def read(path: str | os.PathLike[str], **options: Unpack[ReadOptions]) -> Measurement | list[Measurement]:
    """Read a file: one measurement from a single frame, a list from a stack.

    Parameters
    ----------
    path : str or path-like
        The file; its extension says the format (`SUFFIXES`).
    **options
        As for `iter_frames`: mask, coordinates, shape, pixel_size_nm, grey, signal.

    Returns
    -------
    Measurement or list of Measurement
        With float64 values in the file's own units. A stack of one frame counts as a single frame.

    Raises
    ------
    InputError
        One line, for whatever is wrong with the file or the options.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> frame = np.add.outer(np.arange(16.0), np.arange(16.0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/scan.npz", values=frame, mask=frame % 2 == 0, pixel_size_nm=0.5)
    ...     scan = read(f"{folder}/scan.npz")
    >>> scan.name, scan.ratio, scan.pixel_size_nm
    ('scan', 0.5, 0.5)
    """
    frames = read_frames(path, **options)
    return frames[0] if len(frames) == 1 else frames


def read_frames(path: str | os.PathLike[str], **options: Unpack[ReadOptions]) -> list[Measurement]:
    """Read all frames of a file as a list, of one for a single frame; parameters and errors as for `iter_frames`."""
    return list(iter_frames(path, **options))


def iter_frames(
    path: str | os.PathLike[str],
    *,
    mask: str | os.PathLike[str] | ArrayLike | None = None,
    coordinates: str | os.PathLike[str] | None = None,
    shape: tuple[int, int] | None = None,
    pixel_size_nm: PixelSize | None = None,
    grey: bool = False,
    signal: str | int | None = None,
) -> Iterator[Measurement]:
    """Read a file frame by frame, so that a long stack never lies in memory as float64.

    The file is opened and its options are checked at the call; a frame's own faults show when it is reached. Only NaN
    and masks say what was not scanned: a zero is a count like any other.

    Parameters
    ----------
    path : str or path-like
        The file; its extension says the format (`SUFFIXES`).
    mask : str, path-like or array_like, optional
        The scanned pixels: a PNG, TIFF, NPY or NPZ file or an array, of the frame's shape or one mask a frame, with
        two values of which 0 is "not scanned". Without one, pixels that are NaN were not scanned.
    coordinates : str or path-like, optional
        Table of scan coordinates x,y for values in visiting order. An .mrc file finds its
        ``*_scan_coordinates.csv`` alone (see `cs_recon.io.sparse.with_coordinates`).
    shape : (int, int), optional
        The frame's rows and columns, for lists of samples and coordinates (default: largest index + 1). Any other
        file must agree with it.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, or (row, column) sizes; takes the place of the file's calibration.
    grey : bool
        Convert colour images by luminance, 0.2125 R + 0.7154 G + 0.0721 B. Images with equal channels are grey anyway.
    signal : str or int, optional
        Which one, where a microscope file or TIFF holds several images or channels: its title or number from 0.

    Yields
    ------
    Measurement
        Named after the file: ``stem``, or ``stem[0]``, ``stem[1]`` ... in a stack.

    Raises
    ------
    InputError
        One line, for whatever is wrong with the file or the options.
    """
    pixel_size_nm = check_pixel_size(pixel_size_nm)
    shape = None if shape is None else check_shape(shape, "shape=")
    with named(path):
        file = checked_file(path, SUFFIXES, _FOLDER_SUFFIXES)
        if mask is not None and coordinates is not None:
            raise InputError("both a mask and coordinates are given; expected one of them")
        raw = _load(file, mask is not None, coordinates, shape, signal)
        frames = raw.frames
        if len(frames) == 0:
            raise InputError(f"array has shape {raw.data.shape}; expected at least one frame")
        if shape is not None and frames.ndim > 2 and frames.shape[1:3] != shape:
            raise InputError(f"frame has shape {frames.shape[1:3]} but shape={shape} is given; make them equal")
        masks = None
        if mask is not None:
            if "mask" in raw.extra:
                raise InputError("the file says itself which pixels were scanned, and a mask is given; expected one")
            masks = _masks(mask, frames)
    return _measurements(file, path, raw, masks, pixel_size_nm, grey)


def _load(
    file: Path,
    has_mask: bool,
    coordinates: str | os.PathLike[str] | None,
    shape: tuple[int, int] | None,
    signal: str | int | None,
) -> Raw:
    suffix = file.suffix.lower()
    if signal is not None and suffix not in (*TIFF_SUFFIXES, *PLUGINS):
        raise InputError(f"{suffix} files hold one signal; expected no signal= for them")
    table = None
    if coordinates is not None:
        if suffix in LIST_SUFFIXES:
            raise InputError("a list of samples has its coordinates in it; expected no coordinates= for it")
        with named(coordinates):
            table = checked_file(coordinates, LIST_SUFFIXES)
    elif suffix == ".mrc" and not has_mask:
        table = find_coordinates(file)
    if suffix in TIFF_SUFFIXES:
        raw = load_tiff(file, signal)
    elif suffix in PICTURE_SUFFIXES:
        raw = load_picture(file)
    elif suffix in NUMPY_SUFFIXES:
        raw = load_numpy(file)
    elif suffix in LIST_SUFFIXES:
        return load_list(file, shape)
    else:
        raw = load_microscope(file, signal, values_only=table is not None)
    return raw if table is None else with_coordinates(raw, table, shape)


def _measurements(
    file: Path,
    path: str | os.PathLike[str],
    raw: Raw,
    masks: list[NDArray[np.bool_]] | None,
    pixel_size_nm: PixelSize | None,
    grey: bool,
) -> Iterator[Measurement]:
    frames = raw.frames
    # A stack may have a mask and exposures for each frame, or one for all.
    maps = {name: np.asarray(raw.extra[name]) for name in ("mask", "exposure") if name in raw.extra}
    each = {name for name, value in maps.items() if value.shape[:-2] == (len(frames),)}
    for index, frame in enumerate(frames):
        part = f"[{index}]" if len(frames) > 1 else ""
        with named(f"{path}{part}"):
            if raw.channels:
                frame = grey_frame(frame, grey)
            extra = {name: value[index] if name in each else value for name, value in raw.extra.items()}
            extra["mask"] = masks[index] if masks is not None else _frame_mask(frame, extra.get("mask"))
            yield Measurement(
                frame,
                pixel_size_nm=raw.pixel_size_nm if pixel_size_nm is None else pixel_size_nm,
                name=f"{file.stem}{part}",
                **extra,
            )


def _frame_mask(frame: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[Any]:
    """Return the file's own mask, or else the pixels that are not NaN."""
    if frame.dtype.kind == "c":
        raise InputError(f"frame has complex values ({frame.dtype}); expected real ones: save its amplitude or phase")
    check_numbers(frame, "frame")
    if mask is not None:
        return mask
    check_shape(frame.shape)
    if frame.dtype.kind != "f":
        return np.ones(frame.shape, dtype=np.bool_)
    infinite = int(np.count_nonzero(np.isinf(frame)))
    if infinite:
        raise InputError(
            f"{infinite} of {frame.size} pixels are infinite; "
            "expected finite values, with NaN where nothing was scanned"
        )
    scanned = ~np.isnan(frame)
    if not scanned.any():
        raise InputError(f"all {frame.size} pixels are NaN; expected values where the scan went")
    return scanned


def _masks(mask: str | os.PathLike[str] | ArrayLike, frames: NDArray[Any]) -> list[NDArray[np.bool_]]:
    """Return one mask for each frame, of the frame's shape."""
    if isinstance(mask, str | os.PathLike):
        with named(mask):
            found = _read_masks(checked_file(mask, _MASK_SUFFIXES))
        name = f"mask {os.fspath(mask)}"
    else:
        array = np.asarray(mask)
        found = list(array) if array.ndim == 3 else [array]
        name = "mask"
    if len(found) not in (1, len(frames)):
        raise InputError(
            f"{name} holds {len(found)} masks for {len(frames)} frames; expected one, or one for each frame"
        )
    values_alone = frames.ndim == 2
    for one in found:
        if one.shape != frames.shape[1:3] and not values_alone:
            raise InputError(
                f"{name} has shape {one.shape} but the frame has shape {frames.shape[1:3]}; make them equal"
            )
    checked = [check_mask(one) for one in found]
    return checked * len(frames) if len(checked) == 1 else checked


def _read_masks(file: Path) -> list[NDArray[Any]]:
    raw = _load(file, True, None, None, None)
    if "mask" in raw.extra:
        mask = np.asarray(raw.extra["mask"])
        return list(mask) if mask.ndim == 3 else [mask]
    return [grey_frame(frame, grey=False) if raw.channels else frame for frame in raw.frames]
