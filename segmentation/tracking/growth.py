"""Growth: how fast each particle's diameter changes."""

from __future__ import annotations

from math import factorial

import numpy as np
import pandas as pd

from segmentation.columns import as_numbers, whole_numbers
from segmentation.tracking.tracks import DIAMETERS, Tracks
from simulate.errors import InputError, check_count, check_kind, check_within


def growth_rates(tracks: Tracks, *, confidence: float = 0.95, min_frames: int = 5) -> pd.DataFrame:
    """Return each particle's growth rate: the median of the slopes between all pairs of its frames (Theil-Sen).

    Parameters
    ----------
    tracks : Tracks
        Trajectories.
    confidence : float
        Of the intervals, which follow from Kendall's tau (Sen 1968). Of so few frames that not even the extreme slopes
        have it (fewer than 5 for 95 %) there is none: NaN.
    min_frames : int
        Particles seen in fewer frames are left out.

    Returns
    -------
    pandas.DataFrame
        `particle`, `n_frames`, and `growth_nm_per_s`, `growth_low_nm_per_s`, `growth_high_nm_per_s` (px and frame in
        place of nm and s where those are not known).

    Raises
    ------
    InputError
        If `confidence` or `min_frames` are out of range, or the trajectories have no diameters.

    References
    ----------
    Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American Statistical
    Association 63, 1379-1389 (1968), https://doi.org/10.1080/01621459.1968.10480934.
    """
    from scipy.stats import theilslopes

    check_kind(tracks, "tracks", Tracks)
    check_within(confidence, "confidence", 0.5, 1 - 1e-9)
    check_count(min_frames, "min_frames", 3)
    column = next((name for name in DIAMETERS if name in tracks.table), DIAMETERS[1])
    if len(tracks.table) and column not in tracks.table:
        raise InputError(f"the trajectories have no column {' or '.join(DIAMETERS)}; expected one to fit")
    if len(tracks.table) and not np.isfinite(as_numbers(tracks.table, [column])).all():
        raise InputError(f"{column} is not everywhere a finite number; leave those rows out")
    per = f"{column[-2:]}_per_{'frame' if tracks.frame_interval_s is None else 's'}"
    rows = []
    for particle, one in tracks.table.groupby(whole_numbers(tracks.table, "particle")):
        if len(one) < min_frames:
            continue
        time = one["frame"].to_numpy(float) * (tracks.frame_interval_s or 1.0)
        slope, _, low, high = np.array(theilslopes(one[column].to_numpy(float), time, alpha=confidence), dtype=float)
        if 1 - 2 / factorial(len(one)) < confidence:
            low = high = float("nan")
        rows.append((particle, len(one), slope, low, high))
    names = ["particle", "n_frames", f"growth_{per}", f"growth_low_{per}", f"growth_high_{per}"]
    table = pd.DataFrame(np.array(rows, dtype=float).reshape(-1, 5), columns=names)
    return table.astype({"particle": int, "n_frames": int})
