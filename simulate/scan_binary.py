"""Scan paths as arrays: NumPy's .npy and .npz, and NeXus-style HDF5."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.errors import InputError
from simulate.stored_scan import MOST_POSITIONS, StoredScan, scheme_of, seed_of, shape_of, whole_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from simulate.scan import ScanPath


class Npy:
    """An integer array (N, 2) of x, y."""

    def write(self, temporary: Path, scan: ScanPath) -> None:
        """Write the positions as int32."""
        with temporary.open("wb") as out:  # given a name, NumPy would add its own suffix to another one
            np.save(out, np.column_stack([scan.cols, scan.rows]).astype(np.int32), allow_pickle=False)

    def read(self, file: Path) -> StoredScan:
        """Read the positions; a memory map tells a file that is too short for its header without reading it."""
        array = np.lib.format.open_memmap(file, mode="r")
        if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
            raise InputError(f"holds {array.dtype} of shape {array.shape}; expected integers (N, 2), x and y")
        return StoredScan(cols=whole_numbers(array[:, 0], "x"), rows=whole_numbers(array[:, 1], "y"))


class Npz:
    """The arrays x, y, dwell_us, shape, scheme and seed."""

    def write(self, temporary: Path, scan: ScanPath) -> None:
        """Write the arrays, compressed; the seed as text, which has no largest number."""
        with temporary.open("wb") as out:
            np.savez_compressed(
                out,
                x=scan.cols.astype(np.int32),
                y=scan.rows.astype(np.int32),
                dwell_us=np.asarray(scan.dwell_us),
                shape=np.asarray(scan.shape),
                scheme=np.asarray(scan.scheme),
                seed=np.asarray("" if scan.seed is None else str(scan.seed)),
            )

    def read(self, file: Path) -> StoredScan:
        """Read the arrays; a member too large for a scan is refused before it is unpacked."""
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.file_size > 8 * MOST_POSITIONS + 1024:
                    raise InputError(f"holds {member.filename!r} of {member.file_size} bytes: too large for a scan")
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("x", "y", "dwell_us", "shape", "scheme", "seed") if name in arrays}
        return _stored(found)


class Nexus:
    """An NXentry with an NXdata of x, y and dwell; the frame's shape, the scheme and the seed beside them."""

    def write(self, temporary: Path, scan: ScanPath) -> None:
        """Write the groups, with units."""
        h5py = _h5py()
        with h5py.File(temporary, "w") as file:
            file.attrs["default"] = "entry"
            entry = file.create_group("entry")
            entry.attrs.update({"NX_class": "NXentry", "default": "scan"})
            entry["title"] = f"Scan path: {scan.scheme}"
            data = entry.create_group("scan")
            data.attrs.update({"NX_class": "NXdata", "signal": "dwell"})
            columns = (("x", scan.cols, "pixel"), ("y", scan.rows, "pixel"), ("dwell", scan.dwells_us, "us"))
            for name, values, unit in columns:
                values = values if name == "dwell" else values.astype(np.int32)
                data.create_dataset(name, data=values, compression="gzip", shuffle=True).attrs["units"] = unit
            data["frame_shape"] = np.asarray(scan.shape)
            data["scheme"] = scan.scheme
            data["seed"] = "" if scan.seed is None else str(scan.seed)

    def read(self, file: Path) -> StoredScan:
        """Read the groups that `write` makes; the dwell times must be in µs."""
        h5py = _h5py()
        names = {"x": "x", "y": "y", "dwell": "dwell_us", "frame_shape": "shape", "scheme": "scheme", "seed": "seed"}
        with h5py.File(file, "r") as opened:
            data = opened.get("entry/scan")
            if not isinstance(data, h5py.Group):
                raise InputError("has no group entry/scan; expected a scan as write_scan writes it")
            found = {}
            for name in names.keys() & data.keys():
                values = data[name]
                if not isinstance(values, h5py.Dataset) or values.size is None or values.size > MOST_POSITIONS:
                    raise InputError(
                        f"{name!r} is not an array, or too large for a scan; expected one entry a position"
                    )
                unit = values.attrs.get("units", "us")
                if name == "dwell" and unit != "us":
                    raise InputError(f"gives the dwell times in {str(unit)[:20]!r}; expected 'us'")
                text = name in ("scheme", "seed")
                found[names[name]] = np.asarray(values.asstr()[()] if text else values[()])
        return _stored(found)


def _stored(found: dict[str, NDArray[Any]]) -> StoredScan:
    missing = [name for name in ("x", "y") if name not in found]
    if missing:
        raise InputError(f"holds no {' and no '.join(missing)}; expected the positions x and y")
    for name in ("x", "y"):
        if found[name].dtype.kind not in "iu":
            raise InputError(f"{name} has type {found[name].dtype}; expected integers")
    return StoredScan(
        cols=whole_numbers(found["x"], "x"),
        rows=whole_numbers(found["y"], "y"),
        shape=shape_of([str(side) for side in np.ravel(found["shape"])[:3]]) if "shape" in found else None,
        dwell_us=found.get("dwell_us"),  # pyright: ignore[reportArgumentType]
        scheme=scheme_of(str(found.get("scheme", "custom"))),
        seed=seed_of(str(found.get("seed", ""))),
    )


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise InputError('HDF5 files need h5py; install it: pip install "cs-stem[io]"') from None
    return h5py
