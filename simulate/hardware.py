"""The scan generator and the deflector: how long a jump takes, and where the beam lands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, is_real, nearest_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

SQRT2 = math.sqrt(2)


@dataclass(frozen=True)
class ScanHardware:
    r"""How a scan generator and the deflector behind it move the beam.

    A step to one of the eight neighbouring pixels is part of a sweep and costs no extra time. A jump over the distance
    :math:`d` (in pixels) is followed by a wait before the dwell begins,

    .. math:: t(d) = d / s + \tau \ln(d / \epsilon),

    with the slew rate :math:`s`, the time constant :math:`\tau` of the deflector's first-order response and the
    tolerance :math:`\epsilon`: the time until the beam is within :math:`\epsilon` of its target. A fixed
    `settling_us` replaces that wait; where it is too short, the beam lands beside the target (see
    `simulate.ScanPath.landing`).

    Parameters
    ----------
    lag_us : float
        Time constant :math:`\tau` of the deflection, in µs; 0 for one that follows at once.
    slew_px_per_us : float
        Largest speed :math:`s` of a jump, in pixels per µs.
    tolerance_px : float
        Distance :math:`\epsilon` from the target at which a jump counts as settled, in pixels.
    settling_us : float, optional
        Wait after every jump in µs, whatever its distance. None waits for `tolerance_px`.
    flyback_us : float
        Least wait after a line fly-back (a jump back over more than half the frame's width to a later row), in µs.
    blanked : bool
        Whether the beam is off during jumps. If not, the specimen takes their dose.
    blanking_us : float
        Time to blank and unblank the beam, added to each jump if `blanked`, in µs.
    shortest_dwell_us : float
        Shortest dwell time that scan generator and detector are good for, in µs: below the detector's decay time a
        signal streaks into the next pixels. Studies and plans lower the beam current rather than dwell shorter; a scan
        that was recorded may say what it says.
    hysteresis_px : float
        Width of the deflection's dead band in pixels: the position follows the signal only after it has crossed the
        band (the play operator, the simplest model of a coil's hysteresis).

    References
    ----------
    Settling and fly-back in sparse scans: Kovarik et al., Applied Physics Letters 109, 164102 (2016),
    https://doi.org/10.1063/1.4965720; Nicholls et al., Ultramicroscopy 233, 113451 (2022),
    https://doi.org/10.1016/j.ultramic.2021.113451. Decay times of detectors: Mullarkey et al., Microscopy and
    Microanalysis 29, 1402 (2023), https://doi.org/10.1093/micmic/ozad061. Play operator: Visintin, Differential Models
    of Hysteresis (1994), https://doi.org/10.1007/978-3-662-11557-2.

    Examples
    --------
    >>> ScanHardware(lag_us=1.0, tolerance_px=0.1).wait_us(np.array([1.0, 10.0, 100.0])).round(1)
    array([0. , 4.6, 6.9])
    """

    lag_us: float = 1.0
    slew_px_per_us: float = math.inf
    tolerance_px: float = 0.1
    settling_us: float | None = None
    flyback_us: float = 50.0
    blanked: bool = True
    blanking_us: float = 0.0
    shortest_dwell_us: float = 0.1
    hysteresis_px: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lag_us", "settling_us", "flyback_us", "blanking_us", "shortest_dwell_us", "hysteresis_px"):
            value = getattr(self, name)
            unset = value is None and name == "settling_us"
            if not (unset or (is_real(value) and 0 <= value < math.inf)):
                raise InputError(f"{name} is {value!r}; expected a finite number of at least 0")
        if not isinstance(self.blanked, bool | np.bool_):
            raise InputError(f"blanked is {self.blanked!r}; expected True or False")
        for name in ("slew_px_per_us", "tolerance_px"):
            value = getattr(self, name)
            if not (is_real(value) and value > 0):
                raise InputError(f"{name} is {value!r}; expected a number above 0")

    def wait_us(self, distance_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the wait before the dwell after moves over the given distances, line fly-back not counted."""
        distance = np.asarray(distance_px, dtype=np.float64)
        jump = distance > SQRT2 + 1e-9
        if self.settling_us is not None:
            wait = np.where(jump, self.settling_us, 0.0)
        else:
            settle = self.lag_us * np.log(np.maximum(distance / self.tolerance_px, 1.0))
            wait = np.where(jump, distance / self.slew_px_per_us + settle, 0.0)
        return wait + np.where(jump, self.blanking_us if self.blanked else 0.0, 0.0)


HARDWARE = {
    "ideal": ScanHardware(lag_us=0.0, flyback_us=0.0, shortest_dwell_us=0.0),
    "conventional": ScanHardware(),
    "slow": ScanHardware(lag_us=10.0, slew_px_per_us=100.0, flyback_us=500.0, shortest_dwell_us=1.0, hysteresis_px=0.5),
    "electrostatic": ScanHardware(lag_us=0.02, flyback_us=1.0, shortest_dwell_us=0.05),
}
"""Scan systems to begin with, by name: orders of magnitude, not data sheets. Measure your own with a step response."""


def hardware_by_name(name: str) -> ScanHardware:
    """Return one of `HARDWARE`; raise `InputError` with the nearest name for an unknown one."""
    if name not in HARDWARE:
        raise InputError(f"unknown scan hardware {name!r}{nearest_name(name, HARDWARE)}; known: {', '.join(HARDWARE)}")
    return HARDWARE[name]
