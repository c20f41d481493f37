"""Write what was found: the table as CSV and Parquet, the particles as COCO JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.instances import Instances
from segmentation.paste import whole_mask
from simulate.atomic import atomic_path
from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray


def analysis_paths(folder: Path, stem: str) -> dict[str, Path]:
    """Return where an analysis is written: ``population``, ``fits``, ``dispersion``, ... (CSV) and figures (PNG)."""
    tables = ("population", "fits", "dispersion", "curves", "neighbours")
    paths = {name: folder / f"{stem}_{name}.csv" for name in tables}
    return paths | {f"{name}_figure": folder / f"{stem}_{name}.png" for name in ("population", "dispersion")}


def write_csv(path: str | os.PathLike[str], table: pd.DataFrame) -> Path:
    """Write a table as CSV, whole or not at all, and return its path."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return Path(path)


def write_table(path_stem: str | os.PathLike[str], table: pd.DataFrame) -> tuple[Path, Path]:
    """Write a particle table as CSV and as Parquet; units are in the column names.

    Parameters
    ----------
    path_stem : path
        Where, without a suffix: ``"out/particles"`` gives ``out/particles.csv`` and ``out/particles.parquet``. A dot
        in it (``"ratio_0.1"``) is part of the name.
    table : pandas.DataFrame
        From `measure`.

    Returns
    -------
    csv, parquet : Path
        The files written. Each is written whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from segmentation.measure import measure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     csv, _ = write_table(f"{folder}/particles", measure([[0, 1], [0, 1]]))
    ...     csv.read_text().split(",")[:4]
    ['label', 'x', 'y', 'area_px2']
    """
    stem = os.fspath(path_stem)
    csv, parquet = Path(stem + ".csv"), Path(stem + ".parquet")
    write_csv(csv, table)
    with atomic_path(parquet) as temporary:
        table.to_parquet(temporary, index=False)
    return csv, parquet


def write_coco(path: str | os.PathLike[str], instances: Instances | Sequence[Instances]) -> Path:
    """Write particles in COCO's annotation format, with masks as uncompressed run lengths.

    Image and annotation ids count from 1; the particle's own id is kept as `label`. Boxes are x, y, width, height in
    pixels; areas are in pixels; each image carries its `pixel_size_nm` (row, column) or null. Where particles overlap,
    the masks that a detector gave each go on below the others (`visible_area` is what the label map shows).

    Parameters
    ----------
    path : path
        The JSON file. Written whole or not at all.
    instances : Instances or sequence of Instances
        One frame or several.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If the folder cannot be written, or there is no frame.

    References
    ----------
    The format: https://cocodataset.org/#format-data

    Examples
    --------
    >>> import json, tempfile
    >>> particles = Instances([[0, 3, 3], [0, 3, 0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = json.loads(write_coco(f"{folder}/particles.json", particles).read_text())
    >>> found["annotations"][0]["segmentation"], found["annotations"][0]["bbox"]
    ({'counts': [2, 3, 1], 'size': [2, 3]}, [1.0, 0.0, 2.0, 2.0])
    """
    frames = [instances] if isinstance(instances, Instances) else list(instances)
    if not frames:
        raise InputError("there is no frame to write; expected Instances or a sequence of them")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, frame in enumerate(frames, start=1):
        images.append(_image(frame, image_id))
        for index, particle_id in enumerate(frame.ids.tolist()):
            rows, cols, mask = whole_mask(frame, particle_id)
            x0, y0, x1, y1 = (float(edge) for edge in frame.boxes[index])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "label": particle_id,
                    "segmentation": encode_rle(mask, frame.shape, (rows.start, cols.start)),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(mask.sum()),
                    "visible_area": int(np.count_nonzero(frame.labels[rows, cols] == particle_id)),
                    "score": round(float(frame.scores[index]), 6),
                    "iscrowd": 0,
                }
            )
    content = {"images": images, "categories": [{"id": 1, "name": "particle"}], "annotations": annotations}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    return Path(path)


def encode_rle(
    mask: NDArray[np.bool_], shape: tuple[int, int] | None = None, corner: tuple[int, int] = (0, 0)
) -> dict[str, list[int]]:
    """Encode a mask as COCO's uncompressed run lengths: down the columns, zeros first.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        A whole mask, or the part of it that holds its true pixels.
    shape : (int, int), optional
        The frame's shape (H, W); the mask's if None.
    corner : (int, int)
        Row and column in the frame of the mask's first pixel.

    Returns
    -------
    dict
        `counts`, the run lengths of zeros and ones in turn, and `size`, [H, W].

    Examples
    --------
    >>> import numpy as np
    >>> encode_rle(np.ones((1, 2), dtype=bool), shape=(2, 3), corner=(1, 1))
    {'counts': [3, 1, 1, 1], 'size': [2, 3]}
    """
    height, width = mask.shape if shape is None else shape
    cols, rows = np.nonzero(mask.T)
    position = (cols + corner[1]) * height + rows + corner[0]
    gaps = np.flatnonzero(np.diff(position) > 1)
    # Where runs of ones begin and where the zeros after them do, in column-major order.
    edges = np.empty(2 * (gaps.size + 1) if position.size else 0, dtype=np.int64)
    if position.size:
        edges[0::2] = position[np.append(0, gaps + 1)]
        edges[1::2] = position[np.append(gaps, position.size - 1)] + 1
    counts = np.diff(edges, prepend=0, append=height * width)
    if counts.size > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return {"counts": counts.tolist(), "size": [int(height), int(width)]}


def decode_rle(rle: dict[str, list[int]]) -> NDArray[np.bool_]:
    """Decode COCO's uncompressed run lengths to a mask of the frame's shape; the inverse of `encode_rle`.

    Parameters
    ----------
    rle : dict
        `counts` and `size`.

    Returns
    -------
    ndarray of bool, shape (H, W)

    Raises
    ------
    InputError
        If the counts are compressed (a string) or do not add up to the frame.

    Examples
    --------
    >>> decode_rle({"counts": [2, 3, 1], "size": [2, 3]}).astype(int).tolist()
    [[0, 1, 1], [0, 1, 0]]
    """
    counts, (height, width) = rle["counts"], rle["size"]
    if isinstance(counts, str | bytes):
        raise InputError("the run lengths are compressed; expected a list of counts: decode them with pycocotools")
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise InputError(f"run lengths add up to {sum(counts)}; expected {height} x {width} = {height * width} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _image(frame: Instances, image_id: int) -> dict[str, Any]:
    rows, cols = frame.shape
    size = frame.pixel_size_nm
    pair = None if size is None else list(size) if isinstance(size, tuple) else [size, size]
    return {"id": image_id, "width": cols, "height": rows, "file_name": frame.name, "pixel_size_nm": pair}
