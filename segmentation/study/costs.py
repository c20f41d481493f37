"""What scans of a scheme cost, in time and dose, between the sampling ratios at which they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.scan import electrons_per_us
from simulate.schemes import scan_path, schemes

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from segmentation.study.config import ScanChoice

PATH_SEED = 1


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
    log_ratios, log_visits, log_moves_ms : ndarray, shape (K,)
        Samples per pixel of the frame, and the time of all jumps and fly-backs, at some ratios.
    pixel_size_nm : float, optional
        None where it is not known: doses in e-/Å² are then NaN.
    """

    shape: tuple[int, int]
    how: ScanChoice
    log_ratios: NDArray[np.float64]
    log_visits: NDArray[np.float64]
    log_moves_ms: NDArray[np.float64]
    pixel_size_nm: float | None = None

    def dwell_us(self, counts: ArrayLike) -> NDArray[np.float64]:
        """Return the dwell times that give the peak counts."""
        unit = self.how.reference_dwell_us(1.0)
        return unit * np.asarray(counts) if self.how.beam_current_pA else np.full(np.shape(counts), unit)

    def time_ms(self, ratio: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        """Return frame times in ms."""
        return self._samples_ms(ratio, counts) + self._moves_ms(ratio)

    def dose(self, ratio: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        """Return doses in e-/Å²; without beam current or pixel size in electrons detected per pixel of the frame."""
        on = self._samples_ms(ratio, counts) + (0.0 if self.how.blanked else self._moves_ms(ratio))
        n_pixels = self.shape[0] * self.shape[1]
        if self.in_electrons:
            assert self.pixel_size_nm is not None
            return 1000 * on * electrons_per_us(self.how.beam_current_pA) / (n_pixels * (10 * self.pixel_size_nm) ** 2)
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
        visits = np.exp(np.interp(np.log(ratio), self.log_ratios, self.log_visits))
        return visits * self.shape[0] * self.shape[1] * self.dwell_us(counts) / 1000

    def _moves_ms(self, ratio: ArrayLike) -> NDArray[np.float64]:
        return np.exp(np.interp(np.log(ratio), self.log_ratios, self.log_moves_ms))


def scan_costs_of(
    scheme: str, rows: pd.DataFrame, how: ScanChoice, shape: tuple[int, int], pixel_size_nm: float | None
) -> ScanCosts:
    """Return the costs of a scheme on a frame of `shape`.

    Paths are planned on that frame. Those of schemes that are guided by a prior, or by what they have scanned, cannot
    be without it: their jumps take as long per sample as in the study's `rows`, and they visit no pixel twice.
    """
    untyped: Any = rows
    ratios = np.sort(untyped["ratio"].unique())
    n_pixels = shape[0] * shape[1]
    visits, moves = [], []
    for ratio in ratios:
        if scheme in schemes.names and not schemes[scheme].needs_prior:
            path = scan_path(scheme, shape, float(ratio), rng=PATH_SEED, hardware=how.scan_hardware)
            visits.append(path.n_positions / n_pixels)
            moves.append(float(path.moves_us.sum()) / 1000)
        else:
            like = untyped[untyped["ratio"] == ratio]
            each = (like["frame_time_ms"] - like["n_positions"] * like["dwell_us"] / 1000) / like["n_positions"]
            visits.append(float(ratio))
            moves.append(float(each.mean()) * ratio * n_pixels)
    return ScanCosts(shape, how, np.log(ratios), np.log(visits), np.log(np.maximum(moves, 1e-12)), pixel_size_nm)
