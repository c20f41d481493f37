"""Fields of view of one sample: the particles of each frame on their own, and all of them counted together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from segmentation.measure import summary
from segmentation.output import write_csv, write_table
from segmentation.population import population
from segmentation.population_figures import sizes_figure
from simulate.atomic import make_folder
from simulate.errors import InputError, PixelSize, pixel_size_pair

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from segmentation.population import Population

SAME_SCALE = 1e-4
"""Pixel sizes that differ by less than this share are one: files round them."""
_FILES = {
    "population": "all_population.csv",
    "fits": "all_fits.csv",
    "population_figure": "all_population.png",
}


class FieldOfView(NamedTuple):
    """One frame of a sample, and what was measured on it.

    Attributes
    ----------
    name : str
        Of the frame.
    shape : (int, int)
        In pixels.
    pixel_size_nm : float or (float, float) or None
        Of its table's columns.
    table : pandas.DataFrame
        From `segmentation.measure`.
    """

    name: str
    shape: tuple[int, int]
    pixel_size_nm: PixelSize | None
    table: pd.DataFrame


def join_fields(fields: Sequence[FieldOfView]) -> pd.DataFrame:
    """Return the tables of all frames as one, with the frames' names in a first column `frame`.

    Examples
    --------
    >>> from segmentation.measure import measure
    >>> left, right = measure([[0, 1], [0, 1]]), measure([[0, 0], [2, 2]])
    >>> joined = join_fields([FieldOfView("a", (2, 2), None, left), FieldOfView("b", (2, 2), None, right)])
    >>> joined[["frame", "label"]].to_numpy().tolist()
    [['a', 1], ['b', 2]]
    """
    _check_fields(fields)
    tables = [field.table.drop(columns="frame", errors="ignore") for field in fields]
    # Empty tables know their columns but not the columns' types, which pandas would mix with the others'.
    filled = [table for table in tables if len(table)] or tables[:1]
    joined = pd.concat(filled, ignore_index=True)
    names = [field.name for field, table in zip(fields, tables, strict=True) for _ in range(len(table))]
    joined.insert(0, "frame", pd.Series(names, dtype=str))
    joined.attrs = {}
    return joined


def fields_table(fields: Sequence[FieldOfView]) -> pd.DataFrame:
    """Return one row a frame: its size, how many particles of which sizes, their density and coverage.

    Returns
    -------
    pandas.DataFrame
        `frame`, `rows`, `columns` (pixels), the columns of `segmentation.summary`, `number_density_per_nm2` (freed of
        the border's bias) and `coverage` (see `segmentation.Population`); ``_px`` in place of ``_nm`` for frames
        without a pixel size.
    """
    _check_fields(fields)
    rows: list[dict[str, Any]] = []
    for field in fields:
        found = population(field.table, field.shape, pixel_size_nm=field.pixel_size_nm, n_resamples=1)
        rows.append(
            {"frame": field.name, "rows": field.shape[0], "columns": field.shape[1], **summary(field.table)}
            | {f"number_density_per_{found.unit}2": found.number_density, "coverage": found.coverage}
        )
    return pd.DataFrame(rows)


def pool_fields(fields: Sequence[FieldOfView], *, seed: int = 0) -> Population | None:
    """Return the population that all frames are samples of, or None if they differ in shape or pixel size.

    A particle's border weight depends on the frame's shape, and its size in pixels on their size.
    """
    _check_fields(fields)
    first = fields[0]
    same = all(field.shape == first.shape and _same_scale(field.pixel_size_nm, first.pixel_size_nm) for field in fields)
    if not same:
        return None
    table = join_fields(fields)
    return population(table, first.shape, pixel_size_nm=first.pixel_size_nm, rng=seed, n_frames=len(fields))


def save_fields(
    fields: Sequence[FieldOfView],
    folder: str | os.PathLike[str],
    stem: str,
    *,
    analysis: bool = False,
    seed: int = 0,
) -> tuple[Population | None, dict[str, Path]]:
    """Write what several fields of view tell together; return their population and the paths.

    Parameters
    ----------
    fields : sequence of FieldOfView
        At least one.
    folder : path
        Where to write; made if it is not there.
    stem : str
        What the files' names begin with.
    analysis : bool
        Whether to describe the population of all particles, where all frames have one shape and pixel size.
    seed : int
        Of its bootstrap.

    Returns
    -------
    population : Population or None
        With `analysis`, of all particles; None without it, or where the frames differ.
    paths : dict of str to Path
        ``particles`` (``STEM_all_particles.csv``, and ``.parquet`` beside it) and ``frames`` (``STEM_frames.csv``);
        with a population ``population``, ``fits`` (CSV) and ``population_figure`` (PNG) too.

    Examples
    --------
    >>> import tempfile
    >>> from segmentation import Instances, measure
    >>> labels = np.kron(np.diag([1, 2, 3]), np.pad(np.ones((8, 8), int), 8))
    >>> table = measure(Instances(labels, pixel_size_nm=0.5))
    >>> fields = [FieldOfView(name, labels.shape, 0.5, table) for name in "ab"]
    >>> with tempfile.TemporaryDirectory() as home:
    ...     together, paths = save_fields(fields, home, "sample", analysis=True)
    >>> together.count, together.n_frames, paths["frames"].name
    (6, 2, 'sample_frames.csv')
    """
    _check_fields(fields)
    home = make_folder(folder)
    paths = {
        "particles": write_table(home / f"{stem}_all_particles", join_fields(fields))[0],
        "frames": write_csv(home / f"{stem}_frames.csv", fields_table(fields)),
    }
    together = pool_fields(fields, seed=seed) if analysis else None
    written = {name: home / f"{stem}_{file}" for name, file in _FILES.items()}
    if together is None:
        for path in written.values():
            path.unlink(missing_ok=True)  # that of an earlier run would pass for this one's
        return None, paths
    write_csv(written["population"], together.table())
    write_csv(written["fits"], together.fits.reset_index())
    sizes_figure(together, written["population_figure"])
    return together, paths | written


def _check_fields(fields: Sequence[FieldOfView]) -> None:
    if not fields:
        raise InputError("there is no frame; expected at least one field of view")
    names = [field.name for field in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{names.count(twice)} frames are named {twice!r}; expected each field of view once")


def _same_scale(one: PixelSize | None, other: PixelSize | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.allclose(pixel_size_pair(one), pixel_size_pair(other), rtol=SAME_SCALE, atol=0))
