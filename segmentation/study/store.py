"""The rows of a study on disk: a small Parquet file for each finished job, merged into one at the end.

Each file is written whole or not at all and never changed, so that whatever stops a study, what was finished is kept
and can be read. A row is known by its key; where a kill between merging and tidying left one twice, it counts once.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from simulate.atomic import atomic_path, make_folder
from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from segmentation.study.evaluate import Row

_TEXT = (
    "key", "frame", "source", "scheme", "pairing", "paired_scheme", "recon", "segmenter", "mapping", "model", "error",
)  # fmt: skip
_LISTS = ("true_diameters_px", "true_found", "found_diameters_px", "found_scores", "found_hits")
_PER_IOU = ("average_precision", "f1", "precision", "recall", "panoptic_quality", "mean_matched_iou", "size_bias")
COLUMNS = (
    "key", "frame", "source", "frame_seed", "pixel_size_nm",
    "scheme", "ratio", "peak_counts", "pairing", "paired_scheme", "paired_ratio",
    "recon", "segmenter", "mapping", "model",
    "realised_ratio", "n_positions", "dwell_us", "scan_current_pA", "visit_counts", "read_noise_counts",
    "frame_time_ms",
    "relative_dose", "full_scan_counts", "dose_e_per_A2",
    "psnr_db", "ssim", "frc_px",
    "n_true", "n_found", "count_error",
    *(f"{name}@{iou}" for iou in ("0.5", "0.75") for name in _PER_IOU),
    "mean_average_precision", "aggregated_jaccard", "boundary_f",
    "diameter_bias", "size_wasserstein_px", "size_wasserstein_relative", "size_ks",
    "seconds_reconstruct", "seconds_segment",
    *_LISTS,
    "error",
)  # fmt: skip
"""The columns of a study's rows, of which `run_job` and `particle_scores` tell the meaning."""

ROWS, PARTS = "rows.parquet", "parts"


class RowStore:
    """The rows in a folder.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = RowStore(Path(folder))
    ...     store.add([{"key": "a", "psnr_db": 31.0, "error": ""}])
    ...     _ = store.merge()
    ...     store.read().psnr_db.tolist()
    [31.0]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder)
        self.parts = make_folder(folder / PARTS)
        for left in self.parts.glob(".part-*"):  # what a kill left half-written
            left.unlink(missing_ok=True)

    def add(self, rows: Sequence[Row]) -> None:
        """Write the rows of one job; `InputError`, after which all rows before are kept, where the disk is full."""
        name = hashlib.sha256("".join(str(row["key"]) for row in rows).encode()).hexdigest()[:20]
        self._write(self.parts / f"part-{name}.parquet", rows)

    def read(self) -> pd.DataFrame:
        """Return all rows, each once; a row written later stands for one of the same key before."""
        return _read(self.folder, _files(self.folder))

    def failed(self) -> set[str]:
        """Return the keys of rows with an error."""
        rows = self.read()
        return set(rows.loc[rows["error"] != "", "key"])

    def keys(self) -> set[str]:
        """Return the keys of all rows."""
        return set(self.read()["key"])

    def merge(self) -> Path:
        """Bring all rows into the one file `ROWS` and remove the parts; return its path."""
        files = _files(self.folder)
        target = self.folder / ROWS
        if files != [target]:
            self._write(target, self.read())
            for file in files:
                if file != target:
                    file.unlink()
        return target

    def _write(self, path: Path, rows: Sequence[Row] | pd.DataFrame) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if isinstance(rows, list | tuple):
            table = pa.Table.from_pylist(list(rows), schema=_schema())
        else:
            table = pa.Table.from_pandas(rows, schema=_schema(), preserve_index=False)  # pyright: ignore[reportArgumentType]
        try:
            with atomic_path(path) as temporary:
                pq.write_table(table, temporary)
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())  # a name must not get to the disk before what it names
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror or error}; the rows so far are kept in {self.folder}: make room "
                "and run the same command again to go on"
            ) from None


def read_rows(folder: Path) -> pd.DataFrame:
    """Return the rows in a study's folder, also of one that is running or was stopped.

    Raises
    ------
    InputError
        If there are none, or a file holds something else.
    """
    files = _files(folder)
    if not files:
        raise InputError(f"no rows of a study in {folder}; expected {ROWS} or {PARTS}/part-*.parquet")
    return _read(folder, files)


def _files(folder: Path) -> list[Path]:
    """Return the files of rows in a folder, those written later last."""
    parts = sorted((folder / PARTS).glob("part-*.parquet"), key=lambda file: (file.stat().st_mtime_ns, file.name))
    merged = folder / ROWS
    return [*([merged] if merged.is_file() else []), *parts]


def _read(folder: Path, files: Iterable[Path]) -> pd.DataFrame:
    import pyarrow as pa

    schema = _schema()
    tables = [_table(file, schema) for file in files]
    rows = pa.concat_tables(tables) if tables else schema.empty_table()
    return rows.to_pandas().drop_duplicates("key", keep="last", ignore_index=True)


def _table(file: Path, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file.absolute())
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{file} is no readable Parquet file ({error}); remove it, its rows are computed again"
        ) from None
    if table.schema.remove_metadata() != schema:
        raise InputError(f"{file} holds other columns than this study's; choose another folder")
    return table


def _schema() -> Any:
    import pyarrow as pa

    def kind(name: str) -> pa.DataType:
        if name in _TEXT:
            return pa.string()
        return pa.list_(pa.float64()) if name in _LISTS else pa.float64()

    return pa.schema([(name, kind(name)) for name in COLUMNS])
