"""Scores that look at pixels rather than pairs: the aggregated Jaccard index, and how well outlines agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from segmentation.matching import Overlaps, labels_of, overlaps
from simulate.errors import InputError, check_positive

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from segmentation.instances import Instances

BOUNDARY_TOLERANCE_PX = 2.0


def aggregated_jaccard(true: Instances | ArrayLike, pred: Instances | ArrayLike) -> float:
    r"""Return the aggregated Jaccard index: shared pixels over the union, of particles and what was found of them.

    Every true particle takes the predicted one of the largest IoU (one may be taken twice); their intersections and
    unions are summed, and predictions that nobody took add their area to the union:

    .. math:: \mathrm{AJI} = \frac{\sum_i |T_i \cap P_{j(i)}|}{\sum_i |T_i \cup P_{j(i)}| + \sum_{j\,\text{free}} |P_j|}

    References
    ----------
    Kumar et al., "A dataset and a technique for generalized nuclear segmentation for computational pathology", IEEE
    Trans. Med. Imaging 36, 1550 (2017), https://doi.org/10.1109/TMI.2017.2677499.

    Examples
    --------
    >>> round(aggregated_jaccard([[1, 1, 0, 2]], [[7, 7, 7, 0]]), 3)
    0.5
    """
    return aggregated_jaccard_of(overlaps(true, pred))


def aggregated_jaccard_of(table: Overlaps) -> float:
    """Do what `aggregated_jaccard` does, from a table of `overlaps` at hand."""
    n_true, n_pred = table.true_ids.size, table.pred_ids.size
    if n_true == n_pred == 0:
        return 1.0
    # Of each true particle's pairs the one of the largest IoU, of equal ones the first prediction.
    order = np.lexsort((table.pred_index, -table.iou, table.true_index))
    _, first = np.unique(table.true_index[order], return_index=True)
    best = order[first]
    true_area, pred_area = table.true_areas[table.true_index[best]], table.pred_areas[table.pred_index[best]]
    # IoU = I / (A + B - I), so I = IoU (A + B) / (1 + IoU).
    shared = np.rint(table.iou[best] * (true_area + pred_area) / (1 + table.iou[best]))
    missed = table.true_areas.sum() - true_area.sum()
    free = np.ones(n_pred, dtype=bool)
    free[table.pred_index[best]] = False
    union = (true_area + pred_area - shared).sum() + missed + table.pred_areas[free].sum()
    return float(shared.sum() / union)


def boundary_f(
    true: Instances | ArrayLike, pred: Instances | ArrayLike, tolerance_px: float = BOUNDARY_TOLERANCE_PX
) -> float:
    """Return the boundary F-score: the harmonic mean of how much of each outline lies near the other.

    Outlines are the particles' pixels beside another label; near means within `tolerance_px`. Both without particles
    gives 1, as two without outlines do (one particle each, which fills the frame); one of them 0.

    References
    ----------
    Csurka, Larlus, Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013,
    https://doi.org/10.5244/C.27.32.

    Examples
    --------
    >>> square = np.pad(np.ones((9, 9), int), 4)
    >>> boundary_f(square, np.roll(square, 2, axis=1)), boundary_f(square, np.roll(square, 2, axis=1), 0.5) < 0.7
    (1.0, True)
    """
    check_positive(tolerance_px, "tolerance_px", "it is in pixels")
    true_labels, pred_labels = labels_of(true), labels_of(pred)
    true_edge, pred_edge = boundary(true_labels), boundary(pred_labels)
    if true_edge.shape != pred_edge.shape:
        raise InputError(
            f"true labels have shape {true_edge.shape} but predicted ones {pred_edge.shape}; expected equal shapes"
        )
    if not true_edge.any() or not pred_edge.any():
        return float(true_edge.any() == pred_edge.any() and true_labels.any() == pred_labels.any())
    precision = _share_near(pred_edge, true_edge, tolerance_px)
    recall = _share_near(true_edge, pred_edge, tolerance_px)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) of particles that have a pixel of another label, or of none, beside them."""
    edge = np.zeros(labels.shape, dtype=bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge & (labels > 0)


def _share_near(edge: NDArray[np.bool_], other: NDArray[np.bool_], tolerance: float) -> float:
    distance = np.asarray(ndimage.distance_transform_edt(~other))
    return float((distance[edge] <= tolerance).mean())
