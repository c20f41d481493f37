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


def along_hilbert(rows: NDArray[np.int64], cols: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the order of pixels along the Hilbert curve through the smallest square of side 2**n around the frame.

    Pixels near each other on the curve are near each other in the frame; where the curve leaves the frame, the order
    goes on where it comes back.

    References
    ----------
    Hilbert, "Ueber die stetige Abbildung einer Line auf ein Flächenstück", Mathematische Annalen 38, 459-460 (1891),
    https://doi.org/10.1007/BF01199431.
    """
    from simulate.kernels.hilbert import hilbert_index

    levels = int(max(shape) - 1).bit_length()
    return np.argsort(hilbert_index(rows, cols, levels), kind="stable")


def hilbert_curve(shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the row-major index of every pixel of the frame in the order of `along_hilbert`, shape (H * W,).

    Examples
    --------
    >>> hilbert_curve((2, 4))
    array([0, 1, 5, 4, 7, 6, 2, 3])
    """
    return along_hilbert(*in_given_order(np.arange(shape[0] * shape[1]), shape), shape)
