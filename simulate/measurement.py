"""What the microscope gives back: sparse values with everything needed to interpret them.

`Measurement` is defined here, below every package that uses it, and is public as `cs_recon.Measurement` too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import (
    InputError,
    PixelSize,
    check_kind,
    check_numbers,
    check_pixel_size,
    check_positive,
    check_shape,
    check_within,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from simulate.scan import ScanPath

LARGEST_VALUE = 1e30
PASS = "adaptive pass"
"""The scheme of a scan that is but one of several passes over a frame, which may meet no contrast by itself."""
LARGEST_EXPOSURE_RATIO = 1e6
"""Between the longest and the shortest exposure of a scan."""


@dataclass(frozen=True, eq=False)
class Measurement:
    r"""A sparse (or full) scan: values where the mask is true, and nothing elsewhere.

    The mask alone says what was scanned; a value of zero is a count like any other. The noise of a value is

    .. math:: \mathrm{Var}(v) = \frac{(v - b) / c + \sigma^2}{e}

    with the counts per unit :math:`c`, the black level :math:`b`, the read noise :math:`\sigma` and the relative
    exposure :math:`e` of its pixel.

    Parameters
    ----------
    values : array_like
        Either (H, W), of which only the entries under the mask are read, or (N,), the N sampled values in
        row-major order of the mask. Any unit. Stored as float64 (H, W) with zeros outside the mask.
    mask : array_like of bool, shape (H, W)
        True where the pixel was scanned.
    pixel_size_nm : float or (float, float), optional
        Edge length of a pixel in nm, or (row, column) lengths; None if unknown.
    counts_per_unit : float, optional
        Detected electrons per unit of `values` (:math:`c`), if known; the noise is estimated from the values if not.
    black_level : float, optional
        The value that zero electrons give (:math:`b`), in units of `values`.
    read_noise : float, optional
        Standard deviation of the signal-independent noise (:math:`\sigma`), in units of `values`.
    exposure : array_like, shape (H, W), optional
        Relative exposure of each scanned pixel (dwell time or number of visits); 1 everywhere if None.
    path : ScanPath, optional
        The scan that took the values, if known.
    name : str, optional
        What to call this measurement in figures and files.
    noise_is_estimated : bool
        Whether counts and noise were estimated from the samples (by `cs_recon.with_noise`). Who tells them afterwards
        tells this too: False.

    Raises
    ------
    InputError
        If shapes differ, the mask samples nothing, a sampled value is not finite, or all are equal.

    Examples
    --------
    >>> import numpy as np
    >>> frame = np.arange(64.0).reshape(8, 8)
    >>> measurement = Measurement(frame, frame % 2 == 0, pixel_size_nm=0.5)
    >>> measurement.ratio
    0.5
    """

    values: NDArray[np.float64]
    mask: NDArray[np.bool_]
    pixel_size_nm: PixelSize | None = None
    counts_per_unit: float | None = None
    black_level: float = 0.0
    read_noise: float = 0.0
    exposure: NDArray[np.float64] | None = None
    path: ScanPath | None = None
    name: str = "scan"
    noise_is_estimated: bool = False

    def __post_init__(self) -> None:
        mask = check_mask(self.mask)
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "values", _sampled_values(self.values, mask, flat=self._is_pass))
        object.__setattr__(self, "pixel_size_nm", check_pixel_size(self.pixel_size_nm))
        if self.counts_per_unit is not None:
            object.__setattr__(self, "counts_per_unit", check_positive(self.counts_per_unit, "counts_per_unit"))
        check_within(self.black_level, "black_level", -LARGEST_VALUE, LARGEST_VALUE)
        check_within(self.read_noise, "read_noise", 0, LARGEST_VALUE)
        for name in ("black_level", "read_noise"):
            object.__setattr__(self, name, float(getattr(self, name)))
        check_kind(self.noise_is_estimated, "noise_is_estimated", bool)
        if self.exposure is not None:
            object.__setattr__(self, "exposure", _exposure(self.exposure, mask))

    @property
    def _is_pass(self) -> bool:
        return self.path is not None and self.path.scheme == PASS

    @property
    def shape(self) -> tuple[int, int]:
        """Frame shape (rows, columns)."""
        rows, cols = self.mask.shape
        return rows, cols

    @property
    def samples(self) -> NDArray[np.float64]:
        """The sampled values, shape (N,), in row-major order of the mask."""
        return self.values[self.mask]

    @property
    def ratio(self) -> float:
        """The share of pixels that were scanned, in (0, 1]."""
        return float(self.mask.mean())

    @property
    def noise_is_known(self) -> bool:
        """True if the counts or the read noise say how noisy a value is."""
        return self.counts_per_unit is not None or self.read_noise > 0

    @property
    def noise_is_told(self) -> bool:
        """True if it is known, and not from the samples themselves."""
        return self.noise_is_known and not self.noise_is_estimated

    def noise_sigma(self, signal: ArrayLike) -> NDArray[np.float64]:
        """Return the standard deviation of a value measured where the true signal is `signal`, at exposure 1."""
        variance = np.full(np.shape(signal), self.read_noise**2, dtype=np.float64)
        if self.counts_per_unit is not None:
            variance += np.maximum(np.asarray(signal, dtype=np.float64) - self.black_level, 0) / self.counts_per_unit
        return np.sqrt(variance)


def join_measurements(first: Measurement, second: Measurement, path: ScanPath) -> Measurement:
    """Return two scans of one frame as one, with the path that made both.

    Raises
    ------
    InputError
        If frame, unit or noise differ, or a pixel is in both.
    """
    if first.shape != second.shape or (first.mask & second.mask).any():
        raise InputError("the scans are of different frames, or share pixels; expected disjoint scans of one frame")
    for name in ("pixel_size_nm", "counts_per_unit", "black_level", "read_noise", "noise_is_estimated"):
        if getattr(first, name) != getattr(second, name):
            raise InputError(
                f"the scans have {name} {getattr(first, name)} and {getattr(second, name)}; expected the same: "
                "were they taken with the same settings?"
            )
    scales = [float(scan.path.dwells_us.mean()) for scan in (first, second) if scan.path is not None]
    if scales and max(scales) > 1.000001 * min(scales):
        raise InputError(
            f"the scans have mean dwell times of {scales[0]:g} and {scales[-1]:g} µs, to which counts are relative; "
            "expected the same"
        )
    exposure = None
    if first.exposure is not None or second.exposure is not None:
        parts = [scan.mask if scan.exposure is None else scan.exposure for scan in (first, second)]
        exposure = np.asarray(parts[0], dtype=np.float64) + parts[1]
    values = first.values + second.values  # each is 0 where the other was scanned
    return replace(first, values=values, mask=first.mask | second.mask, exposure=exposure, path=path)


def check_mask(mask: ArrayLike) -> NDArray[np.bool_]:
    """Return a 2-D boolean mask that samples something, or raise `InputError`."""
    array = check_numbers(mask, "mask")
    check_shape(array.shape, "mask")
    if array.dtype != np.bool_:
        if not np.isfinite(array).all():
            raise InputError("mask holds NaN or infinite entries; expected 0 (not scanned) and one other value")
        found = np.unique(array)
        if found.size > 2 or (found.size == 2 and found[0] != 0):
            raise InputError(
                f"mask holds {found.size} different values ({found[0]} to {found[-1]}); expected two: 0 (not scanned) "
                "and one other (scanned)"
            )
        array = array != 0
    if not array.any():
        raise InputError("mask samples no pixel; expected at least one true (non-zero) entry")
    return np.array(array, dtype=np.bool_)


def _sampled_values(values: ArrayLike, mask: NDArray[np.bool_], *, flat: bool) -> NDArray[np.float64]:
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            "values are a numpy masked array; expected plain values and a mask: pass values.data and ~values.mask"
        )
    array = check_numbers(values, "values")
    if array.shape == (int(mask.sum()),):
        samples = array.astype(np.float64)
    elif array.shape == mask.shape:
        samples = array[mask].astype(np.float64)
    else:
        raise InputError(
            f"values have shape {array.shape} but the mask has shape {mask.shape} and samples {int(mask.sum())} "
            "pixels; expected values of the mask's shape, or one value per sampled pixel"
        )
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise InputError(
            f"{bad} of {samples.size} sampled values are NaN or infinite; expected finite numbers: "
            "take those pixels out of the mask"
        )
    if np.abs(samples).max() > LARGEST_VALUE:
        raise InputError(
            f"sampled values reach {np.abs(samples).max():.3g}; expected at most {LARGEST_VALUE:g}, which images in "
            "single precision can hold: divide the values"
        )
    if not flat and samples.size > 1 and samples.min() == samples.max():
        raise InputError(
            f"all {samples.size} sampled values equal {samples.flat[0]:g}; expected a frame with contrast: "
            "is the file blank or the wrong channel?"
        )
    full = np.zeros(mask.shape, dtype=np.float64)
    full[mask] = samples
    return full


def _exposure(exposure: ArrayLike, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    array = check_numbers(exposure, "exposure").astype(np.float64)
    if array.shape != mask.shape:
        raise InputError(f"exposure has shape {array.shape}; expected the mask's shape {mask.shape}")
    sampled = array[mask]
    if not (np.isfinite(sampled).all() and (sampled > 0).all()):
        raise InputError("exposure of a scanned pixel is not a finite number above 0; expected a relative dwell time")
    if sampled.max() > LARGEST_EXPOSURE_RATIO * sampled.min():
        raise InputError(
            f"exposures go from {sampled.min():.3g} to {sampled.max():.3g}; expected a range of at most "
            f"{LARGEST_EXPOSURE_RATIO:g}: take pixels that were hardly exposed out of the mask"
        )
    return np.where(mask, array, 0.0)
