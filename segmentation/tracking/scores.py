"""Scores of trajectories against the truth: HOTA, MOTA and IDF1, and the F1 of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from segmentation.columns import as_numbers, whole_numbers
from segmentation.tracking.tracks import overlaps as mask_overlaps
from simulate.errors import InputError, check_positive, check_within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

ALPHAS = np.arange(1, 20) * 0.05
THRESHOLD = 0.5
_EPSILON = np.finfo(float).eps


def disk_overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Jaccard overlaps (N, M) of disks (x, y, diameter) in rows of (N, 3) and (M, 3)."""
    r, s = first[:, None, 2] / 2, second[None, :, 2] / 2
    d = np.hypot(*(first[:, None, k] - second[None, :, k] for k in (0, 1)))
    apart = np.maximum(d, _EPSILON)
    a = np.arccos(np.clip((apart**2 + r**2 - s**2) / (2 * apart * r), -1, 1))
    b = np.arccos(np.clip((apart**2 + s**2 - r**2) / (2 * apart * s), -1, 1))
    shared = r**2 * (a - np.sin(2 * a) / 2) + s**2 * (b - np.sin(2 * b) / 2)
    return shared / (np.pi * (r**2 + s**2) - shared)


def score_tracks(
    found: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    diameter: str = "diameter_px",
    labels: Mapping[int, tuple[NDArray[np.int32], NDArray[np.int32]]] | None = None,
) -> dict[str, float]:
    r"""Score trajectories by the overlaps of disks at their positions, or of their masks.

    HOTA is the mean over the thresholds :math:`\alpha` = 0.05 ... 0.95 of
    :math:`\sqrt{\mathrm{DetA}_\alpha \mathrm{AssA}_\alpha}`, where DetA is the Jaccard index of detections and AssA the
    mean over matched detections of the Jaccard index of their trajectories. MOTA (1 less misses, false ones and
    switches of identity over all true detections) and IDF1 take overlaps of at least one half.

    Parameters
    ----------
    found, truth : pandas.DataFrame
        With `frame`, `particle`, `x`, `y`, and the column named by `diameter`, in pixels.
    diameter : str
        The column with the disks' diameters.
    labels : mapping from frame to (array of int, array of int), optional
        The found and the true label map (H, W) of each frame: overlaps are then those of the masks, and tables need
        `label` (the true one may go without: its particles are the labels) instead of positions and diameters.

    Returns
    -------
    dict of str to float
        `hota`, `det_a`, `ass_a`, `mota`, `idf1` (all at most 1) and the number of `switches`; scores are 1 where there
        is nothing to find and nothing was found.

    Raises
    ------
    InputError
        If a column or a frame's label maps are missing, a value is no number, or a particle is twice in a frame.

    References
    ----------
    Luiten et al., "HOTA: A higher order metric for evaluating multi-object tracking", International Journal of
    Computer Vision 129, 548-578 (2021), https://doi.org/10.1007/s11263-020-01375-2.
    Bernardin and Stiefelhagen, "Evaluating multiple object tracking performance: the CLEAR MOT metrics", EURASIP
    Journal on Image and Video Processing 2008, 246309, https://doi.org/10.1155/2008/246309.
    Ristani et al., "Performance measures and a data set for multi-target, multi-camera tracking", ECCV Workshops
    (2016), https://doi.org/10.1007/978-3-319-48881-3_2.
    """
    if labels is not None and "label" not in truth and "particle" in truth:
        truth = truth.assign(label=truth["particle"])
    columns = ["x", "y", diameter] if labels is None else ["label"]
    for table, name in ((found, "found"), (truth, "true")):
        lacking = [column for column in ("frame", "particle", *columns) if column not in table]
        if lacking:
            raise InputError(f"the {name} trajectories have no column {lacking[0]!r}; expected it in both tables")
        numbers = as_numbers(table, columns)
        if not np.isfinite(numbers).all() or (labels is None and (numbers[:, 2] <= 0).any()):
            raise InputError(
                f"the {name} trajectories hold positions or labels that are no finite numbers, or diameters that are "
                "not above 0; leave those rows out"
            )
        for column in ("frame", "particle"):
            whole_numbers(table, column)
        if table.duplicated(["frame", "particle"]).any():
            raise InputError(f"the {name} trajectories hold a particle twice in one frame; expected it once")
    if not len(found) and not len(truth):
        return {"hota": 1.0, "det_a": 1.0, "ass_a": 1.0, "mota": 1.0, "idf1": 1.0, "switches": 0.0}
    ids = [np.unique(whole_numbers(table, "particle"), return_inverse=True)[1] for table in (truth, found)]
    frames = [whole_numbers(table, "frame") for table in (truth, found)]
    shapes = [table[columns].to_numpy(float if labels is None else np.int64) for table in (truth, found)]
    truths, founds, overlaps = [], [], []
    for number in np.union1d(*frames):
        rows = [np.flatnonzero(frame == number) for frame in frames]
        truths.append(ids[0][rows[0]])
        founds.append(ids[1][rows[1]])
        true, guess = shapes[0][rows[0]], shapes[1][rows[1]]
        if labels is None:
            overlaps.append(disk_overlaps(true, guess))
        elif number not in labels:
            raise InputError(f"there are no label maps of frame {number}; expected those of all frames with particles")
        else:
            maps = labels[number]
            overlaps.append(mask_overlaps(maps[1], maps[0], true[:, 0], guess[:, 0]).toarray())
    return scores_of(truths, founds, overlaps)


