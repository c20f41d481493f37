"""Linking: which detection of a frame is which of those known before, by the cheapest assignment.

Behind `link` alone, so that another linker can take its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

NO_LINK = 1.5
"""Cost of leaving a detection alone: a full step and a change of the diameter by a factor of 1.6 together."""


class Detections(NamedTuple):
    """The detections of one frame: its number, positions (N, 2) and diameters (N,) in one unit."""

    frame: int
    points: NDArray[np.float64]
    diameters: NDArray[np.float64]


def link(
    frames: Sequence[Detections],
    max_step: float,
    *,
    max_gap: int = 2,
    size_weight: float = 1.0,
    overlap: Callable[[int, int], csr_array] | None = None,
) -> list[NDArray[np.int64]]:
    r"""Give the detections numbers, from 0, so that those of one particle bear the same.

    Each frame's detections are assigned to the particles known before at the least total cost (Jaqaman et al. 2008),
    where leaving a particle alone costs `NO_LINK`. A pair costs

    .. math:: d^2 / (g\,d_\mathrm{max}^2) + w\,\log_2^2(D_1 / D_2) - J

    with distance d over g frames, diameters D, and overlap J of the two in consecutive frames where it is known.

    Parameters
    ----------
    frames : sequence of Detections
        In order of their numbers; numbers may be missing.
    max_step : float
        Longest way from a frame to the next; over g frames :math:`\sqrt g` times as long.
    max_gap : int
        Frames in a row in which a particle may be overlooked; frames that are missing do not count.
    size_weight : float
        Weight w of the sizes.
    overlap : callable, optional
        Gives the overlaps (Jaccard) of the detections of two frames by their place in `frames`, as a sparse array.

    Returns
    -------
    list of ndarray of int64, shape (N,)
        One for each frame.

    References
    ----------
    Jaqaman et al., "Robust single-particle tracking in live-cell time-lapse sequences", Nature Methods 5, 695-702
    (2008), https://doi.org/10.1038/nmeth.1237.
    """
    # Columns: x, y, diameter, number, place in `frames`, row in that frame.
    known = np.zeros((0, 6))
    numbers: list[NDArray[np.int64]] = []
    n_tracks = 0
    for place, now in enumerate(frames):
        known = known[place - known[:, 4] <= max_gap + 1]
        elapsed = np.array([now.frame - frames[int(p)].frame for p in known[:, 4]], dtype=float)
        rows, cols, costs = _candidates(known, elapsed, now, max_step, size_weight)
        if overlap is not None and place:
            costs = costs - _shared(overlap(place - 1, place), known, place, rows, cols)
        chosen_rows, chosen_cols = _assign(rows, cols, costs, len(known), len(now.points))
        number = np.full(len(now.points), -1, dtype=np.int64)
        number[chosen_cols] = known[chosen_rows, 3].astype(np.int64)
        new = np.flatnonzero(number < 0)
        number[new] = n_tracks + np.arange(new.size)
        n_tracks += new.size
        numbers.append(number)
        index = np.arange(number.size)
        seen = np.column_stack([now.points, now.diameters, number, np.full(number.size, place), index])
        known = np.concatenate([np.delete(known, chosen_rows, axis=0), seen])
    return numbers


def _candidates(
    known: NDArray, elapsed: NDArray, now: Detections, max_step: float, size_weight: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    if not len(known) or not len(now.points):
        none = np.zeros(0, dtype=np.intp)
        return none, none, np.zeros(0)
    reach = max_step * np.sqrt(elapsed)
    near = KDTree(now.points).query_ball_point(known[:, :2], reach)
    rows = np.repeat(np.arange(len(known)), [len(some) for some in near])
    cols = np.concatenate([np.asarray(some, dtype=np.intp) for some in near])
    squared = ((known[rows, :2] - now.points[cols]) ** 2).sum(axis=1) / reach[rows] ** 2
    return rows, cols, squared + size_weight * np.log2(known[rows, 2] / now.diameters[cols]) ** 2


def _shared(overlaps: csr_array, known: NDArray, place: int, rows: NDArray, cols: NDArray) -> NDArray[np.float64]:
    """Return the overlap of each candidate pair, 0 for particles that were not seen in the frame before."""
    fresh = known[rows, 4] == place - 1
    shared = np.zeros(len(rows))
    if fresh.any():
        shared[fresh] = overlaps[known[rows[fresh], 5].astype(np.intp), cols[fresh]]
    return shared


def _assign(
    rows: NDArray, cols: NDArray, costs: NDArray, n_rows: int, n_cols: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pairs of least total cost, each row and column in at most one, where a row alone costs `NO_LINK`."""
    good = costs < NO_LINK
    if not good.any():
        none = np.zeros(0, dtype=np.intp)
        return none, none
    # Each row may take a column of its own that stands for no link. Costs above 0: a sparse matrix drops zeros.
    alone = np.arange(n_rows)
    weights = np.concatenate([costs[good], np.full(n_rows, NO_LINK)]) - costs.min() + 1.0
    entries = (weights, (np.concatenate([rows[good], alone]), np.concatenate([cols[good], n_cols + alone])))
    graph = coo_array(entries, shape=(n_rows, n_cols + n_rows)).tocsr()
    left, right = min_weight_full_bipartite_matching(graph)
    real = right < n_cols
    return left[real], right[real]
