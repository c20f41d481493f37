"""Pair true with predicted particles, from one sparse table of overlaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, sparse
from scipy.sparse import csgraph

from segmentation.instances import Instances, check_labels, compact_labels, label_ids
from simulate.errors import InputError, is_finite

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Every pair of a true and a predicted particle that share a pixel.

    Parameters
    ----------
    true_ids, pred_ids : ndarray of int32, shapes (N,) and (M,)
        The ids of all particles, ascending.
    true_areas, pred_areas : ndarray of int64, shapes (N,) and (M,)
        Their areas in pixels.
    true_index, pred_index : ndarray of int64, shape (K,)
        The K overlapping pairs, as positions in the ids.
    iou : ndarray of float64, shape (K,)
        Intersection over union of each pair, in (0, 1].
    """

    true_ids: NDArray[np.int32]
    pred_ids: NDArray[np.int32]
    true_areas: NDArray[np.int64]
    pred_areas: NDArray[np.int64]
    true_index: NDArray[np.int64]
    pred_index: NDArray[np.int64]
    iou: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Match:
    """One-to-one pairs of true and predicted particles.

    Parameters
    ----------
    true_ids, pred_ids : ndarray of int32, shape (TP,)
        The matched pairs, ordered by true id.
    iou : ndarray of float64, shape (TP,)
        Their intersection over union, at least the threshold.
    true_areas, pred_areas : ndarray of int64, shape (TP,)
        Their areas in pixels.
    n_true, n_pred : int
        All true and all predicted particles.
    """

    true_ids: NDArray[np.int32]
    pred_ids: NDArray[np.int32]
    iou: NDArray[np.float64]
    true_areas: NDArray[np.int64]
    pred_areas: NDArray[np.int64]
    n_true: int
    n_pred: int

    @property
    def tp(self) -> int:
        """Matched particles (true positives)."""
        return int(self.iou.size)

    @property
    def fp(self) -> int:
        """Predicted particles without a partner (false positives)."""
        return self.n_pred - self.tp

    @property
    def fn(self) -> int:
        """True particles without a partner (false negatives)."""
        return self.n_true - self.tp


def overlaps(true: Instances | ArrayLike, pred: Instances | ArrayLike) -> Overlaps:
    """Return the table of overlapping pairs of two label maps of the same shape.

    >>> overlaps([[1, 1, 0], [2, 2, 2]], [[5, 5, 5], [0, 0, 6]]).iou.round(3).tolist()
    [0.667, 0.333]
    """
    true_labels, pred_labels = labels_of(true), labels_of(pred)
    if true_labels.shape != pred_labels.shape:
        raise InputError(
            f"true labels have shape {true_labels.shape} but predicted ones {pred_labels.shape}; expected equal shapes"
        )
    true_ids, pred_ids = label_ids(true_labels), label_ids(pred_labels)
    true_compact = compact_labels(true_labels, true_ids).ravel()
    pred_compact = compact_labels(pred_labels, pred_ids).ravel()
    true_areas = np.bincount(true_compact, minlength=true_ids.size + 1)[1:]
    pred_areas = np.bincount(pred_compact, minlength=pred_ids.size + 1)[1:]
    both = np.flatnonzero((true_compact > 0) & (pred_compact > 0))
    keys = (true_compact[both].astype(np.int64) - 1) * max(pred_ids.size, 1) + (pred_compact[both] - 1)
    pairs, shared = np.unique(keys, return_counts=True)
    true_index, pred_index = np.divmod(pairs, max(pred_ids.size, 1))
    iou = shared / (true_areas[true_index] + pred_areas[pred_index] - shared)
    return Overlaps(true_ids, pred_ids, true_areas, pred_areas, true_index, pred_index, iou)