def scores_of(truths: Sequence[NDArray], founds: Sequence[NDArray], overlaps: Sequence[NDArray]) -> dict[str, float]:
    """Score by each frame's true ids (N,), found ids (M,), both counted from 0, and overlaps (N, M)."""
    return _hota(truths, founds, overlaps) | _clear(truths, founds, overlaps) | _identity(truths, founds, overlaps)


def _sizes(numbers: Sequence[NDArray]) -> NDArray[np.float64]:
    return np.bincount(np.concatenate(numbers).astype(np.int64)).astype(float)


def _hota(truths: Sequence[NDArray], founds: Sequence[NDArray], overlaps: Sequence[NDArray]) -> dict[str, float]:
    of_truth, of_found = _sizes(truths), _sizes(founds)
    if not of_truth.size or not of_found.size:
        return {"hota": 0.0, "det_a": 0.0, "ass_a": 0.0}
    potential = np.zeros((of_truth.size, of_found.size))
    for true, found, overlap in zip(truths, founds, overlaps, strict=True):
        either = overlap.sum(0, keepdims=True) + overlap.sum(1, keepdims=True) - overlap
        potential[np.ix_(true, found)] += np.divide(
            overlap, either, where=either > _EPSILON, out=np.zeros_like(overlap)
        )
    # One assignment a frame for all thresholds, drawn towards pairs that go together in the whole movie.
    alignment = potential / (of_truth[:, None] + of_found[None] - potential)
    pairs, matched = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for true, found, overlap in zip(truths, founds, overlaps, strict=True):
        rows, cols = linear_sum_assignment(alignment[np.ix_(true, found)] * overlap, maximize=True)
        pairs.append(true[rows] * of_found.size + found[cols])
        matched.append(overlap[rows, cols])
    codes, which = np.unique(np.concatenate(pairs), return_inverse=True)
    good = np.concatenate(matched) >= ALPHAS[:, None] - _EPSILON
    # How often each pair of trajectories is matched, (thresholds, pairs).
    matches = np.array([np.bincount(which, weights=one, minlength=codes.size) for one in good])
    hits = matches.sum(axis=1)
    det = hits / (of_truth.sum() + of_found.sum() - hits)
    true, found = np.divmod(codes, of_found.size)
    jaccard = matches / np.maximum(1, of_truth[true] + of_found[found] - matches)
    ass = (matches * jaccard).sum(axis=1) / np.maximum(1, hits)
    return {"hota": float(np.sqrt(det * ass).mean()), "det_a": float(det.mean()), "ass_a": float(ass.mean())}


