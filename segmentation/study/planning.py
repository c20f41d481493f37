"""Plan an acquisition: study the frames at hand, ask where the answer is unsure, and answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from segmentation.study.cases import FULL_SCAN
from segmentation.study.executors import inline
from segmentation.study.frames import frame_specs, load_frame
from segmentation.study.planner import check_beam_current, check_frames, plan_from_rows
from segmentation.study.sweep import note_study, sweep
from simulate.errors import InputError, check_count

if TYPE_CHECKING:
    import os

    from segmentation.study.config import StudyConfig
    from segmentation.study.executors import Executor
    from segmentation.study.plans import Plan, Wish

FULL_SCAN_DOSES = 6


def plan(
    config: StudyConfig,
    wish: Wish,
    folder: str | os.PathLike[str],
    *,
    shape: tuple[int, int] | None = None,
    rounds: int = 2,
    executor: Executor = inline,
    progress: bool = False,
) -> tuple[Plan, pd.DataFrame]:
    """Return the cheapest acquisition that reaches the targets, and the rows of the study it was learnt from.

    Beside the study's scans, fast full scans over the whole range of total doses are studied, denoised by the study's
    reconstructors and by the method ``"full-scan"``: where they are cheaper, the answer is not to sub-sample.

    Parameters
    ----------
    config : StudyConfig
        Frames like the one to be scanned, and the schemes, ratios, doses and methods to choose from. Its `equal_cost`
        is not used.
    wish : Wish
        Targets and budgets.
    folder : path
        Where the rows go; planning again with other targets uses them again.
    shape : (int, int), optional
        Of the frame to be scanned; by default that of the study's first one.
    rounds : int
        How often at most to study further cases where the answer is unsure.
    executor : callable
        Where the study runs, see `sweep`.
    progress : bool
        Whether to draw bars.

    Returns
    -------
    plan : Plan
    rows : pandas.DataFrame

    Raises
    ------
    InputError
        For a study that cannot be planned from, see `planner.plan_from_rows`.
    """
    check_count(rounds, "rounds")
    check_beam_current(config.scan)
    check_frames(len(frame_specs(config.frames)))
    if not all(config.doses):
        raise InputError("a dose of the study is 0, no noise; expected doses above 0, which cost something")
    size = shape or frame_shape(config)
    sparse, full = replace(config, equal_cost=()), full_scans(config)
    studies = [sparse, full]
    while True:
        rows = pd.concat([sweep(one, folder, executor=executor, progress=progress) for one in studies])
        rows = rows.drop_duplicates("key", ignore_index=True)
        if all(rows["error"] != ""):
            raise InputError(f"every case of the study failed: {rows['error'].iloc[0]}")
        found = plan_from_rows(rows, wish, config.scan, size, pixel_size_nm=_pixel_size_nm(rows))
        if not found.wanted or rounds == 0:
            note_study(Path(folder), config, rows["key"].to_list())
            return found, rows
        rounds -= 1
        for scheme, ratio, counts in found.wanted:
            more = full if ratio == 1 else replace(sparse, schemes=(scheme,), ratios=(ratio,))
            studies.append(replace(more, doses=(counts,)))


def full_scans(config: StudyConfig) -> StudyConfig:
    """Return the study of the fast full scans that stand against a study's sparse ones, denoised by every method."""
    methods = (*config.reconstructors, FULL_SCAN.label)
    return replace(config, equal_cost=(), ratios=(1.0,), doses=full_scan_doses(config), reconstructors=methods)


def full_scan_doses(config: StudyConfig) -> tuple[float, ...]:
    """Return peak counts of full scans whose total doses span those of a study's scans, 3 significant digits each.

    >>> from segmentation.study.config import StudyConfig
    >>> full_scan_doses(StudyConfig(ratios=(0.1, 0.5), doses=(10, 1000)))
    (1.0, 3.98, 15.8, 63.1, 251.0, 1000.0)
    """
    doses = np.geomspace(min(config.ratios) * min(config.doses), max(config.doses), FULL_SCAN_DOSES)
    return tuple(float(f"{dose:.3g}") for dose in doses)


def frame_shape(config: StudyConfig) -> tuple[int, int]:
    """Return the shape of a study's first frame."""
    rows, cols = load_frame(frame_specs(config.frames)[0]).image.shape
    return rows, cols


def _pixel_size_nm(rows: pd.DataFrame) -> float | None:
    """Return the frames' pixel size if it is one and the same; a case that failed says nothing of it."""
    sizes = rows.loc[rows["error"] == "", "pixel_size_nm"].unique()
    return float(sizes[0]) if len(sizes) == 1 and np.isfinite(sizes[0]) else None
