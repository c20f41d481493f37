"""A detector: what it makes of the electrons that reach it, from counting to digitising."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, is_real
from simulate.scan import electrons_per_us

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.scan import ScanPath

MOST_ELECTRONS = 1e15
"""Beyond it counting noise is below what a double can show."""


@dataclass(frozen=True)
class Detector:
    r"""A detector's response, from electrons to output units.

    A visit of dwell time :math:`T` in which the share :math:`f` of the beam current :math:`I` reaches the detector
    gives

    .. math::
        n \sim \mathrm{Poisson}\left(\eta f \frac{I T}{e} + d T\right), \qquad
        u = \min\left(o + g \left(n^* + \sqrt{T / \bar T} \, \mathcal{N}(0, r^2)\right), s\right),

    where :math:`n^*` is the count after the afterglow and :math:`\bar T` the scan's mean dwell time.

    Parameters
    ----------
    efficiency : float
        Share :math:`\eta` of the arriving electrons that is detected, above 0 and at most 1.
    gain : float
        Output units :math:`g` an electron.
    offset : float
        Output :math:`o` of a visit without an electron, in output units.
    read_noise_e : float
        Standard deviation :math:`r` of the additive noise, in electrons, at the scan's mean dwell time. The noise is
        white: its variance grows with the dwell time, like that of an amplifier whose output is integrated.
    dark_e_per_s : float
        Electrons :math:`d` counted per second without a beam.
    saturation : float
        Largest output :math:`s` of a visit, in output units.
    afterglow : float
        Share of a visit's signal that comes late, at least 0 and below 1. It decays exponentially; what is emitted
        during later visits adds to them, what is emitted while the beam moves is lost.
    afterglow_us : float
        Decay time of the afterglow in µs.
    digital : bool
        Whether the output is rounded to whole units.

    References
    ----------
    Afterglow and streaks of fast low-dose scans, and counting as their cure: Mullarkey, Downing and Jones,
    Microscopy and Microanalysis 27, 99 (2021), https://arxiv.org/abs/2009.02265.

    Examples
    --------
    >>> round(Detector(gain=20.0, offset=100.0, read_noise_e=0.1, saturation=65535.0, digital=True).read_noise, 3)
    2.021
    """

    efficiency: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    read_noise_e: float = 0.0
    dark_e_per_s: float = 0.0
    saturation: float = math.inf
    afterglow: float = 0.0
    afterglow_us: float = 1.0
    digital: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("read_noise_e", 0.0, MOST_ELECTRONS),
            ("dark_e_per_s", 0.0, MOST_ELECTRONS),
            ("offset", -MOST_ELECTRONS, MOST_ELECTRONS),
        ):
            value = getattr(self, name)
            if not (is_real(value) and low <= value <= high):
                raise InputError(f"{name} is {value!r}; expected a number from {low:g} to {high:g}")
        for name, high in (("efficiency", 1.0), ("gain", MOST_ELECTRONS), ("afterglow_us", MOST_ELECTRONS)):
            value = getattr(self, name)
            if not (is_real(value) and 0 < value <= high):
                raise InputError(f"{name} is {value!r}; expected a number above 0 and at most {high:g}")
        if not (is_real(self.afterglow) and 0 <= self.afterglow < 1):
            raise InputError(f"afterglow is {self.afterglow!r}; expected a share of the signal, 0 or more and below 1")
        if not isinstance(self.digital, bool | np.bool_):
            raise InputError(f"digital is {self.digital!r}; expected True or False")
        if not (is_real(self.saturation) and self.saturation > self.offset):
            raise InputError(f"saturation is {self.saturation!r}; expected a number above the offset {self.offset:g}")

    @property
    def read_noise(self) -> float:
        r"""Standard deviation of the additive noise in output units, a rounding error of variance 1/12 included.

        Rounding that changes nothing (whole gain and offset, no other noise, no afterglow) adds no error.
        """
        counts_stay_whole = self.read_noise_e == self.afterglow == 0 and self.gain % 1 == self.offset % 1 == 0
        rounding = 1 / 12 if self.digital and not counts_stay_whole else 0.0
        return math.sqrt((self.gain * self.read_noise_e) ** 2 + rounding)

    def read(
        self, fraction: NDArray[np.float64], path: ScanPath, beam_current_pA: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the output of each visit, shape (N,), in output units.

        Parameters
        ----------
        fraction : ndarray, shape (N,)
            Share of the beam that reaches the detector at each visit of `path`, at least 0.
        path : ScanPath
            The visits, with their dwell times.
        beam_current_pA : float
            Beam current in pA.
        rng : numpy.random.Generator
            Source of randomness.

        Raises
        ------
        InputError
            If a visit takes more electrons than can be counted.
        """
        dwells = np.array(path.dwells_us)
        mean = (fraction * (self.efficiency * electrons_per_us(beam_current_pA)) + self.dark_e_per_s * 1e-6) * dwells
        if mean.max() > MOST_ELECTRONS:
            raise InputError(
                f"a visit detects {mean.max():g} electrons; expected at most {MOST_ELECTRONS:g}: are the beam current "
                "in pA and the dwell time in µs?"
            )
        signal = rng.poisson(mean).astype(np.float64)
        if self.afterglow > 0:
            from simulate.kernels.afterglow import add_afterglow

            add_afterglow(signal, path.moves_us, dwells, float(self.afterglow), float(self.afterglow_us))
        if self.read_noise_e > 0:
            signal += rng.normal(0, self.read_noise_e, signal.shape) * np.sqrt(dwells / dwells.mean())
        output = self.offset + self.gain * signal
        return np.minimum(np.rint(output) if self.digital else output, self.saturation)
