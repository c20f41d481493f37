"""What the planner is asked, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, check_positive, check_within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segmentation.study.costs import ScanCosts
    from segmentation.study.response import Response
    from segmentation.study.targets import Target

DOSE, TIME = "dose", "time"
RATIO_STEPS, DOSE_STEPS = 41, 81
"""Points of the search along ratio and dose, between the study's least and largest."""
SAME = 1e-9
"""Relative distance within which a point of the search is a studied setting."""


@dataclass(frozen=True)
class Wish:
    """What the planner is asked for.

    Parameters
    ----------
    targets : tuple of Target
        All to be reached.
    least : {"dose", "time"}
        What to spend least of.
    max_dose, max_time_ms : float
        Budgets: the dose in e-/Å² (see `costs.ScanCosts.dose`), and the frame time.
    confidence : float
        Probability with which the mean over frames must reach the targets, given how few frames the study had.
    level : float
        Probability of the intervals.
    """

    targets: tuple[Target, ...]
    least: str = DOSE
    max_dose: float = math.inf
    max_time_ms: float = math.inf
    confidence: float = 0.8
    level: float = 0.9

    def __post_init__(self) -> None:
        if not self.targets:
            raise InputError("no target is given; expected at least one, e.g. 'diameter_error<0.02'")
        if self.least not in (DOSE, TIME):
            raise InputError(f"least is {self.least!r}; expected {DOSE!r} or {TIME!r}")
        for name in ("max_dose", "max_time_ms"):
            value = getattr(self, name)
            if value != math.inf:
                check_positive(value, name)
        for name in ("confidence", "level"):
            check_within(getattr(self, name), name, 0.5, 0.99)


@dataclass(frozen=True)
class Expectation:
    """What a plan promises of one figure.

    Attributes
    ----------
    mean, mean_low, mean_high : float
        Of many frames, with the interval of how well the study knows it.
    frame_low, frame_high : float
        The interval in which the figure of one further frame will lie.
    """

    mean: float
    mean_low: float
    mean_high: float
    frame_low: float
    frame_high: float


@dataclass(frozen=True)
class Choice:
    """One way to scan and evaluate, and what is expected of it.

    Attributes
    ----------
    scheme, recon, segmenter, mapping : str
        The way; the scheme ``"raster"`` at a ratio of 1 is a fast full scan, denoised.
    ratio, peak_counts, dwell_us, beam_current_pA : float
        The scan; its beam is dimmer than the study's where the dwell time would be too short for the hardware.
    dose, frame_time_ms : float
        Its costs.
    probability : float
        That the mean over frames reaches all targets.
    cost_low, cost_high : float
        Interval of the least cost by this way, in the unit of what is to be least; infinite where a bootstrap of the
        study does not reach the targets at all.
    at_floor : bool
        Whether `cost_low` is the least cost of this way that was studied: less may do, which the interval cannot know.
    expected : dict of str to Expectation
        By target.
    """

    scheme: str
    recon: str
    segmenter: str
    mapping: str
    ratio: float
    peak_counts: float
    dwell_us: float
    beam_current_pA: float  # noqa: N815
    dose: float
    frame_time_ms: float
    probability: float
    cost_low: float
    cost_high: float
    at_floor: bool
    expected: dict[str, Expectation]

    @property
    def full(self) -> bool:
        """Whether every pixel is scanned."""
        return self.ratio == 1

    @property
    def exposure_text(self) -> str:
        """Dwell time and beam current in words."""
        return f"{self.dwell_us:.3g} µs dwell time and {self.beam_current_pA:.3g} pA"

    def cost(self, least: str) -> float:
        """Return its dose or its time."""
        return self.dose if least == DOSE else self.frame_time_ms


@dataclass(frozen=True, eq=False)
class Plan:
    """The planner's answer.

    Attributes
    ----------
    wish : Wish
        What was asked.
    choices : tuple of Choice
        The cheapest of each way that reaches the targets within the budgets, the best first; empty if none does. Costs
        within 2 % are ties, of which the one with the better expected figures comes first.
    nearest : Choice
        If none does: what comes closest within the budgets.
    wanted : tuple of (str, float, float)
        Scheme, ratio and peak counts of cases that would make the answer surer: that of the best choice unless it was
        studied, so that what it promises was measured and not read off a surface.
    ways : tuple of `WayFit`
        Responses and costs of all ways.
    failed : int
        Cases of the study that failed, and count as the worst.
    left_out : tuple of str
        Scheme and ratio of scans that cannot be made on the frame or whose costs are not known, each with why.
    """

    wish: Wish
    choices: tuple[Choice, ...]
    nearest: Choice | None
    wanted: tuple[tuple[str, float, float], ...]
    ways: tuple[WayFit, ...] = field(repr=False)
    failed: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def in_electrons(self) -> bool:
        """Whether doses are in e-/Å², or in electrons detected per pixel."""
        return self.ways[0].costs.in_electrons

    @property
    def dose_unit(self) -> str:
        """Of doses, in words."""
        return self.ways[0].costs.dose_unit

    @property
    def reached(self) -> bool:
        """Whether any way reaches the targets."""
        return bool(self.choices)

    @property
    def best(self) -> Choice:
        """The first choice, or the nearest if the targets cannot be reached."""
        best = self.choices[0] if self.choices else self.nearest
        assert best is not None
        return best


@dataclass(frozen=True, eq=False)
class WayFit:
    """A way's responses by target, its costs, and the settings (N, 2), ratio and counts, that it was studied at."""

    way: tuple[str, str, str, str]
    responses: dict[str, Response]
    costs: ScanCosts
    settings: NDArray[np.float64]

    @property
    def full(self) -> bool:
        """Whether its scans are full ones; no way has both."""
        return bool(self.settings[0, 0] == 1)

    def grid(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ratios and counts of the search, each (N,): the studied ones and points between."""
        axes = [_axis(known, steps) for known, steps in zip(self.settings.T, (RATIO_STEPS, DOSE_STEPS), strict=True)]
        ratio, counts = np.meshgrid(*axes, indexing="ij")
        return ratio.ravel(), counts.ravel()


def _axis(known: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Return the known values and points between; a point that is a known value but for rounding is that value."""
    points = np.geomspace(known.min(), known.max(), steps)
    nearest = known[np.abs(np.log(points[:, None] / known)).argmin(axis=1)]
    points = np.where(np.isclose(points, nearest, rtol=SAME, atol=0), nearest, points)
    return np.unique(np.append(points, known))
