"""Scan paths in files: what a scan generator is fed with, and what it was fed with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from simulate import scan_binary, scan_text
from simulate.atomic import atomic_path
from simulate.errors import InputError, PixelSize, check_kind, check_pixel_size, check_shape, nearest_name
from simulate.scan import ScanPath
from simulate.stored_scan import LARGEST_FRAME, StoredScan

if TYPE_CHECKING:
    import os


class _Format(Protocol):
    def write(self, temporary: Path, scan: ScanPath) -> None: ...
    def read(self, file: Path) -> StoredScan: ...


_FORMATS: dict[str, _Format] = {
    "csv": scan_text.OrderedCsv(),
    "npy": scan_binary.Npy(),
    "npz": scan_binary.Npz(),
    "direct-electron": scan_text.DirectElectron(),
    "nexus": scan_binary.Nexus(),
}
_SUFFIXES = {".csv": "csv", ".npy": "npy", ".npz": "npz", ".nxs": "nexus", ".h5": "nexus", ".hdf5": "nexus"}


def write_scan(
    file: str | os.PathLike[str],
    path: ScanPath,
    *,
    format: str | None = None,  # noqa: A002 - the word numpy, pandas and PIL users look for
    pixel_size_nm: PixelSize | None = None,
) -> Path:
    """Write a scan path to a file, whole or not at all.

    Parameters
    ----------
    file : str or path-like
        The file. Its name gives the format if `format` is None.
    path : ScanPath
        The scan. Its hardware is not kept.
    format : {"csv", "npy", "npz", "direct-electron", "nexus"}, optional
        "csv" (.csv): a table x,y,dwell_us in visiting order below comment lines with the shape, the scheme, the seed
        and the number of positions. "npz" (.npz): the same as NumPy arrays. "nexus" (.nxs, .h5, .hdf5): the same as
        NeXus-style HDF5 (NXentry, NXdata, units); needs h5py, from the extra "io". "npy" (.npy): an integer array
        (N, 2) of x, y, as scan generators take it. "direct-electron" (``*_scan_coordinates.csv``): x,y a line without
        a header, and ``*_info.txt`` beside it with the frame's size. The last two keep positions only: no dwell
        times, so these must be equal, no scheme and no seed; .npy not the shape either.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm for the info file of "direct-electron"; the other formats have no place for it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the format is unknown or cannot hold the scan, or the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from simulate import scan_path
    >>> with TemporaryDirectory() as folder:
    ...     file = write_scan(f"{folder}/scan.csv", scan_path("random", (64, 64), 0.1, rng=0))
    ...     read_scan(file).n_positions
    410
    """
    check_kind(path, "the scan", ScanPath)
    target = Path(file)
    name = scan_format(target, format)
    pixel_size_nm = check_pixel_size(pixel_size_nm)
    if pixel_size_nm is not None and name != "direct-electron":
        raise InputError(f"the format {name!r} has no place for a pixel size; leave it out, or write direct-electron")
    _check_writable(path, name)
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder; choose a file name")
    try:
        if name == "direct-electron":
            with atomic_path(scan_text.info_file(target)) as temporary:
                scan_text.write_info(temporary, path.shape, pixel_size_nm)
        with atomic_path(target) as temporary:
            _FORMATS[name].write(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}; choose another output folder") from None
    return target


def read_scan(
    file: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - as above
    shape: tuple[int, int] | None = None,
    dwell_us: float | None = None,
) -> ScanPath:
    """Read a scan path that `write_scan` wrote, or the positions of another program in one of its formats.

    Nothing in the file is executed or unpickled.

    Parameters
    ----------
    file : str or path-like
        The file.
    format : str, optional
        As for `write_scan`; None goes by the name.
    shape : (int, int), optional
        Frame shape (rows, columns): needed where the file does not say it.
    dwell_us : float, optional
        Dwell time in µs: needed where the file does not say it.

    Returns
    -------
    ScanPath
        With the hardware's default.

    Raises
    ------
    InputError
        If the file is missing, damaged, truncated or of another format, if it holds anything but pixels of the frame
        and dwell times above 0, or if it contradicts `shape` or `dwell_us`.
    """
    source = Path(file)
    name = scan_format(source, format)
    if shape is not None:
        shape = check_shape(shape, "scan")
    try:
        if not source.is_file():
            raise InputError("no such file; expected an existing file: check the path")
        return _scan(_FORMATS[name].read(source), shape, dwell_us)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except Exception as error:  # whatever a parser makes of a damaged file
        what = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise InputError(
            f"{source}: cannot be read as {name} ({what}); expected a complete, undamaged file: copy it again"
        ) from None


def scan_format(file: Path, format_: str | None = None) -> str:
    """Return the format that a scan path's file has by its name, or is said to have.

    Parameters
    ----------
    file : Path
        The file; it need not be there.
    format_ : str, optional
        As `write_scan` takes it.

    Returns
    -------
    str
        One of the formats of `write_scan`.

    Raises
    ------
    InputError
        If there is no such format, or the name is of none.

    Examples
    --------
    >>> scan_format(Path("lot7_scan_coordinates.csv"))
    'direct-electron'
    """
    if format_ is None:
        if file.name.endswith(scan_text.COORDINATES_ENDING):
            return "direct-electron"
        try:
            return _SUFFIXES[file.suffix.lower()]
        except KeyError:
            raise InputError(
                f"{file}: unknown file type {file.suffix!r}; expected a name that ends in {', '.join(_SUFFIXES)} or "
                f"{scan_text.COORDINATES_ENDING}"
            ) from None
    if not isinstance(format_, str) or format_ not in _FORMATS:
        raise InputError(
            f"unknown scan format {format_!r}{nearest_name(str(format_), _FORMATS)}; known: {', '.join(_FORMATS)}"
        )
    if format_ == "direct-electron" and not file.name.endswith(scan_text.COORDINATES_ENDING):
        raise InputError(f"{file}: expected a name that ends in {scan_text.COORDINATES_ENDING}, as DE-Server gives")
    return format_


def _scan(stored: StoredScan, shape: tuple[int, int] | None, dwell_us: float | None) -> ScanPath:
    frame = shape if stored.shape is None else stored.shape
    if frame is None:
        raise InputError("does not say the frame's shape; give shape=(rows, columns)")
    if stored.dwell_us is None and dwell_us is None:
        raise InputError("does not say the dwell time; give dwell_us=")
    if shape is not None and tuple(shape) != tuple(frame):
        raise InputError(f"is for a frame of {tuple(frame)} but shape is {tuple(shape)}; leave it out")
    if stored.dwell_us is not None and dwell_us is not None:
        raise InputError("says the dwell times itself; leave dwell_us out")
    if len(frame) == 2 and frame[0] * frame[1] > LARGEST_FRAME:
        raise InputError(f"is for a frame of {frame[0]} x {frame[1]} pixels; expected at most {LARGEST_FRAME} pixels")
    dwell = dwell_us if stored.dwell_us is None else stored.dwell_us
    # One number where all are equal, as it was before it was written into a column.
    if isinstance(dwell, np.ndarray) and dwell.shape == stored.rows.shape and (dwell == dwell[0]).all():
        dwell = float(dwell.flat[0])
    return ScanPath(
        stored.rows,
        stored.cols,
        frame,
        dwell_us=dwell,  # pyright: ignore[reportArgumentType]
        scheme=stored.scheme,
        seed=stored.seed,
    )


def _check_writable(path: ScanPath, name: str) -> None:
    if name in ("npy", "direct-electron") and path.dwells_us.min() != path.dwells_us.max():
        raise InputError(f"the format {name!r} keeps positions only, and the dwell times differ; write npz or csv")
    if not path.scheme.isprintable() or path.scheme != path.scheme.strip():
        raise InputError(f"the scheme's name is {path.scheme!r}; expected one line of text to write into a file")
    if path.shape[0] * path.shape[1] > LARGEST_FRAME:
        raise InputError(f"the frame has {path.shape[0]} x {path.shape[1]} pixels; expected at most {LARGEST_FRAME}")