def _clear(truths: Sequence[NDArray], founds: Sequence[NDArray], overlaps: Sequence[NDArray]) -> dict[str, float]:
    n_truth, n_found = sum(map(len, truths)), sum(map(len, founds))
    latest: dict[int, int] = {}  # each true particle's last match
    current: dict[int, int] = {}  # those of the frame before
    hits = switches = 0
    for true, found, overlap in zip(truths, founds, overlaps, strict=True):
        if not overlap.size:
            continue  # as TrackEval: what was matched before such a frame still is
        kept = np.array([[current.get(int(t)) == int(f) for f in found] for t in true]).reshape(overlap.shape)
        gain = np.where(overlap >= THRESHOLD - _EPSILON, 1000.0 * kept + overlap, 0)
        rows, cols = linear_sum_assignment(gain, maximize=True)
        good = gain[rows, cols] > 0
        current = {int(t): int(f) for t, f in zip(true[rows[good]], found[cols[good]], strict=True)}
        switches += sum(latest.get(t, f) != f for t, f in current.items())
        hits += len(current)
        latest |= current
    errors = n_truth - hits + n_found - hits + switches
    return {"mota": 1 - errors / max(1, n_truth), "switches": float(switches)}


def _identity(truths: Sequence[NDArray], founds: Sequence[NDArray], overlaps: Sequence[NDArray]) -> dict[str, float]:
    of_truth, of_found = _sizes(truths), _sizes(founds)
    both = np.zeros((of_truth.size, of_found.size))
    for true, found, overlap in zip(truths, founds, overlaps, strict=True):
        both[np.ix_(true, found)] += overlap >= THRESHOLD - _EPSILON
    rows, cols = linear_sum_assignment(both, maximize=True)
    return {"idf1": float(2 * both[rows, cols].sum() / (of_truth.sum() + of_found.sum()))}


def event_score(
    found: pd.DataFrame, truth: pd.DataFrame, *, frames: int = 5, distance: float = 16.0, kind: str = "merge"
) -> dict[str, float]:
    """Score events of a kind: one found is right if a true one of its own lies near it in time and space.

    Parameters
    ----------
    found, truth : pandas.DataFrame
        With `frame`, `kind`, `x`, `y`.
    frames : int
        Largest difference in frames.
    distance : float
        Largest distance in the unit of the positions.
    kind : str
        Which events to compare.

    Returns
    -------
    dict of str to float
        `precision`, `recall`, `f1` (NaN where nothing was found or there is nothing to find), `n_found`, `n_true`.

    Examples
    --------
    >>> import pandas as pd
    >>> truth = pd.DataFrame({"frame": [3, 9], "kind": "merge", "x": [5.0, 50.0], "y": 5.0})
    >>> event_score(truth.iloc[:1], truth)["recall"]
    0.5
    """
    check_within(frames, "frames")
    check_positive(distance, "distance")
    a, b = (table[["frame", "x", "y"]].to_numpy(float)[table["kind"].to_numpy() == kind] for table in (found, truth))
    apart = np.abs(a[:, None, 0] - b[None, :, 0])
    away = np.hypot(a[:, None, 1] - b[None, :, 1], a[:, None, 2] - b[None, :, 2])
    good = (apart <= frames) & (away <= distance)
    rows, cols = linear_sum_assignment(good, maximize=True)
    hits = float(good[rows, cols].sum())
    precision, recall, f1 = (hits / n if n else np.nan for n in (len(a), len(b), (len(a) + len(b)) / 2))
    return {"precision": precision, "recall": recall, "f1": f1, "n_found": float(len(a)), "n_true": float(len(b))}
