"""The segmentation methods, and the one call that runs any of them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cs_recon.reconstruction import Reconstruction
from segmentation.instances import Instances
from segmentation.threshold import threshold_segment
from simulate.errors import InputError, PixelSize, check_numbers, check_shape, nearest_name
from simulate.measurement import Measurement
from simulate.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Segmenter(Protocol):
    """A segmentation method: a callable from a frame to its particles, options by keyword.

    It gets an image as float64 (H, W), a `Reconstruction` or a `Measurement` (full, or sparse if it takes such).
    """

    def __call__(  # noqa: D102
        self, image: NDArray[np.float64] | Reconstruction | Measurement, *, device: str
    ) -> Instances: ...


segmenters: Registry[Segmenter] = Registry("segmentation method")


def segment(
    image: ArrayLike | Reconstruction | Measurement,
    method: str = "mask-rcnn",
    *,
    pixel_size_nm: PixelSize | None = None,
    device: str = "auto",
    **options: Any,
) -> Instances:
    """Find the particles of an image.

    Parameters
    ----------
    image : array_like of shape (H, W), Reconstruction, or Measurement
        What to segment, any unit; bright or dark particles. A sparse scan is for networks whose mapping takes one.
    method : str
        A name from `segmenters.names`.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm; taken from the reconstruction or measurement if it knows it.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    **options
        Options of the method itself; an unknown one is an error.

    Returns
    -------
    Instances
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
    known = [name for name in inspect.signature(run).parameters if name not in ("image", "device")]
    for option in options:
        if option not in known:
            raise InputError(
                f"method {method!r} has no option {option!r}{nearest_name(option, known)}; "
                f"it takes {', '.join(known) if known else 'no options'}"
            )
    name = "frame"
    if isinstance(image, Reconstruction | Measurement):
        pixel_size_nm = image.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
        name = image.name
    if not isinstance(image, Reconstruction | Measurement):
        image = _as_image(image)
    found = run(image, device=device, **options)  # pyright: ignore[reportCallIssue]
    return Instances(
        found.labels,
        boxes=found.boxes,
        scores=found.scores,
        masks=found.masks,
        pixel_size_nm=pixel_size_nm,
        intensity=found.intensity,
        name=name,
        method=method,
        info=found.info,
    )


def full_image(image: NDArray[np.float64] | Reconstruction | Measurement) -> NDArray[np.float64]:
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


@segmenters.register("threshold", "background flattening, threshold at half height, watershed: the classical floor")
def threshold(
    image: NDArray[np.float64] | Reconstruction | Measurement,
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
