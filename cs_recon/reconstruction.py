"""The result of a reconstruction, the protocol every method follows, and the one call that runs any of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np

from cs_recon.device import pick_device
from simulate.errors import InputError, PixelSize, check_count
from simulate.measurement import Measurement
from simulate.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, repr=False)
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
    scan : Measurement, optional
        What it was computed from.
    widened_by : float
        The standard deviation that the samples told of beyond what the method did, same units: its square is part of
        that of `sigma`, everywhere.
    """

    image: NDArray[np.float32]
    sigma: NDArray[np.float32] | None
    method: str
    pixel_size_nm: PixelSize | None = None
    features: dict[str, tuple[torch.Tensor, int]] = field(default_factory=dict)
    trace: dict[str, list[float]] = field(default_factory=dict)
    info: dict[str, object] = field(default_factory=dict)
    name: str = "scan"
    scan: Measurement | None = None
    widened_by: float = 0.0

    @property
    def own_sigma(self) -> NDArray[np.float32] | None:
        """Sigma before it was widened: where errors are, as the method tells; intervals are those of `sigma`."""
        if self.sigma is None or not self.widened_by:
            return self.sigma
        variance = self.sigma.astype(np.float64) ** 2 - self.widened_by**2
        return np.sqrt(np.maximum(variance, 0)).astype(np.float32)

    def __repr__(self) -> str:
        rows, cols = self.image.shape
        scanned = "" if self.scan is None else f", {self.scan.ratio:.3g} of the pixels scanned"
        with_sigma = "" if self.sigma is None else ", with sigma"
        return f"Reconstruction({self.name!r}: {rows} x {cols} by {self.method}{with_sigma}{scanned})"


class Reconstructor(Protocol):
    """A reconstruction method: from scans of one shape to their reconstructions in the same order, options by keyword.

    A solver that works on batches is one as it is; a function of a single scan becomes one by
    ``reconstructors.register_each``.
    """

    def __call__(self, measurements: Sequence[Measurement], /, *, device: str) -> list[Reconstruction]: ...  # noqa: D102


reconstructors: Registry[Reconstructor] = Registry("reconstruction method")


def result(
    measurement: Measurement,
    image: NDArray,
    method: str,
    *,
    sigma: NDArray | None = None,
    trace: dict[str, list[float]] | None = None,
    info: dict[str, object] | None = None,
) -> Reconstruction:
    """Return the reconstruction of a scan, with what the measurement knows carried along."""
    return Reconstruction(
        image.astype(np.float32),
        None if sigma is None else sigma.astype(np.float32),
        method,
        pixel_size_nm=measurement.pixel_size_nm,
        trace=trace or {},
        info=info or {},
        name=measurement.name,
        scan=measurement,
    )


@overload
def reconstruct(
    measurement: Measurement, method: str = ..., *, device: str = ..., batch_size: int = ..., **options: Any
) -> Reconstruction: ...
@overload
def reconstruct(
    measurement: Sequence[Measurement], method: str = ..., *, device: str = ..., batch_size: int = ..., **options: Any
) -> list[Reconstruction]: ...
def reconstruct(
    measurement: Measurement | Sequence[Measurement],
    method: str = "unrolled-ista",
    *,
    device: str = "auto",
    batch_size: int = 8,
    **options: Any,
) -> Reconstruction | list[Reconstruction]:
    """Reconstruct the full image from a sparse scan, or those of many scans.

    Parameters
    ----------
    measurement : Measurement or sequence of Measurement
        The sparse (or full) scan. Scans of a sequence may differ in shape; those of one shape are computed together by
        the methods that can.
    method : str
        A name from `reconstructors.names`.
    device : {"auto", "cpu", "cuda"}
        Where to compute; "auto" takes a GPU if there is one.
    batch_size : int
        How many scans of a sequence are computed together at most.
    **options
        Options of the method itself; an unknown one is an error.

    Returns
    -------
    Reconstruction, or a list of them in the order of the sequence

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
    >>> [result.method for result in reconstruct([scan, scan], "nearest")]
    ['nearest', 'nearest']
    """
    single = isinstance(measurement, Measurement)
    scans = [measurement] if single else _checked(measurement)
    run = reconstructors[method]
    reconstructors.check_options(method, options)
    check_count(batch_size, "batch_size", 1)
    pick_device(device)
    results: list[Reconstruction | None] = [None] * len(scans)
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, scan in enumerate(scans):
        by_shape.setdefault(scan.shape, []).append(index)
    for indices in by_shape.values():
        for start in range(0, len(indices), int(batch_size)):
            chosen = indices[start : start + int(batch_size)]
            done = run([scans[index] for index in chosen], device=device, **options)  # pyright: ignore[reportCallIssue]
            for index, one in zip(chosen, done, strict=True):
                results[index] = one
    return results[0] if single else results  # pyright: ignore[reportReturnType]


def _checked(measurements: Any) -> list[Measurement]:
    scans = list(measurements) if isinstance(measurements, list | tuple) else [measurements]
    for scan in scans:
        if not isinstance(scan, Measurement):
            raise InputError(
                f"got {type(scan).__name__} to reconstruct; expected a Measurement: Measurement(values, mask) makes one"
            )
    return scans
