"""Events: which trajectories began or ended, and which of these are mergers, splits, or crossings of the border."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from segmentation.tracking.linker import Detections

COLUMNS = ("frame", "kind", "parents", "children", "x", "y")
LARGEST_GAP = 0.35
"""Surface distance of two particles that touch, in mean diameters: they move and are blurred until they are one."""
LARGEST_ERROR = 0.35
"""Of the whole's volume, relative, from the sum of both parts'."""
WINDOW = 8
"""Frames before and after over which sizes are taken, by their median."""
FEWEST = 3
"""Frames in which both parts were seen, and the whole after them: what flickers is no particle."""


class _History(NamedTuple):
    """All detections, ordered by particle and place in the movie; those of particle n are `starts[n]:starts[n + 1]`."""

    places: NDArray[np.int64]
    points: NDArray[np.float64]
    diameters: NDArray[np.float64]
    border: NDArray[np.bool_]
    starts: NDArray[np.int64]


def find_events(
    frames: Sequence[Detections],
    particles: Sequence[NDArray[np.int64]],
    border: Sequence[NDArray[np.bool_]] | None = None,
    *,
    max_gap: int = 2,
) -> pd.DataFrame:
    r"""Find what became of particles, from their positions and diameters.

    A trajectory that ends merges into another one that goes on, if the two lay within `LARGEST_GAP` of touching, and
    the volume :math:`V` of the other afterwards is the sum :math:`V_1 + V_2` before within `LARGEST_ERROR` and nearer
    to it than to its own :math:`V_1`; or, as a projection shows two that still lie one beside the other, its area is.
    Of several, that of the least error. Splits are mergers backwards in time.

    Parameters
    ----------
    frames : sequence of Detections
        In order.
    particles : sequence of ndarray of int
        Each detection's particle, numbered from 0 without gaps.
    border : sequence of ndarray of bool, optional
        Whether each detection touches the frame's border. Without it, nothing enters or leaves: it appears and
        disappears.
    max_gap : int
        Frames in a row in which a particle may be overlooked.

    Returns
    -------
    pandas.DataFrame
        In order of frames: `frame` (the first one after the event; of "disappear" and "leave" the last one before),
        `kind` ("appear", "enter", "disappear", "leave", "merge", "split"), tuples of `parents` and `children` (a
        survivor keeps its number and is among both), and where (`x`, `y`, in the unit of the frames). Nothing appears
        in the first frame or disappears in the last.
    """
    sides = [np.zeros(len(one.points), dtype=bool) for one in frames] if border is None else border
    rows = [*_ends(frames, particles, sides, max_gap, backwards=False)]
    rows += _ends(frames[::-1], particles[::-1], sides[::-1], max_gap, backwards=True)
    return pd.DataFrame(sorted(rows, key=lambda row: row[:4]), columns=list(COLUMNS))


def _ends(
    frames: Sequence[Detections],
    particles: Sequence[NDArray],
    border: Sequence[NDArray],
    max_gap: int,
    *,
    backwards: bool,
) -> Iterator[tuple]:
    if not any(len(one) for one in particles):
        return
    history = _history(frames, particles, border)
    trees: dict[int, KDTree | None] = {}
    for number, end in enumerate(history.starts[1:] - 1):
        place, point = int(history.places[end]), history.points[end]
        if place == len(frames) - 1:
            continue
        whole = _whole(number, history, frames, particles, trees, max_gap)
        if whole is None:
            kind = (
                ("enter" if backwards else "leave") if history.border[end] else "appear" if backwards else "disappear"
            )
            one, none = (number,), ()
            yield frames[place].frame, kind, *((none, one) if backwards else (one, none)), *point
            continue
        other = history.points[_window(history, whole, place + 1, after=True)[0]]
        both = (whole, number)
        if backwards:
            yield frames[place].frame, "split", (whole,), both, *other
        else:
            yield frames[place + 1].frame, "merge", both, (whole,), *other


def _history(frames: Sequence[Detections], particles: Sequence[NDArray], border: Sequence[NDArray]) -> _History:
    places = np.repeat(np.arange(len(frames)), [len(one) for one in particles])
    numbers = np.concatenate(particles)
    order = np.lexsort((places, numbers))
    starts = np.searchsorted(numbers[order], np.arange(numbers.max() + 2))
    points, diameters = (np.concatenate([getattr(one, name) for one in frames]) for name in ("points", "diameters"))
    return _History(places[order], points[order], diameters[order], np.concatenate(border)[order], starts)


def _window(history: _History, number: int, place: int, *, after: bool) -> NDArray[np.int64]:
    """Return the rows of a particle at a place and in the `WINDOW` detections before it, or after it."""
    low, high = int(history.starts[number]), int(history.starts[number + 1])
    at = low + int(np.searchsorted(history.places[low:high], place, side="left" if after else "right"))
    return np.arange(at, min(at + WINDOW, high)) if after else np.arange(max(at - WINDOW, low), at)


def _whole(
    number: int,
    history: _History,
    frames: Sequence[Detections],
    particles: Sequence[NDArray],
    trees: dict[int, KDTree | None],
    max_gap: int,
) -> int | None:
    """Return the number of the particle that one which ends became a part of, or None."""
    end = int(history.starts[number + 1]) - 1
    place, point, diameter = int(history.places[end]), history.points[end], history.diameters[end]
    part = _window(history, number, place, after=False)
    if part.size < FEWEST:
        return None
    best, least = None, LARGEST_ERROR
    for other in _near(point, diameter, place, frames, particles, trees, max_gap):
        own = _window(history, other, place, after=False)
        then = _window(history, other, place + 1, after=True)
        own = own[np.isin(history.places[own], history.places[part])]
        if own.size < FEWEST or then.size < FEWEST or history.places[then[0]] > place + 1 + max_gap:
            continue
        rows = part[np.isin(history.places[part], history.places[own])]
        for power in (3, 2):
            one, two, sum_then = (history.diameters[chosen] ** power for chosen in (own, rows, then))
            before, after = float(np.median(one + two)), float(np.median(sum_then))
            error = abs(after - before)
            if error < min(least * before, abs(after - float(np.median(one)))):
                best, least = other, error / before
    return best


def _near(
    point: NDArray,
    diameter: float,
    place: int,
    frames: Sequence[Detections],
    particles: Sequence[NDArray],
    trees: dict[int, KDTree | None],
    max_gap: int,
) -> list[int]:
    """Return the particles that touched at last, or are near to it: of each the latest detection counts."""
    seen: set[int] = set()
    near: list[int] = []
    for then in range(place, max(place - max_gap, 0) - 1, -1):
        now = frames[then]
        if then not in trees:
            trees[then] = KDTree(now.points) if len(now.points) else None
        tree = trees[then]
        if tree is None:
            continue
        reach = (1 + LARGEST_GAP) / 2 * (diameter + now.diameters.max())
        for j in tree.query_ball_point(point, reach):
            other, mean = int(particles[then][j]), (diameter + now.diameters[j]) / 2
            apart = float(np.hypot(*(now.points[j] - point)))
            if other not in seen and apart <= (1 + LARGEST_GAP) * mean:
                near.append(other)
            seen.add(other)
    return near
