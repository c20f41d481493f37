"""Run a study: every case that is not done yet, wherever it runs, each row kept as soon as it is there."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cs_recon.io.provenance import provenance, write_provenance
from segmentation.study.cases import expand, jobs_of
from segmentation.study.config import study_record
from segmentation.study.evaluate import run_job
from segmentation.study.executors import inline
from segmentation.study.store import RowStore
from simulate.atomic import sole_writer

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from segmentation.study.cases import Case
    from segmentation.study.config import StudyConfig
    from segmentation.study.executors import Executor

PROVENANCE = "study.json"
MERGE_EVERY = 500
"""Jobs after which their files become one, for a small file takes much of the disk for what it holds."""
GROUPS = ("pairing", "paired_scheme", "paired_ratio", "peak_counts", "recon", "segmenter", "mapping")
"""What tells the cells of a study apart: rows that agree in these differ by frame alone."""


def sweep(
    config: StudyConfig,
    folder: str | os.PathLike[str],
    *,
    executor: Executor = inline,
    retry: bool = False,
    progress: bool = False,
) -> pd.DataFrame:
    """Run every case of a study that its folder does not hold yet, and return the rows of all.

    Parameters
    ----------
    config : StudyConfig
        What to sweep over.
    folder : path
        Rows go here. A study that was stopped goes on where it was, with nothing lost but the jobs that were running;
        another study may use the same folder, and shares the rows of cases that both have.
    executor : callable
        `executors.inline`, `executors.local_processes(n)` or `executors.on_dask(address)`.
    retry : bool
        Whether cases that failed before are run again.
    progress : bool
        Whether to draw a bar with the time left.

    Returns
    -------
    pandas.DataFrame
        One row a case, in the order of `cases.expand`, with the columns of `store.COLUMNS`. A case that failed says why
        in `error`, and what it does not know is NaN or None.

    Raises
    ------
    InputError
        Before any work for what cannot be run, or where another run is writing into the folder; later if the disk is
        full or a scheduler is lost: the rows so far are kept.

    Examples
    --------
    >>> import tempfile
    >>> from segmentation.study.config import FrameChoice, StudyConfig
    >>> config = StudyConfig(
    ...     ratios=(0.2,), reconstructors=("linear",), segmenters=("threshold",), frames=FrameChoice(n=2, size=64)
    ... )
    >>> with tempfile.TemporaryDirectory() as out:
    ...     rows = sweep(config, out)
    >>> rows[["frame", "ratio", "recon", "error"]].values.tolist()
    [['ordinary-0', 0.2, 'linear', ''], ['ordinary-1', 0.2, 'linear', '']]
    """
    cases = expand(config, note=lambda text: tqdm.write(text, file=sys.stderr))
    with sole_writer(folder) as held:
        found = _rows_of(cases, RowStore(held), config, executor, retry=retry, progress=progress)
    lost = sum(case.key not in found.index for case in cases)
    if lost:
        raise RuntimeError(f"the executor gave back no rows for {lost} of {len(cases)} cases")
    return found.loc[[case.key for case in cases]].reset_index(drop=True)


def _rows_of(
    cases: Sequence[Case], store: RowStore, config: StudyConfig, executor: Executor, *, retry: bool, progress: bool
) -> pd.DataFrame:
    """Run the cases that the store lacks; return all its rows by their keys."""
    done = store.keys() - (store.failed() if retry else set())
    jobs = jobs_of(case for case in cases if case.key not in done)
    note_study(store.folder, config, [case.key for case in cases], weights=_weights(cases))
    left = sum(len(job) for job in jobs)
    with (
        tqdm(total=len(cases), initial=len(cases) - left, unit="case", disable=not progress, leave=False) as bar,
        closing(executor(jobs, partial(run_job, device=config.device))) as finished,
    ):
        for number, (job, rows) in enumerate(finished, 1):
            store.add(rows)
            bar.update(len(job))
            if number % MERGE_EVERY == 0:
                store.merge()
    store.merge()
    return store.read().set_index("key", drop=False)


def note_study(folder: Path, config: StudyConfig, keys: Sequence[str], **more: object) -> None:
    """Write what a study in a folder is, and which of the rows there are its own."""
    write_provenance(
        folder / PROVENANCE, provenance(study=study_record(config), cases=len(keys), **more, keys=list(keys))
    )


def cell_means(rows: pd.DataFrame, names: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return the means over frames of the given columns (all numbers if none), by `GROUPS`; failed cases left out.

    The index holds the groups; the column `frames` tells how many rows a mean is of.
    """
    untyped: Any = rows[rows["error"] == ""]
    chosen = list(names) or [name for name in untyped.select_dtypes("number").columns if name not in GROUPS]
    grouped = untyped.groupby(list(GROUPS), sort=False)
    table = grouped[chosen].mean()
    table.insert(0, "frames", grouped.size())
    return table


def _weights(cases: Any) -> dict[str, str]:
    methods = {method for case in cases for method in (case.recon, case.segment) if method is not None}
    return {method.label: method.weights_sha256 for method in methods if method.weights_sha256}
