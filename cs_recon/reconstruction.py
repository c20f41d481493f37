"""The result of a reconstruction, the protocol every method follows, and the one call that runs any of them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from simulate.errors import InputError, PixelSize, nearest_name
from simulate.measurement import Measurement
from simulate.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A full image computed from a sparse scan.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        The image, in the units of the measurement.
    sigma : ndarray of float32, shape (H, W), optional
        Per-pixel standard deviation of the image's error, same units; None where the method gives none.
    method : str
        The method's name.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm.
    features : dict of str to (torch.Tensor, int)
        Named feature maps (1, C, h, w) with their stride in pixels, of methods that have any.
    trace : dict of str to list of float
        What an iterative method recorded at each iteration (e.g. ``"objective"``).
    info : dict
        Settings actually used (chosen parameters, iterations, weights hash), for provenance.
    name : str
        The measurement's name.
    """

    image: NDArray[np.float32]
    sigma: NDArray[np.float32] | None
    method: str
    pixel_size_nm: PixelSize | None = None
    features: dict[str, tuple[torch.Tensor, int]] = field(default_factory=dict)
    trace: dict[str, list[float]] = field(default_factory=dict)
    info: dict[str, object] = field(default_factory=dict)
    name: str = "scan"


class Reconstructor(Protocol):
    """A reconstruction method: a callable from a measurement to a reconstruction, options by keyword."""

    def __call__(self, measurement: Measurement, *, device: str) -> Reconstruction: ...  # noqa: D102


reconstructors: Registry[Reconstructor] = Registry("reconstruction method")


def reconstruct(
    measurement: Measurement, method: str = "unrolled-ista", *, device: str = "auto", **options: Any
) -> Reconstruction:
    """Reconstruct the full image from a sparse scan.

    Parameters
    ----------
    measurement : Measurement
        The sparse (or full) scan.
    method : str
        A name from `reconstructors.names`.
    device : {"auto", "cpu", "cuda"}
        Where to compute; "auto" takes a GPU if there is one.
    **options
        Options of the method itself; an unknown one is an error.

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        For an unknown method or option, or a device that is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import measure, scan_path
    >>> frame = np.add.outer(np.arange(32.0), np.arange(32.0))
    >>> scan = measure(frame, scan_path("random", (32, 32), 0.25, rng=0))
    >>> bool(np.abs(reconstruct(scan, "linear").image - frame).mean() < 0.5)
    True
    """
    if not isinstance(measurement, Measurement):
        raise InputError(
            f"got {type(measurement).__name__} to reconstruct; expected a Measurement: "
            "Measurement(values, mask) makes one"
        )
    run = reconstructors[method]
    known = [name for name in inspect.signature(run).parameters if name not in ("measurement", "device")]
    for name in options:
        if name not in known:
            raise InputError(
                f"method {method!r} has no option {name!r}{nearest_name(name, known)}; "
                f"it takes {', '.join(known) if known else 'no options'}"
            )
    return run(measurement, device=device, **options)  # pyright: ignore[reportCallIssue]
