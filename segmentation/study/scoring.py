"""The figures of one case: image quality, segmentation and measurement, each against the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.metrics import psnr, ssim
from cs_recon.resolution import frc_resolution
from segmentation.matching import greedy_hits, match_overlaps, overlaps
from segmentation.measure import measure
from segmentation.scores import COCO_IOUS, interpolated_ap, score

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from segmentation.instances import Instances
    from segmentation.study.frames import StudyFrame

IOUS = (0.5, 0.75)


def image_scores(truth: NDArray, image: NDArray) -> dict[str, float]:
    """Return `psnr_db`, `ssim` and `frc_px` (the period of the finest detail; infinite for a constant image)."""
    return {
        "psnr_db": psnr(truth, image),
        "ssim": ssim(truth, image),
        "frc_px": frc_resolution(truth, image) if np.ptp(image) > 0 else float("inf"),
    }


def particle_scores(frame: StudyFrame, found: Instances) -> dict[str, Any]:
    """Return how well particles and their sizes agree with the truth.

    Returns
    -------
    dict
        What `segmentation.scores.score` gives at IoU 0.5 and 0.75, with `n_pred` as `n_found`; and

        - `diameter_bias`: mean equivalent diameter found over the true one, less 1; of all particles, matched or not
        - `size_wasserstein_px`: distance of the distributions of diameters (`scipy.stats.wasserstein_distance`);
          `size_wasserstein_relative`: over the mean true diameter
        - `size_ks`: largest difference of the cumulative distributions (Kolmogorov and Smirnov's), 0 to 1
        - `true_diameters_px`, `true_found`: the diameter of each true particle, and 1 if it is matched at IoU 0.5
        - `found_diameters_px`, `found_scores`, `found_hits`: of each found particle its diameter and score, and
          the IoUs of `COCO_IOUS` at which it is a hit, as bits (see `pooled_coco_ap`)

        Distances are 0 if there are no particles, found or true, and NaN if there are none in one of both.
    """
    scores = score(frame.labels, found.labels, IOUS)
    scores["n_found"] = scores.pop("n_pred")
    table = overlaps(frame.labels, found)
    matched = match_overlaps(table, 0.5).true_ids
    sizes = _diameters(measure(found))
    hits = sum(greedy_hits(table, found.scores, threshold) << bit for bit, threshold in enumerate(COCO_IOUS))
    return {
        **scores,
        **size_distances(frame.diameters_px, sizes),
        "true_diameters_px": frame.diameters_px.tolist(),
        "true_found": np.isin(table.true_ids, matched).astype(float).tolist(),
        "found_diameters_px": sizes.tolist(),
        "found_scores": found.scores.astype(float).tolist(),
        "found_hits": np.asarray(hits, dtype=float).tolist(),
    }


def size_distances(true: ArrayLike, found: ArrayLike) -> dict[str, float]:
    """Return `diameter_bias`, `size_wasserstein_px`, `size_wasserstein_relative` and `size_ks` of two sets of sizes.

    >>> size_distances([8.0, 12.0], [9.0, 13.0])["size_wasserstein_relative"]
    0.1
    """
    from scipy.stats import wasserstein_distance

    first, second = (np.sort(np.asarray(sizes, dtype=np.float64)) for sizes in (true, found))
    if not (first.size and second.size):
        none = 0.0 if first.size == second.size else float("nan")
        names = ("diameter_bias", "size_wasserstein_px", "size_wasserstein_relative", "size_ks")
        return dict.fromkeys(names, none)
    distance = float(wasserstein_distance(first, second))
    at = np.concatenate([first, second])
    shares = [np.searchsorted(sizes, at, side="right") / sizes.size for sizes in (first, second)]
    return {
        "diameter_bias": float(second.mean() / first.mean() - 1),
        "size_wasserstein_px": distance,
        "size_wasserstein_relative": distance / float(first.mean()),
        "size_ks": float(np.abs(shares[0] - shares[1]).max()),
    }


def pooled_coco_ap(rows: pd.DataFrame, ious: Sequence[float] = COCO_IOUS) -> float:
    """Return COCO's average precision over the frames of rows, as `segmentation.scores.coco_ap` has it.

    Particles of all rows are ranked together, which no mean over frames does; so give rows that differ by frame alone.
    Rows of failed cases count as nothing.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of a study.
    ious : sequence of float
        Thresholds, of `COCO_IOUS`.
    """
    good: Any = rows[rows["error"] == ""]
    scores, bits = (
        np.concatenate([np.asarray(one, dtype=np.float64) for one in good[name]] or [np.zeros(0)])
        for name in ("found_scores", "found_hits")
    )
    n_true = int(good["n_true"].sum())
    if n_true == 0:
        return 1.0 if scores.size == 0 else 0.0
    ranked = bits[np.argsort(-scores, kind="stable")].astype(np.int64)
    return float(np.mean([interpolated_ap((ranked >> COCO_IOUS.index(threshold)) & 1, n_true) for threshold in ious]))


def _diameters(table: pd.DataFrame) -> NDArray[np.float64]:
    return table["equivalent_diameter_px"].to_numpy(np.float64)
