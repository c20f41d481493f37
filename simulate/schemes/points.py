"""Scattered pixels: independent draws, grids, and random pixels along the Hilbert curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.schemes.order import along_hilbert, in_raster_order, marked, pixel_count
from simulate.schemes.registry import scheme

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.schemes.registry import Positions, Prior


@scheme("random", "pixels drawn at random without replacement, visited in raster order")
def random_pixels(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Exactly ``round(ratio * H * W)`` distinct pixels, each subset equally likely."""
    flat = rng.choice(shape[0] * shape[1], size=pixel_count(shape, ratio), replace=False)
    return in_raster_order(marked(flat, shape), shape)


@scheme("hilbert", "pixels drawn at random without replacement, visited along a Hilbert curve: short jumps")
def hilbert(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Visit the pixels of ``"random"`` for the same seed, in the order of `along_hilbert`."""
    rows, cols = random_pixels(shape, ratio, rng, prior)
    order = along_hilbert(rows, cols, shape)
    return rows[order], cols[order]


@scheme("bernoulli", "each pixel scanned or skipped by its own coin toss, in raster order", granularity="chance")
def bernoulli(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Each pixel independently with probability `ratio`; the realised ratio scatters around it."""
    chosen = rng.random(shape[0] * shape[1]) < ratio
    if not chosen.any():
        chosen[rng.integers(chosen.size)] = True
    return in_raster_order(chosen, shape)


@scheme("jittered-grid", "one random pixel in each cell of a grid: even coverage without a regular pattern")
def jittered_grid(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """One pixel at a random place in each of ``round(ratio * H * W)`` cells (stratified sampling).

    The frame is cut into strips of rows, and each strip into its share of cells, so that the number of cells is
    exact at any ratio; cells have nearly equal areas and are as square as that allows.
    """
    count = pixel_count(shape, ratio)
    row_edges = np.linspace(0, shape[0], _n_strips(shape, count) + 1).round().astype(np.int64)
    # Cells per strip in proportion to the strip's height, by cumulative rounding so that they sum to `count`.
    cell_edges = np.round(row_edges / shape[0] * count).astype(np.int64)
    taken: list[NDArray[np.int64]] = []
    for top, bottom, cells in zip(row_edges[:-1], row_edges[1:], np.diff(cell_edges), strict=True):
        # A cell is a run of the strip's pixels in column-major order: any count up to the strip's size fits.
        edges = np.linspace(0, (bottom - top) * shape[1], cells + 1).astype(np.int64)
        pick = edges[:-1] + (rng.random(cells) * np.diff(edges)).astype(np.int64)
        col, row = np.divmod(pick, bottom - top)
        taken.append((row + top) * shape[1] + col)
    return in_raster_order(marked(np.concatenate(taken), shape), shape)


@scheme("uniform-grid", "the centres of a grid's cells: regular sub-sampling, with the worst aliasing", random=False)
def uniform_grid(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Take the centres of a grid of nearly square cells, the same columns in each row.

    Where the count is no product of two fitting whole numbers, evenly spaced rows go without their last pixel.
    """
    count = pixel_count(shape, ratio)
    n_rows = _n_strips(shape, count)
    n_cols = -(-count // n_rows)
    rows, cols = (
        np.floor((np.arange(n) + 0.5) * size / n).astype(np.int64)
        for n, size in zip((n_rows, n_cols), shape, strict=True)
    )
    keep = np.ones((n_rows, n_cols), dtype=np.bool_)
    spare = n_rows * n_cols - count
    keep[np.floor((np.arange(spare) + 0.5) * n_rows / max(spare, 1)).astype(np.int64), -1] = False
    at_row, at_col = np.nonzero(keep)
    return rows[at_row], cols[at_col]


def _n_strips(shape: tuple[int, int], count: int) -> int:
    """Return the number of strips of rows that makes `count` cells square and leaves no strip with too few pixels."""
    strips = min(shape[0], count, max(1, round(np.sqrt(count * shape[0] / shape[1]))))
    return max(strips, -(-count // shape[1]))
