"""NumPy files: a bare array (.npy), or values with mask and calibration (.npz). Pickles are never loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.io.boundary import guarded
from cs_recon.io.raw import Raw, raw_array
from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NUMPY_SUFFIXES = (".npy", ".npz")

#: What an .npz may hold beside `values`; the names and meanings of `Measurement`.
NPZ_FIELDS = ("mask", "pixel_size_nm", "exposure", "counts_per_unit", "black_level", "read_noise")


def load_numpy(path: Path) -> Raw:
    """Load an .npy array (memory-mapped, not read) or an .npz archive."""
    if path.suffix.lower() == ".npy":
        return raw_array(guarded("NPY", lambda: _npy(path)))
    arrays = guarded("NPZ", lambda: _npz(path))
    if len(arrays) == 1:
        return raw_array(next(iter(arrays.values())))
    unknown = [name for name in arrays if name not in ("values", *NPZ_FIELDS)]
    if "values" not in arrays or unknown:
        hint = nearest_name(unknown[0], ("values", *NPZ_FIELDS)) if unknown else ""
        raise InputError(
            f"holds the arrays {', '.join(arrays) or '(none)'}{hint}; expected a single array, or 'values' with any of "
            f"{', '.join(NPZ_FIELDS)}"
        )
    values = arrays.pop("values")
    pixel_size = arrays.pop("pixel_size_nm", None)
    extra: dict[str, Any] = dict(arrays)
    for name in ("counts_per_unit", "black_level", "read_noise"):
        if name in arrays:
            extra[name] = _number(arrays[name], name)
    if pixel_size is not None and pixel_size.shape == (2,):
        rows, cols = (_number(size, "pixel_size_nm") for size in pixel_size)
        return raw_array(values, (rows, cols), **extra)
    return raw_array(values, None if pixel_size is None else _number(pixel_size, "pixel_size_nm"), **extra)


def _npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise InputError("holds Python objects (a pickle), which are never loaded; expected a numeric array")
    if 0 in shape:
        raise InputError(f"array has shape {shape}; expected an image (H, W) or a stack (N, H, W) with pixels in it")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError("is not an NPZ archive; expected one: name a single array .npy")
        try:
            return {name: archive[name] for name in archive.files}
        except ValueError as error:
            if "allow_pickle" in str(error):
                raise InputError(
                    "holds Python objects (a pickle), which are never loaded; expected numeric arrays"
                ) from None
            raise


def _number(array: NDArray[Any], name: str) -> float:
    if np.size(array) != 1 or np.asarray(array).dtype.kind not in "buif":
        raise InputError(f"{name} has shape {np.shape(array)}; expected one number")
    return float(np.asarray(array).reshape(()))
