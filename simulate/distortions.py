"""Where the beam meets the specimen: scan-line noise, drift and fly-back on top of the deflector's lag."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, check_rng, check_within, is_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.scan import ScanPath


@dataclass(frozen=True)
class Distortion:
    r"""How much a scan is distorted. All amounts are zero to begin with.

    A visit that begins at the time :math:`t`, in line :math:`l`, a time :math:`t_l` after that line began, reads the
    specimen at

    .. math::
        \vec x = \vec x_\mathrm{landing} - \vec v \, (t + T / 2) - \vec w(t)
        + \left(s_l + a \, e^{-t_l / \tau}\right) \hat e_\mathrm{column} .

    A line is a run of visits along which the row changes by diagonal steps only.

    Parameters
    ----------
    drift_px_per_s : (float, float)
        Velocity :math:`\vec v` of the specimen along rows and columns, in pixels per second: nm/s over the pixel size
        in nm. Features move this way in the frame.
    walk_px_per_sqrt_s : float
        Strength of the random walk :math:`\vec w` of the specimen: the standard deviation of each coordinate after one
        second, in pixels.
    line_jitter_px : float
        Standard deviation of the shifts :math:`s_l` of the lines along the columns, in pixels.
    line_correlation : float
        Correlation of a line's shift with the next one's, above -1 and below 1 (an autoregressive process of order 1).
    line_flicker : float
        Relative standard deviation of the lines' intensity; it is log-normal with the mean 1.
    flyback_px : float
        Displacement :math:`a` along the columns at the start of each line, in pixels; positive if the beam is still on
        its way back.
    flyback_decay_us : float
        Time constant :math:`\tau` with which it decays, in µs.

    References
    ----------
    Jones and Nellist, Microscopy and Microanalysis 19, 1050 (2013), https://doi.org/10.1017/S1431927613001402; Ophus,
    Ciston and Nelson, Ultramicroscopy 162, 1 (2016), https://doi.org/10.1016/j.ultramic.2015.12.002.

    Examples
    --------
    >>> from simulate import scan_path
    >>> path = scan_path("raster", (8, 8), dwell_us=1e6)
    >>> rows, cols = displaced(path, Distortion(drift_px_per_s=(0.0, 1.0)), rng=0)
    >>> cols[:3].round(3)
    array([-0.5, -0.5, -0.5])
    """

    drift_px_per_s: tuple[float, float] = (0.0, 0.0)
    walk_px_per_sqrt_s: float = 0.0
    line_jitter_px: float = 0.0
    line_correlation: float = 0.0
    line_flicker: float = 0.0
    flyback_px: float = 0.0
    flyback_decay_us: float = 100.0

    def __post_init__(self) -> None:
        drift = self.drift_px_per_s
        if not (isinstance(drift, tuple | list) and len(drift) == 2 and all(is_finite(part) for part in drift)):
            raise InputError(f"drift_px_per_s is {drift!r}; expected two finite numbers (along rows, along columns)")
        object.__setattr__(self, "drift_px_per_s", (float(drift[0]), float(drift[1])))
        for name in ("walk_px_per_sqrt_s", "line_jitter_px", "line_flicker"):
            check_within(getattr(self, name), name, 0, 10 if name == "line_flicker" else 1e6)
        if not (is_finite(self.line_correlation) and -1 < self.line_correlation < 1):
            raise InputError(f"line_correlation is {self.line_correlation!r}; expected a number above -1 and below 1")
        if not is_finite(self.flyback_px):
            raise InputError(f"flyback_px is {self.flyback_px!r}; expected a finite number")
        if not (is_finite(self.flyback_decay_us) and self.flyback_decay_us > 0):
            raise InputError(f"flyback_decay_us is {self.flyback_decay_us!r}; expected a finite number above 0")


def displaced(
    path: ScanPath, distortion: Distortion, *, rng: np.random.Generator | int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where on the specimen each visit really reads: (rows, cols) in pixels, each of shape (N,).

    The deflector's lag and hysteresis (`ScanPath.landing`), the drift, the line jitter and the fly-back are added up;
    with an all-zero `Distortion` what is left is the landing. Positions may lie outside the frame.

    Parameters
    ----------
    path : ScanPath
        The scan as it was sent to the scan generator.
    distortion : Distortion
        The amounts.
    rng : numpy.random.Generator or int, optional
        Source of randomness, or a seed, for the random walk and the line jitter.
    """
    generator = check_rng(rng)
    rows, cols = path.landing()
    starts_us = path.starts_us
    middle_s = (starts_us + path.dwells_us / 2) * 1e-6
    rows -= distortion.drift_px_per_s[0] * middle_s
    cols -= distortion.drift_px_per_s[1] * middle_s
    if distortion.walk_px_per_sqrt_s > 0:
        steps = np.sqrt(np.diff(starts_us, prepend=0.0) * 1e-6) * distortion.walk_px_per_sqrt_s
        rows -= np.cumsum(steps * generator.standard_normal(steps.size))
        cols -= np.cumsum(steps * generator.standard_normal(steps.size))
    if distortion.line_jitter_px > 0 or distortion.flyback_px != 0:
        line = line_numbers(path)
        cols += _jitter(distortion, int(line[-1]) + 1, generator)[line]
        first = np.flatnonzero(np.diff(line, prepend=-1))
        cols += distortion.flyback_px * np.exp(-(starts_us - starts_us[first][line]) / distortion.flyback_decay_us)
    return rows, cols


def flicker(
    path: ScanPath, distortion: Distortion, *, rng: np.random.Generator | int | None = None
) -> NDArray[np.float64]:
    """Return the factor on the intensity of each visit, the same within a line, with the mean 1; shape (N,)."""
    if distortion.line_flicker == 0:
        return np.ones(path.n_positions)
    line = line_numbers(path)
    # A log-normal variable has the mean 1 and the relative standard deviation s with these parameters.
    variance = math.log1p(distortion.line_flicker**2)
    factors = np.exp(math.sqrt(variance) * check_rng(rng).standard_normal(int(line[-1]) + 1) - variance / 2)
    return factors[line]


def line_numbers(path: ScanPath) -> NDArray[np.int64]:
    """Return which line, counted from 0, each visit belongs to, shape (N,).

    A new line begins where the row changes by anything but a step to a diagonal neighbour: so the lines of a raster or
    serpentine scan are its rows, and a line that hops up and down is one line.

    Examples
    --------
    >>> from simulate import ScanPath
    >>> line_numbers(ScanPath([0, 0, 1, 2, 2], [0, 1, 2, 0, 1], (8, 8)))
    array([0, 0, 0, 1, 1])
    """
    row_step, col_step = np.diff(path.rows, prepend=path.rows[:1]), np.diff(path.cols, prepend=path.cols[:1])
    diagonal = (np.abs(row_step) == 1) & (np.abs(col_step) == 1)
    return np.cumsum((row_step != 0) & ~diagonal)


def _jitter(distortion: Distortion, n_lines: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return each line's shift: stationary from the first line on."""
    if distortion.line_jitter_px == 0:
        return np.zeros(n_lines)
    from scipy.signal import lfilter

    rho = distortion.line_correlation
    drive = rng.standard_normal(n_lines)
    drive[1:] *= math.sqrt(1 - rho**2)
    return distortion.line_jitter_px * np.asarray(lfilter([1.0], [1.0, -rho], drive))
