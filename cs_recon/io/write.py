"""Write images, label maps and sparse scans with their pixel size, each file whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.io.boundary import checked_target, quiet, writable_text, writing
from simulate.errors import InputError, PixelSize, check_numbers, check_pixel_size, pixel_size_pair

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    from simulate.measurement import Measurement

_IMAGEJ_TYPES = ("uint8", "uint16", "float32")

_LARGEST_TAG = 4.2e9


def write_image(path: str | os.PathLike[str], image: ArrayLike, *, pixel_size_nm: PixelSize | None = None) -> None:
    """Write an image, a label map or a stack as TIFF with its calibration in nm.

    uint8, uint16 and float32 become an ImageJ TIFF. ImageJ's own format has no other type, so signed and 32-bit
    integers (label maps) become an OME-TIFF that keeps every value; Fiji opens it through Bio-Formats.

    Parameters
    ----------
    path : str or path-like
        Ends in .tif or .tiff.
    image : array_like, shape (H, W) or (N, H, W)
        Real numbers. float64 and float16 are stored as float32, bool as uint8 (0 and 1), 64-bit integers as int32.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, or (row, column) sizes.

    Raises
    ------
    InputError
        If the image has another shape or type, an integer does not fit into 32 bits, or the file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> write_image("labels.tif", np.zeros((64, 64), np.int32), pixel_size_nm=0.2)  # doctest: +SKIP
    """
    target = checked_target(path, (".tif", ".tiff"))
    array = _storable(image)
    size = check_pixel_size(pixel_size_nm)
    rows, cols = pixel_size_pair(size)
    axes = "YX" if array.ndim == 2 else "TYX"
    imagej = array.dtype.name in _IMAGEJ_TYPES
    metadata: dict[str, Any] = {"axes": axes}
    options: dict[str, Any] = {}
    if size is not None and imagej:
        metadata |= {"unit": "nm"}
        options |= {"resolution": (1 / cols, 1 / rows), "resolutionunit": "NONE"}
    elif size is not None:
        metadata |= {"PhysicalSizeX": cols, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": rows, "PhysicalSizeYUnit": "nm"}
        # The tag is a ratio of 32-bit integers: below 2.4 pm only OME's own fields can say the size.
        if 1e7 / min(rows, cols) < _LARGEST_TAG:
            options |= {"resolution": (1e7 / cols, 1e7 / rows), "resolutionunit": "CENTIMETER"}
    with writing(target) as temporary, quiet():
        import tifffile

        tifffile.imwrite(
            temporary, array, imagej=imagej, ome=not imagej, photometric="minisblack", metadata=metadata, **options
        )


def write_hspy(
    path: str | os.PathLike[str], image: ArrayLike, *, pixel_size_nm: PixelSize | None = None, title: str = ""
) -> None:
    """Write an image or a stack for HyperSpy, with RosettaSciIO (the extra ``io``).

    Parameters
    ----------
    path : str or path-like
        Ends in .hspy.
    image : array_like, shape (H, W) or (N, H, W)
        Real numbers, stored as by `write_image`.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, or (row, column) sizes; without one the axes have no unit.
    title : str
        HyperSpy's title of the signal.

    Raises
    ------
    InputError
        If the image has another shape or type, or the file cannot be written.
    """
    target = checked_target(path, (".hspy",))
    array = _storable(image)
    size = check_pixel_size(pixel_size_nm)
    try:
        from rsciio.hspy import file_writer  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(f'{path}: .hspy is written with RosettaSciIO; pip install "cs-stem[io]"') from None
    unit = "nm" if size is not None else ""
    scales = ("frame", 1.0, ""), ("y", pixel_size_pair(size)[0], unit), ("x", pixel_size_pair(size)[1], unit)
    axes = [
        {
            "_type": "UniformDataAxis",
            "name": name,
            "units": axis_unit,
            "scale": scale,
            "offset": 0.0,
            "size": length,
            "navigate": name == "frame",
            "is_binned": False,
        }
        for length, (name, scale, axis_unit) in zip(array.shape, scales[-array.ndim :], strict=True)
    ]
    signal = {
        "data": array,
        "axes": axes,
        "metadata": {
            "General": {"title": writable_text(title)},
            "Signal": {"signal_type": ""},
        },
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "tmp_parameters": {},
        "learning_results": {},
        "models": {},
        "package_info": {"package": "", "package_version": ""},
    }
    with writing(target) as temporary, quiet():
        file_writer(str(temporary), signal)


def write_sparse(path: str | os.PathLike[str], measurement: Measurement) -> None:
    """Write a measurement with its mask, pixel size, exposure and noise, so that `cs_recon.io.read` gives it back.

    The scan path (the order of the visits) is not stored, nor is noise that was estimated.

    Parameters
    ----------
    path : str or path-like
        .npz: the arrays `values`, `mask` and what else is known. .csv: a table row,col,value (and exposure, if it
        varies) of the scanned pixels in row-major order, below comment lines ``# key: value`` that give the frame
        shape, the number of samples, the pixel size and the noise.
    measurement : Measurement
        What to write.

    Raises
    ------
    InputError
        If the extension is another one or the file cannot be written.
    """
    target = checked_target(path, (".npz", ".csv"))
    size = measurement.pixel_size_nm
    fields: dict[str, Any] = {}
    if size is not None:
        fields["pixel_size_nm"] = size
    noise = {name: getattr(measurement, name) for name in ("counts_per_unit", "black_level", "read_noise")}
    if measurement.noise_is_estimated:
        # An estimate would be read as told. With counts, the black level belongs to it.
        noise = {"black_level": measurement.black_level} if measurement.counts_per_unit is None else {}
    fields |= {name: value for name, value in noise.items() if value}
    if target.suffix.lower() == ".npz":
        if measurement.exposure is not None:
            fields["exposure"] = measurement.exposure
        with writing(target) as temporary:
            np.savez_compressed(temporary, values=measurement.values, mask=measurement.mask, **fields)
        return
    rows, cols = np.nonzero(measurement.mask)
    names, columns, formats = ["row", "col", "value"], [rows, cols, measurement.samples], ["%d", "%d", "%.17g"]
    if measurement.exposure is not None:
        names, columns = [*names, "exposure"], [*columns, measurement.exposure[measurement.mask]]
        formats.append("%.17g")
    comments = {"shape": measurement.shape, "samples": len(rows), **fields}
    lines = [f"# {key}: {' '.join(f'{number!r}' for number in _tuple(value))}" for key, value in comments.items()]
    header = "\n".join([*lines, ",".join(names)])
    with writing(target) as temporary:
        np.savetxt(temporary, np.column_stack(columns), fmt=formats, delimiter=",", header=header, comments="")


def _tuple(value: Any) -> tuple[float | int, ...]:
    numbers = value if isinstance(value, tuple) else (value,)
    return tuple(number.item() if isinstance(number, np.generic) else number for number in numbers)


def _storable(image: ArrayLike) -> NDArray[Any]:
    array = check_numbers(image, "image")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise InputError(f"image has shape {array.shape}; expected (H, W), or (N, H, W) for a stack")
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        largest = np.abs(array[np.isfinite(array)]).max(initial=0)
        if largest > np.finfo(np.float32).max:
            raise InputError(f"image holds {largest:g}; expected values that fit into 32 bits: scale it")
        return array.astype(np.float32)
    if array.dtype.itemsize == 8:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(f"image holds {array.min()} to {array.max()}; expected integers that fit into 32 bits")
        return array.astype(np.int32)
    return array.astype(array.dtype.newbyteorder("="))
