"""The log of a training run: mean losses between two checkpoints as a CSV, and their curve as a picture."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING

from simulate.atomic import atomic_path
from simulate.errors import InputError

if TYPE_CHECKING:
    import os

    from torch import Tensor

_FIXED = ("step", "learning_rate")
_SECONDS_BETWEEN_CURVES = 60.0


class TrainingLog:
    """Mean losses between two checkpoints; rows after the restart point are dropped.

    The file is written whole each time: a run killed while writing leaves no half row behind.

    Parameters
    ----------
    path : path
        The CSV file; the curve is drawn beside it, with the suffix ``.png``.
    start : int
        The step that the run goes on from.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.path, self.picture = path, path.with_suffix(".png")
        self.sums: dict[str, float] = {}
        self.count = 0
        self.rows: list[dict[str, str]] = []
        self.drawn = time.monotonic()
        if path.exists():
            try:
                self.rows = [row for row in _read(path) if int(row["step"]) <= start]
            except (KeyError, ValueError):
                raise InputError(f"{path} is no log of a training run; move it away or choose another folder") from None

    def add(self, parts: dict[str, Tensor]) -> None:
        """Add the losses of one step."""
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.count += 1

    def write(self, step: int, rate: float, checks: dict[str, float]) -> str:
        """Write the means since the last call, and what a check found, as the row of `step`; return them as text."""
        means = {name: value / self.count for name, value in self.sums.items()} | checks
        texts = {name: f"{value:.5f}" for name, value in means.items()}
        self.rows.append({"step": str(step), "learning_rate": f"{rate:.3g}", **texts})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        self.sums, self.count = {}, 0
        return " ".join(f"{name} {text}" for name, text in texts.items())

    def draw(self, *, now: bool = False) -> None:
        """Draw the curve, at most once a minute unless `now`."""
        if self.rows and (now or time.monotonic() - self.drawn > _SECONDS_BETWEEN_CURVES):
            draw_curve(self.path, self.picture)
            self.drawn = time.monotonic()


def draw_curve(log: str | os.PathLike[str], picture: str | os.PathLike[str]) -> None:
    """Draw each column of a training log against the step, below one another, with the learning rate.

    Parameters
    ----------
    log : path
        A ``log.csv`` of `cs_recon.training.train`.
    picture : path
        The PNG to write.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = _read(Path(log))
    # The learning rate last, as the reason for what the losses do. A column is empty if a run goes on from before its
    # first value.
    names = [*dict.fromkeys(name for row in rows for name in row if name not in _FIXED and row[name]), "learning_rate"]
    figure = Figure(figsize=(6.4, 1.2 + 1.6 * len(names)), layout="constrained")
    for axes, name in zip(figure.subplots(len(names), sharex=True, squeeze=False)[:, 0], names, strict=True):
        steps, values = zip(*((int(row["step"]), float(row[name])) for row in rows if row.get(name)), strict=True)
        axes.plot(steps, values, marker="." if len(steps) < 30 else None, linewidth=1)
        axes.set_ylabel(name.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.axes[-1].set_xlabel("step")
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=100)


def _read(path: Path) -> list[dict[str, str]]:
    """Return the whole rows of a log; one that a kill or a full disk cut short has too few fields."""
    with path.open(newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    return [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header) > 0]
