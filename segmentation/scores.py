"""How well a segmentation agrees with the truth, from one sparse table of overlaps.

"AP" means two things. Here `average_precision` is TP / (TP + FP + FN) at one intersection over union (IoU), the sense
of DSB2018, StarDist and Cellpose; COCO's, an area under a precision-recall curve over scores, is `coco_ap`.

Conventions for frames without particles: truth and prediction both empty is perfect agreement, and every ratio is 1.
If only one of them is empty, every ratio is 0. The mean of no IoU and the bias of no pair are NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segmentation.instances import Instances, label_ids
from segmentation.matching import Match, check_iou, greedy_hits, labels_of, match, match_overlaps, overlaps
from segmentation.pixel_scores import aggregated_jaccard_of, boundary_f
from simulate.errors import InputError, check_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())


def average_precision(true: Instances | ArrayLike, pred: Instances | ArrayLike, iou: float = 0.5) -> float:
    """TP / (TP + FP + FN) at one IoU: "average precision" as DSB2018, StarDist and Cellpose use the word.

    It is not COCO's average precision (`coco_ap`). Both frames empty gives 1.

    References
    ----------
    J. C. Caicedo et al., Nat. Methods 16 (2019), doi:10.1038/s41592-019-0612-7;
    U. Schmidt et al., MICCAI 2018, doi:10.1007/978-3-030-00934-2_30

    Examples
    --------
    >>> average_precision([[1, 1, 0, 2]], [[7, 7, 7, 0]])
    0.5
    """
    return _average_precision(match(true, pred, iou))


def precision(true: Instances | ArrayLike, pred: Instances | ArrayLike, iou: float = 0.5) -> float:
    """TP / (TP + FP): the share of predicted particles that are real. Both empty 1; no prediction alone 0.

    >>> precision([[1, 1, 0, 2]], [[7, 7, 7, 0]])
    1.0
    """
    found = match(true, pred, iou)
    return _ratio(found.tp, found.n_pred, found)


def recall(true: Instances | ArrayLike, pred: Instances | ArrayLike, iou: float = 0.5) -> float:
    """TP / (TP + FN): the share of true particles that were found. Both empty 1; no truth alone 0.

    >>> recall([[1, 1, 0, 2]], [[7, 7, 7, 0]])
    0.5
    """
    found = match(true, pred, iou)
    return _ratio(found.tp, found.n_true, found)


def f1(true: Instances | ArrayLike, pred: Instances | ArrayLike, iou: float = 0.5) -> float:
    """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall. Both empty 1.

    >>> round(f1([[1, 1, 0, 2]], [[7, 7, 7, 0]]), 3)
    0.667
    """
    return _f1(match(true, pred, iou))


def panoptic_quality(true: Instances | ArrayLike, pred: Instances | ArrayLike, iou: float = 0.5) -> float:
    """Sum of the matched IoU over TP + FP/2 + FN/2. Both empty 1.

    References
    ----------
    A. Kirillov et al., "Panoptic Segmentation", CVPR 2019, doi:10.1109/CVPR.2019.00963

    Examples
    --------
    >>> round(panoptic_quality([[1, 1, 0, 2]], [[7, 7, 7, 0]]), 3)
    0.444
    """
    return _panoptic_quality(match(true, pred, iou))


def mean_matched_iou(true: Instances | ArrayLike, pred: Instances | ArrayLike, iou: float = 0.5) -> float:
    """Mean IoU of the matched pairs. Both empty 1; no pair NaN.

    >>> round(mean_matched_iou([[1, 1, 0, 2]], [[7, 7, 7, 0]]), 3)
    0.667
    """
    return _mean_iou(match(true, pred, iou))


def count_error(true: Instances | ArrayLike, pred: Instances | ArrayLike) -> int:
    """Predicted minus true number of particles, whatever they overlap.

    >>> count_error([[1, 1, 0, 2]], [[7, 7, 7, 0]])
    -1
    """
    return int(label_ids(labels_of(pred)).size - label_ids(labels_of(true)).size)


def size_bias(true: Instances | ArrayLike, pred: Instances | ArrayLike, iou: float = 0.5) -> float:
    r"""Median relative error of the equivalent diameter over the matched pairs; NaN without one.

    .. math:: \mathrm{median}\left(\sqrt{A_\mathrm{pred} / A_\mathrm{true}} - 1\right)

    >>> round(size_bias([[1, 1, 0, 2]], [[7, 7, 7, 0]]), 3)
    0.225
    """
    return _size_bias(match(true, pred, iou))


def score(
    true: Instances | ArrayLike, pred: Instances | ArrayLike, ious: Sequence[float] = (0.5, 0.75, 0.9)
) -> dict[str, float]:
    """All scores of a frame at once; the overlaps are computed once.

    Parameters
    ----------
    true, pred : Instances or array_like of int, shape (H, W)
        Label maps.
    ious : sequence of float
        Thresholds of the intersection over union, each in (0, 1].

    Returns
    -------
    dict
        `n_true`, `n_pred`, `count_error`; `average_precision@t`, `f1@t`, `precision@t`, `recall@t`,
        `panoptic_quality@t`, `mean_matched_iou@t` and `size_bias@t` for each threshold t; and
        `mean_average_precision`, the mean of `average_precision` over the thresholds; `aggregated_jaccard` and
        `boundary_f`.

    Examples
    --------
    >>> found = score([[1, 1, 0, 2]], [[7, 7, 7, 0]], ious=(0.5, 0.75))
    >>> found["average_precision@0.5"], found["average_precision@0.75"], found["mean_average_precision"]
    (0.5, 0.0, 0.25)
    """
    if len(ious) == 0:
        raise InputError("there are no IoU thresholds; expected at least one, e.g. (0.5, 0.75)")
    table = overlaps(true, pred)
    n_true, n_pred = table.true_ids.size, table.pred_ids.size
    result: dict[str, float] = {"n_true": n_true, "n_pred": n_pred, "count_error": n_pred - n_true}
    for threshold in ious:
        found = match_overlaps(table, threshold)
        result |= {
            f"average_precision@{threshold:g}": _average_precision(found),
            f"f1@{threshold:g}": _f1(found),
            f"precision@{threshold:g}": _ratio(found.tp, found.n_pred, found),
            f"recall@{threshold:g}": _ratio(found.tp, found.n_true, found),
            f"panoptic_quality@{threshold:g}": _panoptic_quality(found),
            f"mean_matched_iou@{threshold:g}": _mean_iou(found),
            f"size_bias@{threshold:g}": _size_bias(found),
        }
    result["aggregated_jaccard"] = aggregated_jaccard_of(table)
    result["boundary_f"] = boundary_f(true, pred)
    result["mean_average_precision"] = float(np.mean([result[f"average_precision@{t:g}"] for t in ious]))
    return result


def coco_ap(frames: Sequence[tuple[Instances | ArrayLike, Instances]], ious: Sequence[float] = COCO_IOUS) -> float:
    """COCO's average precision of scored predictions over frames: mask IoU, all areas, no limit per frame.

    Predictions of all frames are ranked by score; in that order each takes the free true particle of its frame that it
    overlaps most, if that reaches the threshold. The precision, made non-increasing, is averaged over 101 levels of
    recall, and then over the thresholds.

    Parameters
    ----------
    frames : sequence of (true, pred)
        True label maps and predictions with scores. Masks come from label maps, so predictions do not overlap.
    ious : sequence of float
        Thresholds; COCO's 0.50, 0.55 ... 0.95 unless told.

    Returns
    -------
    float
        In [0, 1]. No particle in truth or prediction gives 1 (COCO itself leaves such a set undefined); none in the
        truth alone gives 0.

    References
    ----------
    T.-Y. Lin et al., "Microsoft COCO", ECCV 2014, doi:10.1007/978-3-319-10602-1_48

    Examples
    --------
    >>> from segmentation.instances import Instances
    >>> pred = Instances([[7, 7, 7, 0]], scores=[0.9])
    >>> round(coco_ap([([[1, 1, 0, 2]], pred)], ious=(0.5,)), 3)
    0.505
    """
    if len(ious) == 0:
        raise InputError("there are no IoU thresholds; expected at least one, e.g. (0.5, 0.75)")
    for _, pred in frames:
        check_kind(pred, "a prediction", Instances)
    tables = [overlaps(true, pred) for true, pred in frames]
    n_true = sum(table.true_ids.size for table in tables)
    scores = np.concatenate([pred.scores for _, pred in frames]) if frames else np.zeros(0)
    if n_true == 0:
        return 1.0 if scores.size == 0 else 0.0
    order = np.argsort(-scores, kind="stable")
    results = []
    for threshold in ious:
        check_iou(threshold)
        hits = [greedy_hits(table, pred.scores, threshold) for table, (_, pred) in zip(tables, frames, strict=True)]
        results.append(interpolated_ap(np.concatenate(hits)[order], n_true))
    return float(np.mean(results))


def interpolated_ap(hits: NDArray[np.int64], n_true: int) -> float:
    """Return COCO's interpolated area under the precision-recall curve.

    Parameters
    ----------
    hits : ndarray of int, shape (N,)
        1 for each prediction that found a true particle, 0 for the others, in order of falling score.
    n_true : int
        How many true particles there are, at least 1.
    """
    if hits.size == 0:
        return 0.0
    found = np.cumsum(hits)
    # The precision, made non-increasing, at 101 levels of recall.
    envelope = np.maximum.accumulate((found / np.arange(1, found.size + 1))[::-1])[::-1]
    reached = np.searchsorted(found / n_true, np.linspace(0, 1, 101), side="left")
    return float(np.append(envelope, 0.0)[reached].mean())


def _average_precision(found: Match) -> float:
    return _ratio(found.tp, found.tp + found.fp + found.fn, found)


def _f1(found: Match) -> float:
    return _ratio(2 * found.tp, found.n_true + found.n_pred, found)


def _panoptic_quality(found: Match) -> float:
    return _ratio(float(found.iou.sum()), (found.n_true + found.n_pred) / 2, found)


def _mean_iou(found: Match) -> float:
    return float(found.iou.mean()) if found.tp else _ratio(float("nan"), 1, found)


def _size_bias(found: Match) -> float:
    return float(np.median(np.sqrt(found.pred_areas / found.true_areas) - 1)) if found.tp else float("nan")


def _ratio(numerator: float, denominator: float, found: Match) -> float:
    if found.n_true == found.n_pred == 0:
        return 1.0
    return float(numerator / denominator) if denominator else 0.0
