"""Where the beam goes, in which order, and what that costs in time and dose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
    pixel_size_pair,
)
from simulate.hardware import ScanHardware

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ELEMENTARY_CHARGE_C = 1.602176634e-19
"""Charge of the electron in coulomb (exact, SI 2019)."""
SHORTEST_DWELL_US, LONGEST_DWELL_US = 1e-6, 1e9
"""A picosecond to a quarter of an hour: what lies outside is a wrong unit."""


def electrons_per_us(beam_current_pA: float) -> float:
    """Return the electrons per µs of a beam current in pA (6.24 for 1 pA)."""
    return check_positive(beam_current_pA, "beam current", "give it in pA") * 1e-18 / ELEMENTARY_CHARGE_C


@dataclass(frozen=True, eq=False)
class ScanPath:
    """An ordered list of beam positions on a frame's pixel grid.

    A mask alone loses the order and the dwell times, which decide time, dose, drift and hysteresis; so the path is
    the primary object and gives the mask.

    Parameters
    ----------
    rows, cols : array_like of int, shape (N,)
        Pixel positions in visiting order. A position may be visited again.
    shape : (int, int)
        Frame shape (rows, columns).
    dwell_us : float or array_like, shape (N,)
        Dwell time in µs, the same at each position or one for each visit.
    scheme : str
        The name of the scheme that made the path.
    seed : int, optional
        The seed it was made with, if it was made from one.
    hardware : ScanHardware, optional
        What moves the beam: decides the time of jumps and where the beam lands.

    Examples
    --------
    >>> path = ScanPath([0, 0, 3], [0, 1, 5], (8, 8), dwell_us=10.0)
    >>> path.n_positions, path.ratio
    (3, 0.046875)
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    shape: tuple[int, int]
    dwell_us: float | NDArray[np.float64] = 10.0
    scheme: str = "custom"
    seed: int | None = None
    hardware: ScanHardware = field(default_factory=ScanHardware)

    def __post_init__(self) -> None:
        shape = check_shape(self.shape, "scan")
        rows, cols = _positions(self.rows, shape[0], "row"), _positions(self.cols, shape[1], "column")
        if rows.shape != cols.shape:
            raise InputError(f"scan has {rows.size} rows but {cols.size} columns; expected one of each per position")
        if rows.size == 0:
            raise InputError("scan visits no position; expected at least one")
        if not isinstance(self.hardware, ScanHardware):
            raise InputError(f"scan hardware is {self.hardware!r}; expected a ScanHardware, e.g. HARDWARE['slow']")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "cols", cols)
        object.__setattr__(self, "dwell_us", _dwell(self.dwell_us, rows.size))

    @property
    def n_positions(self) -> int:
        """How many positions the beam dwells at, repeated visits counted."""
        return int(self.rows.size)

    @property
    def flat(self) -> NDArray[np.int64]:
        """Row-major pixel index of each position, shape (N,)."""
        return self.rows * self.shape[1] + self.cols

    @property
    def dwells_us(self) -> NDArray[np.float64]:
        """Dwell time of each visit in µs, shape (N,)."""
        return np.broadcast_to(np.asarray(self.dwell_us, dtype=np.float64), self.rows.shape)

    @property
    def visits(self) -> NDArray[np.int64]:
        """How often each pixel is visited, shape (H, W)."""
        return np.bincount(self.flat, minlength=self.shape[0] * self.shape[1]).reshape(self.shape)

    @property
    def dwell_map_us(self) -> NDArray[np.float64]:
        """Time the beam dwells on each pixel in µs, all its visits together, shape (H, W)."""
        if np.ndim(self.dwell_us) == 0:
            return self.visits.astype(np.float64) * float(self.dwell_us)
        total = np.bincount(self.flat, self.dwells_us, minlength=self.shape[0] * self.shape[1])
        return total.astype(np.float64, copy=False).reshape(self.shape)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True where the beam dwells at least once, shape (H, W)."""
        mask = np.zeros(self.shape[0] * self.shape[1], dtype=np.bool_)
        mask[self.flat] = True
        return mask.reshape(self.shape)

    @property
    def ratio(self) -> float:
        """The realised sampling ratio: distinct pixels visited over all pixels."""
        return float(self.mask.mean())

    @property
    def jumps_px(self) -> NDArray[np.float64]:
        """Distance from the position before to each position in pixels, 0 for the first, shape (N,)."""
        return np.hypot(np.diff(self.rows, prepend=self.rows[:1]), np.diff(self.cols, prepend=self.cols[:1]))

    @property
    def travel_px(self) -> float:
        """Length of the whole way from the first position to the last in pixels."""
        return float(self.jumps_px.sum())

    @property
    def moves_us(self) -> NDArray[np.float64]:
        """Time before each dwell in which the beam moves and settles, in µs, 0 before the first, shape (N,)."""
        row_step, col_step = np.diff(self.rows, prepend=self.rows[:1]), np.diff(self.cols, prepend=self.cols[:1])
        wait = self.hardware.wait_us(np.hypot(row_step, col_step))
        flyback = (row_step > 0) & (col_step < 0) & (np.abs(col_step) > self.shape[1] // 2)
        return np.where(flyback, np.maximum(wait, self.hardware.flyback_us), wait)

    @property
    def starts_us(self) -> NDArray[np.float64]:
        """When each dwell begins, in µs from the first, shape (N,)."""
        return np.cumsum(self.moves_us + np.concatenate([[0.0], self.dwells_us[:-1]]))

    @property
    def frame_time_ms(self) -> float:
        """Time for the whole scan in ms: dwell, settling after every jump, and line fly-backs."""
        return float(self.dwells_us.sum() + self.moves_us.sum()) / 1000

    @property
    def beam_on_us(self) -> float:
        """Time the beam is on the specimen in µs: all dwells, and the jumps too unless the beam is blanked in them."""
        return float(self.dwells_us.sum() + (0.0 if self.hardware.blanked else self.moves_us.sum()))

    def electrons(self, beam_current_pA: float) -> float:
        r"""Return how many electrons hit the specimen during the scan, :math:`I t_\mathrm{on} / e`."""
        return electrons_per_us(beam_current_pA) * self.beam_on_us

    def dose_e_per_A2(self, beam_current_pA: float, pixel_size_nm: PixelSize) -> float:
        r"""Return the mean dose over the frame's area in e-/Å².

        .. math:: D = \frac{I \, t_\mathrm{on}}{e \, H W p_r p_c}

        with the time :math:`t_\mathrm{on}` of `beam_on_us`. A scanned pixel takes more: see `dose_e_per_pixel`.
        """
        if pixel_size_nm is None:
            raise InputError("pixel size is None; expected it in nm: a dose in e-/Å² needs it")
        row_nm, col_nm = pixel_size_pair(check_pixel_size(pixel_size_nm))
        return self.electrons(beam_current_pA) / (self.shape[0] * self.shape[1] * row_nm * col_nm * 100)

    def dose_e_per_pixel(self, beam_current_pA: float) -> NDArray[np.float64]:
        """Return how many electrons hit each pixel, shape (H, W); its sum is `electrons`.

        Jumps of an unblanked beam leave their dose along the straight line between their ends.
        """
        time_us = self.dwell_map_us
        if not self.hardware.blanked:
            from simulate.kernels.beam import trails

            trails(self.rows, self.cols, self.moves_us, time_us)
        return electrons_per_us(beam_current_pA) * time_us

    def landing(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        r"""Return where the beam really was: mean (rows, cols) during each dwell, in pixels, each of shape (N,).

        The deflection follows the signal through its hysteresis and then exponentially with the hardware's time
        constant :math:`\tau`. An error :math:`e` at the end of the wait leaves, over a dwell :math:`T`, the mean error

        .. math:: \bar e = e \, \frac{\tau}{T} \left(1 - e^{-T / \tau}\right).
        """
        hardware = self.hardware
        targets = [self.rows.astype(np.float64), self.cols.astype(np.float64)]
        if hardware.hysteresis_px > 0:
            from simulate.kernels.beam import play

            targets = [play(target, hardware.hysteresis_px) for target in targets]
        if hardware.lag_us > 0:
            from simulate.kernels.beam import lagging

            # While the deflection slews it moves at its top speed; only the rest of the wait lets it settle.
            relax = np.maximum(self.moves_us - self.jumps_px / hardware.slew_px_per_us, 0)
            dwells = np.array(self.dwells_us)  # writable: another flag would be another type to compile for
            targets = [lagging(target, relax, dwells, hardware.lag_us) for target in targets]
        return targets[0], targets[1]

    @property
    def landing_error_px(self) -> float:
        """Root mean square distance of the landing positions from where the beam was sent, in pixels."""
        rows, cols = self.landing()
        return float(np.sqrt(np.mean(np.square(rows - self.rows) + np.square(cols - self.cols))))

    def then(self, other: ScanPath) -> ScanPath:
        """Return the scan that goes on with the positions of another one on the same frame.

        Raises
        ------
        InputError
            If the frames' shapes differ.
        """
        check_kind(other, "the scan to go on with", ScanPath)
        if other.shape != self.shape:
            raise InputError(f"the scans are for frames of {self.shape} and {other.shape}; expected the same frame")
        same = np.ndim(self.dwell_us) == 0 and np.ndim(other.dwell_us) == 0 and self.dwell_us == other.dwell_us
        return replace(
            self,
            rows=np.concatenate([self.rows, other.rows]),
            cols=np.concatenate([self.cols, other.cols]),
            dwell_us=self.dwell_us if same else np.concatenate([self.dwells_us, other.dwells_us]),
        )


def _positions(values: ArrayLike, size: int, axis: str) -> NDArray[np.int64]:
    array = check_numbers(values, f"scan {axis}s")
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"scan {axis}s have type {array.dtype} and shape {array.shape}; expected a list of integers")
    if array.size and (array.min() < 0 or array.max() >= size):
        raise InputError(f"scan {axis}s run from {array.min()} to {array.max()}; expected 0 to {size - 1}")
    return array.astype(np.int64)


def _dwell(dwell_us: ArrayLike, n_positions: int) -> float | NDArray[np.float64]:
    if not isinstance(dwell_us, list | tuple) and np.ndim(dwell_us) == 0:
        dwell = check_positive(dwell_us, "dwell time", "give it in µs")  # pyright: ignore[reportArgumentType]
        check_within(dwell, "dwell time", SHORTEST_DWELL_US, LONGEST_DWELL_US)
        return dwell
    array = check_numbers(dwell_us, "dwell times")
    if array.shape != (n_positions,) or array.dtype.kind not in "iuf":
        raise InputError(
            f"dwell times have shape {array.shape} for {n_positions} positions; expected one number, or one per visit"
        )
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise InputError(f"dwell times run from {array.min():g} to {array.max():g} µs; expected finite numbers above 0")
    if array.min() < SHORTEST_DWELL_US or array.max() > LONGEST_DWELL_US:
        raise InputError(
            f"dwell times run from {array.min():g} to {array.max():g} µs; expected {SHORTEST_DWELL_US:g} to "
            f"{LONGEST_DWELL_US:g} µs: are they in another unit?"
        )
    return array.astype(np.float64)
