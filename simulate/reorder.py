"""Visit the same pixels in another order, so that the jumps between them are short."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, check_kind, nearest_name
from simulate.scan import ScanPath
from simulate.schemes.order import along_hilbert

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def reorder(path: ScanPath, method: str = "hilbert") -> ScanPath:
    r"""Return the scan of the same pixels with shorter jumps; each visit keeps its dwell time.

    For :math:`N` random positions on an area of :math:`A` pixels no order is shorter than about
    :math:`0.7124 \sqrt{N A}` (Beardwood, Halton and Hammersley). `ScanPath.travel_px` and `ScanPath.frame_time_ms` say
    what an order costs.

    Parameters
    ----------
    path : ScanPath
        The scan to reorder.
    method : {"hilbert", "serpentine", "nearest"}
        "hilbert" sorts along a Hilbert curve: about 1.4 times the bound on random pixels, and
        neighbours in space stay neighbours in time. "serpentine" goes to and fro, along rows or along strips of rows,
        whichever is shorter: about 1.3 times. "nearest" goes on to the nearest pixel not yet visited: about 1.25
        times, with a few long jumps at the end to what was left behind. All take time in proportion to N log N or less.

    Returns
    -------
    ScanPath
        With the method added to the scheme's name, as in ``"random+hilbert"``.

    Raises
    ------
    InputError
        If the method is unknown.

    References
    ----------
    The bound, and the strips: Beardwood, Halton and Hammersley, "The shortest path through many points", Mathematical
    Proceedings of the Cambridge Philosophical Society 55, 299 (1959), https://doi.org/10.1017/S0305004100034095. The
    Hilbert curve as a tour: Platzman and Bartholdi, Journal of the ACM 36, 719 (1989),
    https://doi.org/10.1145/76359.76361.

    Examples
    --------
    >>> from simulate import scan_path
    >>> path = scan_path("random", (64, 64), 0.1, rng=0)
    >>> reorder(path, "nearest").travel_px < reorder(path, "hilbert").travel_px < path.travel_px
    True
    """
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"unknown order {method!r}{nearest_name(str(method), METHODS)}; known: {', '.join(METHODS)}")
    check_kind(path, "the scan", ScanPath)
    order = METHODS[method](path)
    return replace(
        path,
        rows=path.rows[order],
        cols=path.cols[order],
        dwell_us=path.dwell_us if np.ndim(path.dwell_us) == 0 else path.dwells_us[order],
        scheme=f"{path.scheme}+{method}",
    )


def _hilbert(path: ScanPath) -> NDArray[np.int64]:
    return along_hilbert(path.rows, path.cols, path.shape)


def _serpentine(path: ScanPath) -> NDArray[np.int64]:
    density = path.n_positions / (path.shape[0] * path.shape[1])
    # The strip height that minimises the way through random positions: sqrt(3 / density).
    orders = [_strips(path, height) for height in (1, max(1, round(np.sqrt(3 / density))))]
    return min(orders, key=lambda order: _length(path, order))


def _strips(path: ScanPath, height: int) -> NDArray[np.int64]:
    """Return the order along strips of rows, every other one backwards; empty strips don't count."""
    _, strip = np.unique(path.rows // height, return_inverse=True)
    along = np.where(strip % 2, path.shape[1] - 1 - path.cols, path.cols)
    return np.lexsort((path.rows, along, strip))


def _nearest(path: ScanPath) -> NDArray[np.int64]:
    from simulate.kernels.tour import nearest_first

    # About two positions a cell: fewer means more cells to look into, more means more positions to compare.
    cell = max(1, round(np.sqrt(2 * path.shape[0] * path.shape[1] / path.n_positions)))
    return nearest_first(path.rows, path.cols, path.shape[0], path.shape[1], cell)


def _length(path: ScanPath, order: NDArray[np.int64]) -> float:
    return float(np.hypot(np.diff(path.rows[order]), np.diff(path.cols[order])).sum())


METHODS: dict[str, Callable[[ScanPath], NDArray[np.int64]]] = {
    "hilbert": _hilbert,
    "serpentine": _serpentine,
    "nearest": _nearest,
}