def match(true: Instances | ArrayLike, pred: Instances | ArrayLike, iou: float = 0.5) -> Match:
    """Pair true and predicted particles one to one: as many pairs as possible, of those the largest summed IoU.

    Parameters
    ----------
    true, pred : Instances or array_like of int, shape (H, W)
        Label maps.
    iou : float
        Smallest intersection over union of a pair, in (0, 1]. Above 0.5 the pairs are unique.

    Returns
    -------
    Match

    Raises
    ------
    InputError
        If the label maps differ in shape, or the threshold is out of its range.

    Examples
    --------
    >>> pairs = match([[1, 1, 0, 2]], [[7, 7, 7, 0]])
    >>> pairs.true_ids.tolist(), pairs.pred_ids.tolist(), pairs.tp, pairs.fp, pairs.fn
    ([1], [7], 1, 0, 1)
    """
    return match_overlaps(overlaps(true, pred), iou)


def match_overlaps(table: Overlaps, threshold: float) -> Match:
    """Do what `match` does, from a table of `overlaps` at hand."""
    check_iou(threshold)
    keep = np.flatnonzero(table.iou >= threshold)
    chosen = keep[_assign(table.true_index[keep], table.pred_index[keep], table.iou[keep])]
    true_index, pred_index = table.true_index[chosen], table.pred_index[chosen]
    return Match(
        table.true_ids[true_index],
        table.pred_ids[pred_index],
        table.iou[chosen],
        table.true_areas[true_index],
        table.pred_areas[pred_index],
        int(table.true_ids.size),
        int(table.pred_ids.size),
    )


def _assign(rows: NDArray, cols: NDArray, iou: NDArray) -> NDArray:
    """Edges of the one-to-one assignment with most pairs, then most IoU: each connected group of edges by itself."""
    if rows.size == np.unique(rows).size == np.unique(cols).size:
        return np.arange(rows.size)
    _, row_of = np.unique(rows, return_inverse=True)
    _, col_of = np.unique(cols, return_inverse=True)
    n_rows, n_cols = int(row_of.max()) + 1, int(col_of.max()) + 1
    graph = sparse.coo_array((np.ones(rows.size), (row_of, n_rows + col_of)), shape=(n_rows + n_cols,) * 2)
    group = csgraph.connected_components(graph, directed=False)[1][row_of]
    order = np.argsort(group, kind="stable")
    chosen = []
    for edges in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        _, row = np.unique(row_of[edges], return_inverse=True)
        _, col = np.unique(col_of[edges], return_inverse=True)
        size = min(row.max(), col.max()) + 1
        gain = np.zeros((row.max() + 1, col.max() + 1))
        gain[row, col] = 1 + iou[edges] / (2 * size)
        edge_at = np.full(gain.shape, -1)
        edge_at[row, col] = edges
        picked = edge_at[optimize.linear_sum_assignment(gain, maximize=True)]
        chosen.append(picked[picked >= 0])
    return np.sort(np.concatenate(chosen))


def greedy_hits(table: Overlaps, scores: NDArray, threshold: float) -> NDArray[np.int64]:
    """1 for each prediction that takes a true particle, in descending order of scores as COCO does."""
    hits = np.zeros(scores.size, dtype=np.int64)
    taken = np.zeros(table.true_ids.size, dtype=bool)
    keep = np.flatnonzero(table.iou >= threshold)
    # By falling score, then by prediction, then by falling IoU.
    for edge in keep[np.lexsort((-table.iou[keep], table.pred_index[keep], -scores[table.pred_index[keep]]))]:
        true_index, pred_index = table.true_index[edge], table.pred_index[edge]
        if not hits[pred_index] and not taken[true_index]:
            hits[pred_index], taken[true_index] = 1, True
    return hits


def check_iou(threshold: float) -> None:
    """Raise `InputError` unless the threshold is in (0, 1]."""
    if not (is_finite(threshold) and 0 < threshold <= 1):
        raise InputError(f"IoU threshold is {threshold!r}; expected a number above 0 and at most 1, e.g. 0.5")


def labels_of(particles: Instances | ArrayLike) -> NDArray[np.int32]:
    """Return the checked label map of particles in either form."""
    return particles.labels if isinstance(particles, Instances) else check_labels(particles)
