"""Where the beam goes, in which order, and what that costs in time and dose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, PixelSize, check_pixel_size, check_positive, check_shape, pixel_size_pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ELEMENTARY_CHARGE_C = 1.602176634e-19
"""Charge of the electron in coulomb (exact, SI 2019)."""


@dataclass(frozen=True)
class ScanTiming:
    """How fast a scan system is. Defaults are those of a conventional scan generator; a fast one settles sooner.

    Parameters
    ----------
    settling_us : float
        Time the beam needs to settle after a jump to a pixel that is not the next one on the line, in µs.
    flyback_us : float
        Extra time for a jump back to an earlier column on a later row (line fly-back), in µs.
    """

    settling_us: float = 1.0
    flyback_us: float = 50.0

    def __post_init__(self) -> None:
        for name in ("settling_us", "flyback_us"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"{name} is {value}; expected a finite time of at least 0 µs")


@dataclass(frozen=True, eq=False)
class ScanPath:
    """An ordered list of beam positions on a frame's pixel grid.

    A mask alone loses the order and the dwell time, which decide time, dose, drift and hysteresis; so the path is
    the primary object and gives the mask.

    Parameters
    ----------
    rows, cols : array_like of int, shape (N,)
        Pixel positions in visiting order. A position may be visited again.
    shape : (int, int)
        Frame shape (rows, columns).
    dwell_us : float
        Dwell time at each position, in µs.
    scheme : str
        The name of the scheme that made the path.
    seed : int, optional
        The seed it was made with, if it was made from one.

    Examples
    --------
    >>> path = ScanPath([0, 0, 3], [0, 1, 5], (8, 8), dwell_us=10.0)
    >>> path.n_positions, path.ratio
    (3, 0.046875)
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    shape: tuple[int, int]
    dwell_us: float = 10.0
    scheme: str = "custom"
    seed: int | None = None
    timing: ScanTiming = field(default_factory=ScanTiming)

    def __post_init__(self) -> None:
        shape = check_shape(self.shape, "scan")
        rows, cols = _positions(self.rows, shape[0], "row"), _positions(self.cols, shape[1], "column")
        if rows.shape != cols.shape:
            raise InputError(f"scan has {rows.size} rows but {cols.size} columns; expected one of each per position")
        if rows.size == 0:
            raise InputError("scan visits no position; expected at least one")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "cols", cols)
        object.__setattr__(self, "dwell_us", check_positive(self.dwell_us, "dwell time", "give it in µs"))

    @property
    def n_positions(self) -> int:
        """How many positions the beam dwells at, repeated visits counted."""
        return int(self.rows.size)

    @property
    def visits(self) -> NDArray[np.int64]:
        """How often each pixel is visited, shape (H, W)."""
        flat = np.bincount(self.rows * self.shape[1] + self.cols, minlength=self.shape[0] * self.shape[1])
        return flat.reshape(self.shape)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True where the beam dwells at least once, shape (H, W)."""
        return self.visits > 0

    @property
    def ratio(self) -> float:
        """The realised sampling ratio: distinct pixels visited over all pixels."""
        return float(self.mask.mean())

    @property
    def frame_time_ms(self) -> float:
        """Time for the whole scan in ms: dwell, settling after every jump, and line fly-backs."""
        row_step, col_step = np.diff(self.rows), np.diff(self.cols)
        jumps = int(np.count_nonzero((np.abs(row_step) + np.abs(col_step)) > 1))
        flybacks = int(np.count_nonzero((row_step > 0) & (col_step < 0) & (np.abs(col_step) > self.shape[1] // 2)))
        total_us = self.n_positions * self.dwell_us + jumps * self.timing.settling_us
        return (total_us + flybacks * self.timing.flyback_us) / 1000

    def dose_e_per_A2(self, beam_current_pA: float, pixel_size_nm: PixelSize) -> float:
        r"""Return the mean dose over the frame in e-/Å², dwell time only (the beam blanked between positions).

        .. math:: D = \frac{I \, N \, \tau}{e \, H W p_r p_c}
        """
        current = check_positive(beam_current_pA, "beam current", "give it in pA")
        row_nm, col_nm = pixel_size_pair(check_pixel_size(pixel_size_nm))
        electrons = current * 1e-12 * self.n_positions * self.dwell_us * 1e-6 / ELEMENTARY_CHARGE_C
        area_A2 = self.shape[0] * self.shape[1] * row_nm * col_nm * 100
        return electrons / area_A2


def _positions(values: ArrayLike, size: int, axis: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"scan {axis}s have type {array.dtype} and shape {array.shape}; expected a list of integers")
    if array.size and (array.min() < 0 or array.max() >= size):
        raise InputError(f"scan {axis}s run from {array.min()} to {array.max()}; expected 0 to {size - 1}")
    return array.astype(np.int64)
