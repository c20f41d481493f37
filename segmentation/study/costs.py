"""What scans of a scheme cost, in time and dose, between the sampling ratios at which they were made."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.errors import InputError
from simulate.scan import electrons_per_us
from simulate.schemes import scan_path, schemes

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from segmentation.study.config import ScanChoice
    from simulate.hardware import ScanHardware

PATH_SEED = 1
NEAR = 1.3
"""Between ratios further apart than this factor the costs of further paths are found: jumps change with the ratio."""


@dataclass(frozen=True, eq=False)
class ScanCosts:
    r"""Time and dose of a scheme's scans on a frame.

    .. math:: t = N T + t_\mathrm{moves}, \qquad D = I\,(N T\,[+\,t_\mathrm{moves}]) / (e A)

    with N samples of dwell time T, repeated visits among them; the jumps cost dose too unless the beam is blanked in
    them.

    Attributes
    ----------
    shape : (int, int)
        Of the frame, in pixels.
    how : ScanChoice
        Current and hardware.
    studied : ndarray
        Ratios of the study that can be scanned.
    ratios, log_visits, log_moves_ms : ndarray, shape (K,)
        Samples per pixel of the frame, and the time of all jumps and fly-backs, at those ratios and some between.
    pixel_size_nm : float, optional
        None where it is not known: doses in e-/Å² are then NaN.
    left_out : dict of float to str
        Ratios that cannot be scanned or whose costs are not known, each with why.
    """

    shape: tuple[int, int]
    how: ScanChoice
    studied: NDArray[np.float64]
    ratios: NDArray[np.float64]
    log_visits: NDArray[np.float64]
    log_moves_ms: NDArray[np.float64]
    pixel_size_nm: float | None = None
    left_out: dict[float, str] = field(default_factory=dict)

    def dwell_us(self, counts: ArrayLike) -> NDArray[np.float64]:
        """Return the dwell times that give the peak counts."""
        return self.how.dwell_us_for(counts)

    def current_pA(self, counts: ArrayLike) -> NDArray[np.float64]:
        """Return the beam currents that give them: less than the study's where its dwell times would be too short."""
        return self.how.beam_current_pA * self.how.brightness(counts)

    def time_ms(self, ratio: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        """Return frame times in ms."""
        return self._samples_ms(ratio, counts) + self._moves_ms(ratio)

    def dose(self, ratio: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        """Return doses in e-/Å²; without beam current or pixel size in electrons detected per pixel of the frame."""
        on = self._samples_ms(ratio, counts) + (0.0 if self.how.blanked else self._moves_ms(ratio))
        n_pixels = self.shape[0] * self.shape[1]
        if self.in_electrons:
            assert self.pixel_size_nm is not None
            electrons = 1000 * on * electrons_per_us(1.0) * self.current_pA(counts)
            return electrons / (n_pixels * (10 * self.pixel_size_nm) ** 2)
        return np.asarray(counts) * 1000 * on / (n_pixels * self.dwell_us(counts))

    @property
    def in_electrons(self) -> bool:
        """Whether doses are in e-/Å²."""
        return self.how.beam_current_pA > 0 and self.pixel_size_nm is not None

    @property
    def dose_unit(self) -> str:
        """Of `dose`."""
        return "e-/Å²" if self.in_electrons else "electrons detected per pixel"

    def _samples_ms(self, ratio: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        visits = np.exp(np.interp(np.log(ratio), np.log(self.ratios), self.log_visits))
        return visits * self.shape[0] * self.shape[1] * self.dwell_us(counts) / 1000

    def _moves_ms(self, ratio: ArrayLike) -> NDArray[np.float64]:
        return np.exp(np.interp(np.log(ratio), np.log(self.ratios), self.log_moves_ms))


def scan_costs_of(
    scheme: str, rows: pd.DataFrame, how: ScanChoice, shape: tuple[int, int], pixel_size_nm: float | None
) -> ScanCosts:
    """Return the costs of a scheme on a frame of `shape`.

    Paths are planned on that frame. Those of schemes that are guided by a prior, or by what they have scanned, cannot
    be without it: their jumps take as long per sample as in the study's `rows`, and they visit no pixel twice.
    """
    untyped: Any = rows
    planned = scheme in schemes.names and not schemes[scheme].needs_prior
    known, left_out = {}, {}
    for ratio in np.sort(untyped["ratio"].unique()).tolist():
        try:
            if planned:
                known[ratio] = _of_path(scheme, ratio, how.scan_hardware, shape)
            else:
                known[ratio] = _of_rows(untyped[untyped["ratio"] == ratio], ratio, shape)
        except InputError as error:
            left_out[ratio] = str(error)
    studied = np.array(list(known), dtype=np.float64)
    for ratio in _between(studied) if planned else []:
        with suppress(InputError):  # no scan of that ratio: costs there are read off its neighbours
            known[ratio] = _of_path(scheme, ratio, how.scan_hardware, shape)
    ratios = np.sort(np.array(list(known), dtype=np.float64))
    visits, moves = np.array([known[ratio] for ratio in ratios], dtype=np.float64).reshape(-1, 2).T
    moves = np.log(np.maximum(moves, 1e-12))
    return ScanCosts(shape, how, studied, ratios, np.log(visits), moves, pixel_size_nm, left_out)


def _between(ratios: NDArray[np.float64]) -> list[float]:
    """Return ratios between those that are far apart."""
    return [
        float(ratio)
        for low, high in pairwise(ratios)
        for ratio in np.geomspace(low, high, 1 + math.ceil(np.log(high / low) / np.log(NEAR)))[1:-1]
    ]


@lru_cache(maxsize=256)
def _of_path(scheme: str, ratio: float, hardware: ScanHardware, shape: tuple[int, int]) -> tuple[float, float]:
    """Return samples per pixel and the time of all moves in ms, by the scan's path."""
    path = scan_path(scheme, shape, ratio, rng=PATH_SEED, hardware=hardware)
    return path.n_positions / (shape[0] * shape[1]), float(path.moves_us.sum()) / 1000


def _of_rows(rows: Any, ratio: float, shape: tuple[int, int]) -> tuple[float, float]:
    """Return the same by the study's rows; `InputError` if none of them has costs."""
    each = (rows["frame_time_ms"] - rows["n_positions"] * rows["dwell_us"] / 1000) / rows["n_positions"]
    if each.isna().all():
        raise InputError(f"all its cases failed, the first by {rows['error'].iloc[0]}")
    return ratio, float(each.mean()) * ratio * shape[0] * shape[1]
