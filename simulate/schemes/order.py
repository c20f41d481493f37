"""How many pixels a ratio means, and in which order a set of pixels is visited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.schemes.registry import Positions


def pixel_count(shape: tuple[int, int], ratio: float) -> int:
    """Return the whole number of pixels nearest to `ratio` of the frame, at least 1.

    Examples
    --------
    >>> pixel_count((64, 64), 0.1)
    410
    """
    return max(1, round(ratio * shape[0] * shape[1]))


def in_given_order(flat: NDArray[np.int64], shape: tuple[int, int]) -> Positions:
    """Return (rows, cols) of row-major pixel indices, in their order."""
    rows = flat // shape[1]
    return rows, flat - rows * shape[1]


def in_raster_order(taken: NDArray[np.bool_] | NDArray[np.uint8], shape: tuple[int, int]) -> Positions:
    """Return (rows, cols) of the pixels of a flat mask, line after line."""
    return in_given_order(np.flatnonzero(taken), shape)


def marked(flat: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the flat mask, shape (H * W,), of row-major pixel indices."""
    taken = np.zeros(shape[0] * shape[1], dtype=np.bool_)
    taken[flat] = True
    return taken


def hilbert_curve(shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the row-major index of every pixel of the frame along a generalised Hilbert curve, shape (H * W,).

    Each step goes to a neighbour (a diagonal one at a few places of frames with odd sides), and pixels near each other
    on the curve are near each other in the frame.

    References
    ----------
    Hilbert, "Ueber die stetige Abbildung einer Line auf ein Flächenstück", Mathematische Annalen 38, 459-460 (1891),
    https://doi.org/10.1007/BF01199431; for frames of any shape: Červený, "gilbert" (2018),
    https://github.com/jakubcerveny/gilbert.

    Examples
    --------
    >>> hilbert_curve((2, 4))
    array([0, 4, 5, 1, 2, 6, 7, 3])
    """
    from simulate.kernels.schemes_order import hilbert_order

    return hilbert_order(*shape)
