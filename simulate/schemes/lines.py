"""Schemes of whole lines, as a conventional scan generator makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError
from simulate.schemes.registry import scheme

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.schemes.registry import Positions, Prior


def _line_count(shape: tuple[int, int], ratio: float, name: str) -> int:
    lines = round(ratio * shape[0])
    if lines < 1:
        raise InputError(
            f"scheme {name!r} cannot reach a sampling ratio of {ratio:g} on {shape[0]} rows; "
            f"expected at least {1 / shape[0]:.3g} (one line), or take a point scheme such as 'random'"
        )
    return lines


def _full_lines(lines: NDArray[np.int64], shape: tuple[int, int]) -> Positions:
    return np.repeat(lines, shape[1]), np.tile(np.arange(shape[1]), lines.size)


@scheme("raster", "every n-th line in full; at ratio 1 the ordinary raster scan", granularity="line", random=False)
def raster(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """``round(ratio * H)`` evenly spaced rows, each scanned in full, from top to bottom."""
    n_lines = _line_count(shape, ratio, "raster")
    lines = np.floor((np.arange(n_lines) + 0.5) * shape[0] / n_lines).astype(np.int64)
    return _full_lines(lines, shape)


@scheme("lines", "randomly chosen full lines, from top to bottom", granularity="line")
def random_lines(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """``round(ratio * H)`` distinct rows, each scanned in full."""
    lines = np.sort(rng.choice(shape[0], size=_line_count(shape, ratio, "lines"), replace=False))
    return _full_lines(lines, shape)


@scheme("line-hop", "lines that wander up and down within bands of rows, pixel after pixel", granularity="line")
def line_hop(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """One pixel a column in each of ``round(ratio * H)`` bands of rows, hopping by at most one row a step.

    References
    ----------
    Kovarik et al., "Implementing an accurate and rapid sparse sampling approach for low-dose atomic resolution STEM
    imaging", Applied Physics Letters 109, 164102 (2016), https://doi.org/10.1063/1.4965720.
    """
    n_bands = _line_count(shape, ratio, "line-hop")
    edges = np.linspace(0, shape[0], n_bands + 1).round().astype(np.int64)
    heights = np.diff(edges)
    walk = rng.integers(0, heights)[:, None] + np.cumsum(rng.integers(-1, 2, (n_bands, shape[1])), axis=1)
    # Reflect the walk at the band's edges: a triangle wave of period 2 * height visits every row of the band.
    period = 2 * heights[:, None]
    folded = walk % period
    rows = edges[:-1, None] + np.where(folded >= heights[:, None], period - 1 - folded, folded)
    return rows.ravel(), np.tile(np.arange(shape[1]), n_bands)
