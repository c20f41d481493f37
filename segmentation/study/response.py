"""How a figure answers to sampling ratio and dose along one way from scan to particles, with its uncertainty.

Two spreads are told apart. How well the *mean* over frames is known comes from a bootstrap over the frames of the
study, widened for how few they are (by Student's distribution). Where the figure of *one further frame* will lie comes
from the frames of the study, each compared with the surface of all the others, as conformal prediction does.

References
----------
Barber et al., "Predictive inference with the jackknife+", Ann. Stat. 49, 486 (2021), https://doi.org/10.1214/20-AOS1965.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.study.bootstrap import bootstrap_widening, students_allowance
from segmentation.study.surface import MonotoneSurface

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from segmentation.study.targets import Metric

LEAST_FRAMES = 4
_TAIL = 0.95
"""The quantile at which a normal distribution is widened to Student's."""
SMALLEST_SPREAD = 1e-3
"""Of the metric's range; a figure that agreed in all frames so far need not in the next."""


@dataclass(frozen=True, eq=False)
class Response:
    """The fitted surface of a figure, its bootstrap, and the spread of single frames about it.

    Attributes
    ----------
    metric : Metric
        The figure.
    surface : MonotoneSurface
        Over the logarithms of ratio and peak counts.
    mean : ndarray, shape (K,)
        Its values at the knots.
    boots : ndarray, shape (B, K)
        The same of bootstrapped frames, their distances from the mean widened.
    spread : ndarray, shape (K,)
        Typical distance of one frame from the mean, at the knots.
    distances : ndarray, shape (M,)
        Distances of frames from the surface of all others, in units of the spread.
    n_frames : int
        Frames of the study.
    """

    metric: Metric
    surface: MonotoneSurface
    mean: NDArray[np.float64]
    boots: NDArray[np.float64]
    spread: NDArray[np.float64]
    distances: NDArray[np.float64]
    n_frames: int

    def expected(self, ratio: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        """Return the mean figure at points (N,)."""
        return self._possible(self._at(ratio, counts) @ self.mean)

    def samples(self, ratio: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        """Return the mean figure of each bootstrap, shape (B, N)."""
        return self._possible(self.boots @ self._at(ratio, counts).T)

    def interval(
        self, ratio: ArrayLike, counts: ArrayLike, level: float = 0.9
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the bounds between which one further frame's figure will lie with probability `level`, each (N,)."""
        weights = self._at(ratio, counts)
        # One more frame than were seen: the finite-sample correction of conformal prediction.
        outside = max(0.0, 1 - level * (1 + 1 / self.n_frames)) / 2
        # The spread comes from as few frames, all settings of a frame being alike: Student's allowance for that.
        inside = (1 + level) / 2
        low, high = students_allowance(inside, self.n_frames) * np.quantile(self.distances, [outside, 1 - outside])
        middle, spread = weights @ self.mean, weights @ self.spread
        return self._possible(middle + low * spread), self._possible(middle + high * spread)

    def _possible(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(values, self.metric.low, self.metric.high)

    def _at(self, ratio: ArrayLike, counts: ArrayLike) -> NDArray[np.float64]:
        return self.surface.weights(np.log(np.atleast_1d(ratio)), np.log(np.atleast_1d(counts)))


def fit_response(
    rows: pd.DataFrame, metric: Metric, *, n_boots: int = 200, rng: np.random.Generator | int = 0
) -> Response:
    """Fit the response of one way's rows, all of one scheme.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of a study, with the same frames at each ratio and dose as far as possible.
    metric : Metric
        What to fit.
    n_boots : int
        Bootstraps. With the same `rng` those of several metrics draw the same frames.
    rng : Generator or int
        Draws the frames.
    """
    table = _table(rows, metric)
    ratios, counts = np.log(np.asarray(table.columns.to_list(), dtype=np.float64)).T
    values = table.to_numpy(np.float64)
    n_frames = len(values)
    surface = MonotoneSurface(np.unique(ratios), np.unique(counts), ratios, counts, rising=metric.more_is_better)
    generator = np.random.default_rng(rng)
    drawn = generator.integers(n_frames, size=(n_boots, n_frames))
    mean = surface.fit(_means(values))
    boots = np.stack([surface.fit(_means(values[chosen], values)) for chosen in drawn])
    boots = mean + bootstrap_widening(_TAIL, n_frames) * (boots - mean)
    others = np.stack([surface.fit(_means(np.delete(values, frame, axis=0), values)) for frame in range(n_frames)])
    residuals = values - others @ surface.weights(ratios, counts).T
    floor = SMALLEST_SPREAD * (metric.high - metric.low)
    steady = MonotoneSurface(surface.u_knots, surface.v_knots, ratios, counts, rising=False)
    spread = np.maximum(steady.fit(np.nanmean(np.abs(residuals), axis=0)), floor)
    scaled = residuals / (surface.weights(ratios, counts) @ spread)
    return Response(metric, surface, mean, boots, spread, scaled[np.isfinite(scaled)], n_frames)


def _table(rows: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return the metric by frame and by (ratio, counts)."""
    import pandas as pd

    untyped: Any = rows
    told = pd.DataFrame({
        "frame": untyped["frame"].to_numpy(),
        "ratio": untyped["ratio"].to_numpy(),
        "counts": untyped["peak_counts"].to_numpy(),
        "value": metric.values(rows),
    })  # fmt: skip
    return told.pivot_table(index="frame", columns=["ratio", "counts"], values="value", aggfunc="mean")


def _means(values: NDArray[np.float64], instead: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return means over frames; where these frames lack a setting, those of all frames stand in."""
    filled = np.isfinite(values)
    total = np.where(filled, values, 0.0).sum(axis=0)
    number = filled.sum(axis=0)
    fallback = 0.0 if instead is None else np.nanmean(instead, axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), fallback)
