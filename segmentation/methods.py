"""The segmentation methods, and the one call that runs any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload

import numpy as np

from cs_recon.device import pick_device
from cs_recon.reconstruction import Reconstruction
from segmentation.instances import Instances
from segmentation.threshold import threshold_segment
from simulate.errors import InputError, PixelSize, check_count, check_numbers, check_shape
from simulate.measurement import Measurement
from simulate.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


Frame: TypeAlias = "NDArray[np.float64] | Reconstruction | Measurement"
"""An image (H, W), a reconstruction, or a scan (full, or sparse for a method that takes such)."""


class Segmenter(Protocol):
    """A segmentation method: from frames of one shape to their particles in the same order, options by keyword.

    A network that looks at several frames at once is one as it is; a function of a single frame becomes one by
    ``segmenters.register_each``.
    """

    def __call__(self, images: Sequence[Frame], /, *, device: str) -> list[Instances]: ...  # noqa: D102


segmenters: Registry[Segmenter] = Registry("segmentation method")


@overload
def segment(
    image: Sequence[Frame] | Sequence[Reconstruction] | Sequence[Measurement],
    method: str = ...,
    *,
    pixel_size_nm: PixelSize | None = ...,
    device: str = ...,
    batch_size: int = ...,
    **options: Any,
) -> list[Instances]: ...
@overload
def segment(
    image: ArrayLike | Reconstruction | Measurement,
    method: str = ...,
    *,
    pixel_size_nm: PixelSize | None = ...,
    device: str = ...,
    batch_size: int = ...,
    **options: Any,
) -> Instances: ...
def segment(
    image: Any,
    method: str = "mask-rcnn",
    *,
    pixel_size_nm: PixelSize | None = None,
    device: str = "auto",
    batch_size: int = 8,
    **options: Any,
) -> Instances | list[Instances]:
    """Find the particles of an image, or those of many.

    Parameters
    ----------
    image : array_like of shape (H, W), Reconstruction, or Measurement; or a list of them
        What to segment, any unit; bright or dark particles. A sparse scan is for networks whose mapping takes one. Of
        a list, frames may differ in shape and kind; images in it are arrays.
    method : str
        A name from `segmenters.names`.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm; taken from the reconstruction or measurement if it knows it.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    batch_size : int
        How many frames of a list a network looks at together at most, on a GPU; on a CPU, where nothing is gained, and
        beyond a million pixels it looks at one after another.
    **options
        Options of the method itself; an unknown one is an error.

    Returns
    -------
    Instances, or a list of them in the order of the frames
        With `intensity` set to the image; that of a sparse scan is the one that its mapping computes along.

    Raises
    ------
    InputError
        For an unknown method or option, or an image that is no finite 2-D array.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:64, :64]
    >>> len(segment(np.hypot(y - 30, x - 30) < 9, "threshold"))
    1
    """
    run = segmenters[method]
    segmenters.check_options(method, options)
    check_count(batch_size, "batch_size", 1)
    pick_device(device)
    many = _is_many(image)
    frames = [_as_frame(one, f"frame {number} of the list: ") for number, one in enumerate(image)] if many else []
    frames = frames if many else [_as_frame(image)]
    found: list[Instances | None] = [None] * len(frames)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, frame in enumerate(frames):
        by_shape.setdefault(shape_of(frame), []).append(index)
    for indices in by_shape.values():
        for start in range(0, len(indices), int(batch_size)):
            chosen = indices[start : start + int(batch_size)]
            done = _found([frames[index] for index in chosen], run, chosen if many else [], device, options)
            for index, one in zip(chosen, done, strict=True):
                found[index] = _named(one, frames[index], method, pixel_size_nm)
    return found if many else found[0]  # pyright: ignore[reportReturnType]


def _found(
    frames: list[Frame], run: Segmenter, numbers: list[int], device: str, options: dict[str, Any]
) -> list[Instances]:
    """Return what a method finds on frames; if one of a list cannot be segmented, say which."""
    try:
        return run(frames, device=device, **options)  # pyright: ignore[reportCallIssue]
    except InputError:
        for number, frame in zip(numbers, frames, strict=False):
            try:
                run([frame], device=device, **options)  # pyright: ignore[reportCallIssue]
            except InputError as error:
                raise InputError(f"frame {number} of the list: {error}") from None
        raise


def _is_many(image: object) -> bool:
    """Return whether a list or tuple holds frames; one of numbers, or of rows of them, is an image itself."""
    if not isinstance(image, list | tuple):
        return False
    frames = [
        isinstance(one, Reconstruction | Measurement) or (isinstance(one, np.ndarray) and one.ndim == 2)
        for one in image
    ]
    if any(frames) and not all(frames):
        odd = image[frames.index(False)]
        raise InputError(
            f"frame {frames.index(False)} of the list is {type(odd).__name__}; expected images (arrays of two "
            "dimensions), reconstructions or measurements"
        )
    return all(frames)


def _as_frame(image: ArrayLike | Reconstruction | Measurement, which: str = "") -> Frame:
    if isinstance(image, Reconstruction | Measurement):
        return image
    try:
        return _as_image(image)
    except InputError as error:
        raise InputError(f"{which}{error}") from None


def shape_of(frame: Frame) -> tuple[int, ...]:
    """Return the shape (H, W) of a frame."""
    return frame.image.shape if isinstance(frame, Reconstruction) else frame.shape


def _named(found: Instances, frame: Frame, method: str, pixel_size_nm: PixelSize | None) -> Instances:
    """Return what a method found with the frame's name and scale, and the method's name."""
    name = "frame"
    if isinstance(frame, Reconstruction | Measurement):
        pixel_size_nm = frame.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
        name = frame.name
    return replace(found, pixel_size_nm=pixel_size_nm, name=name, method=method)


def full_image(image: Frame) -> NDArray[np.float64]:
    """Return the image of a frame, in float64; `InputError` if it is a sparse scan, which has none yet."""
    if isinstance(image, Reconstruction):
        return image.image.astype(np.float64)
    if isinstance(image, Measurement):
        if not image.mask.all():
            raise InputError(
                f"the measurement is sparse ({image.ratio:.3g} of its pixels); reconstruct it first, or go the "
                "whole way with segmentation.run ('cs-stem run')"
            )
        return image.values
    return image


def _as_image(image: ArrayLike) -> NDArray[np.float64]:
    array = check_numbers(image, "image")
    check_shape(array.shape, "image")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise InputError(
            f"{bad} of {array.size} pixels are NaN or infinite; expected finite numbers: "
            "a sparse scan has to be reconstructed first"
        )
    return array.astype(np.float64)


@segmenters.register_each(
    "threshold", "background flattening, threshold at half height, watershed: the classical floor"
)
def threshold(
    image: Frame,
    *,
    device: str = "cpu",
    polarity: str = "auto",
    level: str = "half-height",
    min_area_px: float = 12.0,
) -> Instances:
    """Segment by `threshold_segment` (`level` is its `threshold`); computed on the CPU."""
    array = full_image(image)
    labels = np.zeros(array.shape, dtype=np.int32)
    if np.ptp(array) > 0:
        labels = threshold_segment(array, polarity=polarity, threshold=level, min_area_px=min_area_px)
    return Instances(labels, intensity=array)  # pyright: ignore[reportArgumentType]
