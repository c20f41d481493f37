"""What an acquisition is to reach: ``diameter_error<0.02``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Metric:
    """A figure that a target can be set for.

    Attributes
    ----------
    text : str
        What it is.
    of : callable
        Gives it from a study's rows, shape (N,); NaN where a frame has none.
    more_is_better : bool
        Whether it grows with dose and sampling ratio.
    low, high : float
        Its range. What fails, or finds no particle to measure, counts as the worse end.
    """

    text: str
    of: Callable[[Any], Any]
    more_is_better: bool
    low: float
    high: float

    @property
    def worst(self) -> float:
        """The worse end of the range."""
        return self.low if self.more_is_better else self.high

    def values(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Return the figure of every row, shape (N,), within its range."""
        values = np.asarray(self.of(rows), dtype=np.float64)
        values = np.where((rows["error"].to_numpy() != "") | np.isnan(values), self.worst, values)
        return np.clip(values, self.low, self.high)


def _share(column: str, text: str) -> Metric:
    return Metric(text, lambda rows: rows[column], more_is_better=True, low=0.0, high=1.0)


METRICS = {
    "diameter_error": Metric(
        "mean equivalent diameter found over the true one, less 1, either sign",
        lambda rows: rows["diameter_bias"].abs(), more_is_better=False, low=0.0, high=1.0,
    ),
    "count_error": Metric(
        "particles found less true ones, over the true ones, either sign",
        lambda rows: rows["count_error"].abs() / rows["n_true"].clip(lower=1), more_is_better=False, low=0.0, high=1.0,
    ),
    "size_distance": Metric(
        "Wasserstein distance of the distributions of diameters, over the mean true diameter",
        lambda rows: rows["size_wasserstein_relative"], more_is_better=False, low=0.0, high=1.0,
    ),
    "average_precision": _share("average_precision@0.5", "TP / (TP + FP + FN) at IoU 0.5"),
    "f1": _share("f1@0.5", "F1 at IoU 0.5"),
    "recall": _share("recall@0.5", "share of the particles that are found, at IoU 0.5"),
    "precision": _share("precision@0.5", "share of what is found that is a particle, at IoU 0.5"),
    "panoptic_quality": _share("panoptic_quality@0.5", "panoptic quality at IoU 0.5"),
    "ssim": _share("ssim", "structural similarity of the reconstruction to the truth"),
    "psnr": Metric(
        "PSNR of the reconstruction in dB", lambda rows: rows["psnr_db"], more_is_better=True, low=0.0, high=100.0
    ),
}  # fmt: skip
"""What targets can be set for, by name."""


@dataclass(frozen=True)
class Target:
    """A bound on the mean over frames of a metric.

    Parameters
    ----------
    metric : str
        One of `METRICS`.
    bound : float
        At most this for errors, at least this for the others.
    """

    metric: str
    bound: float

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(
                f"target is of {self.metric!r}{nearest_name(self.metric, METRICS)}; expected one of "
                f"{', '.join(METRICS)}"
            )
        kind = self.kind
        if not kind.low <= self.bound <= kind.high:
            raise InputError(f"target {self} is out of range; expected a bound from {kind.low:g} to {kind.high:g}")

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target of ``METRIC<BOUND`` or ``METRIC>BOUND``.

        Raises
        ------
        InputError
            If it is none, or asks for a large error or a small score.

        Examples
        --------
        >>> Target.parse("diameter_error < 0.02")
        Target(metric='diameter_error', bound=0.02)
        """
        match = re.fullmatch(r"\s*(\w+)\s*(<=?|>=?)\s*([-+.\w]+)\s*(%?)\s*", text) if isinstance(text, str) else None
        try:
            number = float(match[3]) if match else float("nan")
        except ValueError:
            number = float("nan")
        if match is None or not np.isfinite(number):
            raise InputError(
                f"target is {text!r}; expected a metric and a bound, e.g. 'diameter_error<0.02' or 'f1>0.9'"
            )
        target = cls(match[1], number / 100 if match[4] else number)
        if target.kind.more_is_better == match[2].startswith("<"):
            raise InputError(f"target is {text!r}; expected {target}: {match[1]} is better the other way round")
        return target

    @property
    def kind(self) -> Metric:
        """The metric that is meant."""
        return METRICS[self.metric]

    def margin(self, values: Any) -> Any:
        """Return by how much of the metric's range means are better than the bound."""
        gain = values - self.bound
        return (gain if self.kind.more_is_better else -gain) / (self.kind.high - self.kind.low)

    def met_by(self, values: Any) -> Any:
        """Return whether means reach the bound."""
        return self.margin(values) >= 0

    def __str__(self) -> str:
        """Return it as `parse` reads it."""
        return f"{self.metric}{'>' if self.kind.more_is_better else '<'}{self.bound:g}"
