"""What a format's loader hands to the reader: the arrays as they lie in the file, and the way to one grey frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.errors import InputError, PixelSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LUMINANCE = (0.2125, 0.7154, 0.0721)


@dataclass(frozen=True, eq=False)
class Raw:
    """Frames as a file holds them, in the file's own type.

    Parameters
    ----------
    data : ndarray
        (H, W), a stack (N, H, W), or values alone (N,); with a last axis of channels if `channels`.
    pixel_size_nm : float or (float, float), optional
        The file's calibration, not yet checked.
    channels : bool
        True if the last axis of `data` holds grey + alpha, RGB or RGBA.
    extra : dict
        Further fields of `Measurement` that the file gives: mask, exposure, noise.
    """

    data: NDArray[Any]
    pixel_size_nm: PixelSize | None = None
    channels: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> NDArray[Any]:
        """The data as a stack (N, H, W), with a last axis of channels if there are any; a view."""
        frame_dims = 2 + self.channels
        return self.data if self.data.ndim > frame_dims else self.data[np.newaxis]


def raw_array(array: NDArray[Any], pixel_size_nm: PixelSize | None = None, **extra: Any) -> Raw:
    """Interpret a bare array by its shape: (H, W), (N, H, W), each also with 2-4 channels last, or values (N,).

    No frame is less than 8 pixels wide, so that a last axis of 2, 3 or 4 can only be channels.
    """
    channels = array.ndim >= 3 and array.shape[-1] in (2, 3, 4)
    dims = array.ndim - channels
    if dims > 3 or array.ndim == 0:
        raise InputError(
            f"array has shape {array.shape}; expected an image (H, W) or a stack (N, H, W): "
            "4D-STEM and other data cubes are not images, save a virtual or detector image instead"
        )
    return Raw(array, pixel_size_nm, channels, extra)


def transparent() -> InputError:
    """Return the error of an image through which one can see."""
    return InputError("image is partly transparent; expected an opaque image: flatten it first")


def grey_frame(frame: NDArray[Any], grey: bool) -> NDArray[Any]:
    r"""Return the grey image (H, W) of a frame with channels (H, W, C).

    Channels that are all equal are a grey image. Others are refused, or converted with
    :math:`0.2125 R + 0.7154 G + 0.0721 B` (the luminance of ITU-R BT.709) if `grey`.
    """
    n_channels = frame.shape[-1]
    if n_channels > 4:
        raise InputError(f"image has {n_channels} channels; expected one grey channel: save the channel you want alone")
    if n_channels in (2, 4):
        alpha = frame[..., -1]
        opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1
        if not (alpha == opaque).all():
            raise transparent()
        frame = frame[..., :-1]
    if all(np.array_equal(frame[..., 0], frame[..., k]) for k in range(1, frame.shape[-1])):
        return frame[..., 0]
    if not grey:
        raise InputError(
            f"colour image with {frame.shape[-1]} differing channels; expected one grey channel: "
            "use --grey (grey=True) to convert it by luminance"
        )
    return sum(weight * frame[..., k].astype(np.float64) for k, weight in enumerate(LUMINANCE))  # pyright: ignore[reportReturnType]


def choose(names: Sequence[str], signal: str | int | None, what: str, details: Sequence[str] = ()) -> int:
    """Return the index of the one wanted among several signals (images, channels) of a file.

    What `details` say of each is only told with its name.
    """
    told = ", ".join(name + detail for name, detail in zip(names, details or [""] * len(names), strict=True))
    if signal is None:
        if len(names) == 1:
            return 0
        raise InputError(
            f"holds {len(names)} {what} ({told}); expected one: choose with signal= or --signal (its name or number)"
        )
    if isinstance(signal, str) and not signal.isdecimal():
        if names.count(signal) == 1:
            return names.index(signal)
    elif 0 <= int(signal) < len(names):
        return int(signal)
    raise InputError(f"has no single signal {signal!r}; expected a number from 0 to {len(names) - 1} or one of {told}")
