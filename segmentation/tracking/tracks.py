"""Tracking: particle tables of a movie's frames become trajectories and events."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array

from segmentation import matching
from segmentation.columns import as_flags, as_numbers, whole_numbers
from segmentation.instances import Instances, check_labels
from segmentation.tracking.events import find_events
from segmentation.tracking.linker import Detections, link
from simulate.errors import InputError, PixelSize, check_count, check_pixel_size, check_positive, check_within
from simulate.errors import pixel_size_pair as pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from scipy.sparse import csr_array

DIAMETERS = ("equivalent_diameter_nm", "equivalent_diameter_px")


@dataclass(frozen=True, eq=False)
class Tracks:
    """Trajectories and events.

    Parameters
    ----------
    table : pandas.DataFrame
        The particle tables one below the other with `frame` and `particle` (from 0) in front.
    events : pandas.DataFrame
        See `segmentation.tracking.events.find_events`.
    pixel_size_nm : float or (float, float), optional
        Pixel size (row, column) in nm.
    frame_interval_s : float, optional
        Time from a frame to the next in s.
    """

    table: pd.DataFrame
    events: pd.DataFrame
    pixel_size_nm: PixelSize | None = None
    frame_interval_s: float | None = None

    def __len__(self) -> int:
        return int(np.unique(self.table["particle"].to_numpy()).size)


def track(
    tables: pd.DataFrame | Sequence[pd.DataFrame | None],
    *,
    labels: Sequence[Instances | ArrayLike | None] | None = None,
    max_step_px: float | None = None,
    max_gap: int = 2,
    size_weight: float = 1.0,
    pixel_size_nm: PixelSize | None = None,
    frame_interval_s: float | None = None,
) -> Tracks:
    """Link the particles of a movie's frames into trajectories.

    Parameters
    ----------
    tables : DataFrame or sequence of DataFrame or None
        One table for each frame as `segmentation.measure` gives, None for a frame that is missing; or one table of
        all with the column `frame`, where frames without a row count as missing. `x` and `y` are in pixels; the sizes
        are taken from `equivalent_diameter_nm` or `equivalent_diameter_px`. With `touches_border`, particles that
        enter or leave are told from those that appear or disappear.
    labels : sequence of Instances, array_like of int, or None, shape (H, W), optional
        The frames' label maps, one for each table, to judge by overlap as well; not with one table of all.
    max_step_px : float, optional
        Longest way from a frame to the next in pixels; the median diameter if None.
    max_gap : int
        Frames in a row in which a particle may be overlooked.
    size_weight : float
        Weight of the sizes, see `segmentation.tracking.linker.link`.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, needed where diameters are in nm; if None, that of the label maps or, where the tables say it
        by an attribute of this name (`DataFrame.attrs`), theirs.
    frame_interval_s : float, optional
        Time from a frame to the next in s.

    Returns
    -------
    Tracks
        Without particles, with empty tables.

    Raises
    ------
    InputError
        If a table lacks a column, or frames differ in pixel size, unit or shape.

    Examples
    --------
    >>> tables = [pd.DataFrame({"x": [5.0 + t, 40.0], "y": 9.0, "equivalent_diameter_px": 6.0}) for t in range(3)]
    >>> track(tables).table[["frame", "particle", "x"]].to_numpy().astype(int).tolist()
    [[0, 0, 5], [0, 1, 40], [1, 0, 6], [1, 1, 40], [2, 0, 7], [2, 1, 40]]
    """
    check_count(max_gap, "max_gap")
    check_within(size_weight, "size_weight")
    if frame_interval_s is not None:
        check_positive(frame_interval_s, "frame_interval_s", "give it in s")
    if max_step_px is not None:
        check_positive(max_step_px, "max_step_px")
    numbers, frames = _frames(tables)
    size = _one_pixel_size(pixel_size_nm, numbers, frames, labels)
    column = _diameter_column(frames)
    if column.endswith("_nm") and size is None and any(len(frame) for frame in frames):
        raise InputError("diameters are in nm but no pixel size was given; give pixel_size_nm")
    height, width = pair(size)
    mean = np.sqrt(height * width)
    detections = [
        _detections(n, frame, column, (width / mean, height / mean), mean)
        for n, frame in zip(numbers, frames, strict=True)
    ]
    maps = _label_maps(labels, tables, frames)
    diameters = np.concatenate([one.diameters for one in detections]) if detections else np.zeros(0)
    step = max_step_px if max_step_px is not None else float(np.median(diameters)) if diameters.size else 1.0
    none = np.zeros(0, np.int64)
    ids = [] if maps is None else [whole_numbers(frame, "label") if len(frame) else none for frame in frames]
    overlap = None if maps is None else lambda i, j: overlaps(maps[i], maps[j], ids[i], ids[j])
    particles = link(detections, step, max_gap=int(max_gap), size_weight=size_weight, overlap=overlap)
    events = find_events(detections, particles, _borders(frames), max_gap=int(max_gap))
    if len(events):
        events["x"] *= mean / width
        events["y"] *= mean / height
    blocks = []
    for number, frame, particle in zip(numbers, frames, particles, strict=True):
        block = frame.drop(columns=[name for name in ("frame", "particle") if name in frame]).reset_index(drop=True)
        block.insert(0, "frame", np.full(len(block), number, dtype=np.int64))
        block.insert(1, "particle", particle)
        blocks.append(block)
    filled = [block for block in blocks if len(block)] or blocks[:1]
    empty = pd.DataFrame({"frame": np.zeros(0, int), "particle": np.zeros(0, int), "x": np.zeros(0), "y": np.zeros(0)})
    table = pd.concat(filled, ignore_index=True) if filled else empty
    return Tracks(table, events, size, frame_interval_s)


def overlaps(first: NDArray, second: NDArray, first_ids: NDArray, second_ids: NDArray) -> csr_array:
    """Return the Jaccard overlaps of the particles of two label maps, in the order of their ids, as a sparse array."""
    found = matching.overlaps(first, second)
    rows, cols = (
        _places(ids, present)[index]
        for ids, present, index in (
            (first_ids, found.true_ids, found.true_index), (second_ids, found.pred_ids, found.pred_index),
        )
    )  # fmt: skip
    good = (rows >= 0) & (cols >= 0)
    return coo_array((found.iou[good], (rows[good], cols[good])), shape=(len(first_ids), len(second_ids))).tocsr()


def _places(ids: NDArray, present: NDArray) -> NDArray[np.int64]:
    """Return where each label that is present stands among `ids`; -1 if it does not."""
    if not len(ids):
        return np.full(len(present), -1)
    order = np.argsort(ids, kind="stable")
    at = order[np.searchsorted(ids, present, sorter=order).clip(max=len(ids) - 1)]
    return np.where(np.asarray(ids)[at] == present, at, -1)


def _one_pixel_size(
    given: PixelSize | None,
    numbers: list[int],
    frames: list[pd.DataFrame],
    labels: Sequence[Instances | ArrayLike | None] | None,
) -> PixelSize | None:
    """Return the pixel size that all frames share; `InputError` if two differ."""
    sizes = [
        (f"frame {number}", frame.attrs.get("pixel_size_nm")) for number, frame in zip(numbers, frames, strict=True)
    ]
    sizes += [(f"label map {i}", one.pixel_size_nm) for i, one in enumerate(labels or ()) if isinstance(one, Instances)]
    known = [("pixel_size_nm", given), *sizes]
    checked = [
        (name, check_pixel_size(tuple(size) if isinstance(size, list) else size))
        for name, size in known
        if size is not None
    ]
    for name, size in checked:
        if not np.allclose(pair(size), pair(checked[0][1]), rtol=1e-6, atol=0):
            raise InputError(
                f"pixel sizes differ: {checked[0][0]} has {checked[0][1]} nm but {name} has {size} nm; "
                "expected one for all frames: resample them, or track the parts of the movie apart"
            )
    return checked[0][1] if checked else None


def _borders(frames: list[pd.DataFrame]) -> list[NDArray[np.bool_]] | None:
    if not all("touches_border" in frame for frame in frames if len(frame)):
        return None
    none = np.zeros(0, dtype=bool)
    return [as_flags(frame, "touches_border") if len(frame) else none for frame in frames]


def _frames(tables: pd.DataFrame | Sequence[pd.DataFrame | None]) -> tuple[list[int], list[pd.DataFrame]]:
    if isinstance(tables, pd.DataFrame):
        if "frame" not in tables:
            raise InputError("the table has no column 'frame'; expected one, or a list with a table for each frame")
        split = list(_by_frame(tables))
    else:
        split = [(number, frame) for number, frame in enumerate(tables) if frame is not None]
    for number, frame in split:
        if not isinstance(frame, pd.DataFrame):
            raise InputError(f"frame {number} is a {type(frame).__name__}; expected a DataFrame, or None if missing")
        told: list[Any] = np.unique(frame["frame"].to_numpy()).tolist() if "frame" in frame else []
        if not isinstance(tables, pd.DataFrame) and told not in ([], [number]):
            raise InputError(
                f"table {number} says that it is of frame {told[0]}; expected one table for each frame in order, None "
                "where one is missing, or one table of all"
            )
        lacking = [name for name in ("x", "y") if name not in frame]
        if lacking and len(frame):
            raise InputError(f"the table of frame {number} has no column {lacking[0]!r}; expected x and y in pixels")
        if len(frame) and not np.isfinite(as_numbers(frame, ["x", "y"])).all():
            raise InputError(f"the table of frame {number} has positions that are not finite; leave those rows out")
    return [number for number, _ in split], [frame for _, frame in split]


def _by_frame(table: pd.DataFrame) -> Any:
    # By their values: frame numbers that are text would come in the order of the alphabet.
    return table.groupby(whole_numbers(table, "frame"), sort=True)


def _diameter_column(frames: list[pd.DataFrame]) -> str:
    filled = [frame for frame in frames if len(frame)]
    for name in DIAMETERS:
        if all(name in frame for frame in filled):
            return name
    raise InputError(
        f"the tables have no common column of {' or '.join(DIAMETERS)}: is the pixel size of some frames not known?"
    )


def _detections(number: int, frame: pd.DataFrame, column: str, scale: tuple[float, float], pixel: float) -> Detections:
    if not len(frame):
        return Detections(number, np.zeros((0, 2)), np.zeros(0))
    diameters = as_numbers(frame, [column])[:, 0] / (pixel if column.endswith("_nm") else 1.0)
    if not (np.isfinite(diameters) & (diameters > 0)).all():
        raise InputError(f"{column} of frame {number} is not everywhere above 0; leave those rows out")
    return Detections(number, frame[["x", "y"]].to_numpy(float) * scale, diameters)


def _label_maps(
    labels: Sequence[Instances | ArrayLike | None] | None, tables: object, frames: list[pd.DataFrame]
) -> list[NDArray] | None:
    if labels is None:
        return None
    if isinstance(tables, pd.DataFrame) or len(labels) != len(tables):  # pyright: ignore[reportArgumentType]
        raise InputError("labels do not fit the tables; expected a list of tables and one label map for each")
    maps = [
        one.labels if isinstance(one, Instances) else check_labels(one)
        for one, table in zip(labels, tables, strict=True)  # pyright: ignore[reportArgumentType]
        if table is not None
    ]
    if not all("label" in frame for frame in frames if len(frame)):
        raise InputError(
            "there are label maps but a table has no column 'label'; expected the particle's value on them"
        )
    for first, second in pairwise(maps):
        if first.shape != second.shape:
            raise InputError(f"label maps have shapes {first.shape} and {second.shape}; expected one shape")
    return maps
