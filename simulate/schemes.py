"""Scan schemes: functions (shape, ratio, rng) -> ordered (rows, cols), behind one registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, check_ratio, check_rng, check_shape
from simulate.registry import Registry
from simulate.hardware import ScanHardware
from simulate.scan import ScanPath

if TYPE_CHECKING:
    from numpy.typing import NDArray

Positions = tuple["NDArray[np.int64]", "NDArray[np.int64]"]
Scheme = Callable[[tuple[int, int], float, np.random.Generator], Positions]

schemes: Registry[Scheme] = Registry("scan scheme")


def scan_path(
    scheme: str,
    shape: tuple[int, int],
    ratio: float = 1.0,
    *,
    rng: np.random.Generator | int | None = None,
    dwell_us: float = 10.0,
    hardware: ScanHardware | None = None,
) -> ScanPath:
    """Make a scan of the named scheme.

    Parameters
    ----------
    scheme : str
        A name from `schemes.names`, e.g. ``"random"``.
    shape : (int, int)
        Frame shape (rows, columns), each at least 8.
    ratio : float
        Share of the pixels to visit, in (0, 1]. The realised ratio (`ScanPath.ratio`) is the nearest that the scheme
        can give: within one pixel for the point schemes, within one line for the line schemes.
    rng : numpy.random.Generator or int, optional
        Source of randomness, or a seed for one. The same seed gives the same scan.
    dwell_us : float
        Dwell time at each position in µs.
    hardware : ScanHardware, optional
        What moves the beam: settling, fly-back, lag (default: `ScanHardware()`).

    Returns
    -------
    ScanPath

    Raises
    ------
    InputError
        For an unknown scheme, a ratio outside (0, 1], or a ratio that the scheme cannot reach.

    Examples
    --------
    >>> scan_path("random", (64, 64), 0.1, rng=0).n_positions
    410
    """
    make = schemes[scheme]
    rows, cols = check_shape(shape, "scan")
    seed = int(rng) if isinstance(rng, int | np.integer) else None
    positions = make((rows, cols), check_ratio(ratio), check_rng(rng))
    return ScanPath(
        *positions, shape=(rows, cols), dwell_us=dwell_us, scheme=scheme, seed=seed, hardware=hardware or ScanHardware()
    )


def _count(shape: tuple[int, int], ratio: float) -> int:
    return max(1, round(ratio * shape[0] * shape[1]))


def _line_count(shape: tuple[int, int], ratio: float, scheme: str) -> int:
    lines = round(ratio * shape[0])
    if lines < 1:
        raise InputError(
            f"scheme {scheme!r} cannot reach a sampling ratio of {ratio:g} on {shape[0]} rows; "
            f"expected at least {1 / shape[0]:.3g} (one line), or take a point scheme such as 'random'"
        )
    return lines


def _raster_order(flat: NDArray[np.int64], shape: tuple[int, int]) -> Positions:
    rows, cols = np.divmod(np.sort(flat), shape[1])
    return rows, cols


def _full_lines(lines: NDArray[np.int64], shape: tuple[int, int]) -> Positions:
    return np.repeat(lines, shape[1]), np.tile(np.arange(shape[1]), lines.size)


@schemes.register("random", "pixels drawn at random without replacement, visited in raster order")
def random_pixels(shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> Positions:
    """Exactly ``round(ratio * H * W)`` distinct pixels, each subset equally likely."""
    return _raster_order(rng.choice(shape[0] * shape[1], size=_count(shape, ratio), replace=False), shape)


@schemes.register("bernoulli", "each pixel scanned or skipped by its own coin toss, in raster order")
def bernoulli(shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> Positions:
    """Each pixel independently with probability `ratio`; the realised ratio scatters around it."""
    chosen = np.flatnonzero(rng.random(shape[0] * shape[1]) < ratio)
    if chosen.size == 0:
        chosen = rng.integers(shape[0] * shape[1], size=1)
    return _raster_order(chosen, shape)


@schemes.register("jittered-grid", "one random pixel in each cell of a grid: even coverage without a regular pattern")
def jittered_grid(shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> Positions:
    """One pixel at a random place in each of ``round(ratio * H * W)`` cells (stratified sampling).

    The frame is cut into strips of rows, and each strip into its share of cells, so that the number of cells is
    exact at any ratio; cells have nearly equal areas and are as square as that allows.
    """
    count = _count(shape, ratio)
    n_strips = min(shape[0], count, max(1, round(np.sqrt(count * shape[0] / shape[1]))))
    while n_strips * shape[1] < count:
        n_strips += 1
    row_edges = np.linspace(0, shape[0], n_strips + 1).round().astype(np.int64)
    # Cells per strip in proportion to the strip's height, by cumulative rounding so that they sum to `count`.
    cell_edges = np.round(row_edges / shape[0] * count).astype(np.int64)
    taken: list[NDArray[np.int64]] = []
    for top, bottom, cells in zip(row_edges[:-1], row_edges[1:], np.diff(cell_edges), strict=True):
        # A cell is a run of the strip's pixels in column-major order: any count up to the strip's size fits.
        edges = np.linspace(0, (bottom - top) * shape[1], cells + 1).astype(np.int64)
        pick = edges[:-1] + (rng.random(cells) * np.diff(edges)).astype(np.int64)
        col, row = np.divmod(pick, bottom - top)
        taken.append((row + top) * shape[1] + col)
    return _raster_order(np.concatenate(taken), shape)


@schemes.register("lines", "randomly chosen full lines, from top to bottom")
def random_lines(shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> Positions:
    """``round(ratio * H)`` distinct rows, each scanned in full."""
    lines = np.sort(rng.choice(shape[0], size=_line_count(shape, ratio, "lines"), replace=False))
    return _full_lines(lines, shape)


@schemes.register("line-hop", "lines that wander up and down within bands of rows, pixel after pixel")
def line_hop(shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> Positions:
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


@schemes.register("raster", "every n-th line in full; at ratio 1 the ordinary raster scan")
def raster(shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> Positions:
    """``round(ratio * H)`` evenly spaced rows, each scanned in full, from top to bottom."""
    n_lines = _line_count(shape, ratio, "raster")
    lines = np.floor((np.arange(n_lines) + 0.5) * shape[0] / n_lines).astype(np.int64)
    return _full_lines(lines, shape)


@schemes.register("spiral", "an Archimedean spiral from the centre outwards, without jumps")
def spiral(shape: tuple[int, int], ratio: float, rng: np.random.Generator) -> Positions:
    r"""Pixels along :math:`r = a\theta`, with the pitch that covers `ratio` of the frame.

    The arm runs to the frame's corners and is clipped by its edges. The pitch is found by bisection, so the realised
    ratio is near the asked one, and exact at 1 (where it is a raster).
    """
    count = _count(shape, ratio)
    if count == shape[0] * shape[1]:
        return _raster_order(np.arange(count), shape)
    low, high = 0.2, float(2 * max(shape))
    best = _spiral_pixels(shape, high)
    for _ in range(24):
        pitch = np.sqrt(low * high)
        pixels = _spiral_pixels(shape, pitch)
        if abs(pixels.size - count) <= abs(best.size - count):
            best = pixels
        if pixels.size > count:
            low = pitch
        else:
            high = pitch
    rows, cols = np.divmod(best, shape[1])
    return rows, cols


def _spiral_pixels(shape: tuple[int, int], pitch: float) -> NDArray[np.int64]:
    """Return the distinct flat pixels under a spiral of the given pitch in pixels, in visiting order."""
    reach = np.hypot(*shape) / 2
    # Arc length of the spiral is about pi r^2 / pitch; half-pixel steps leave no gap along the arm.
    length = np.linspace(0, np.pi * reach**2 / pitch, 2 * int(np.pi * reach**2 / pitch) + 2)
    radius = np.sqrt(length * pitch / np.pi)
    angle = 2 * np.pi * radius / pitch
    rows = np.floor(shape[0] / 2 + radius * np.sin(angle)).astype(np.int64)
    cols = np.floor(shape[1] / 2 + radius * np.cos(angle)).astype(np.int64)
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    flat = rows[inside] * shape[1] + cols[inside]
    _, first = np.unique(flat, return_index=True)
    return flat[np.sort(first)]
