"""What chance alone would give: the same particles thrown at random without overlap, many times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError
from simulate.kernels.jit import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from segmentation.dispersion.windows import Window

TRIES = 2000
"""Places tried for one disk."""
DENSEST = 0.45
"""Coverage of the arrangement at most: random placing jams at 0.547, and takes ever longer before."""
ARRANGEMENTS = 10
"""How often one is tried before there is no room."""
SHIFTS = 1000
"""Places tried for the window on a larger arrangement, to find one with as many centres as asked for."""
BEYOND = 4.0
"""Largest radii by which the arrangement is longer than the window: what disks do to each other does not reach on."""
SMALLEST_SCALE = 0.2
"""Of a curve's mean standard deviation: where curves hardly vary, one rare pair would decide a test."""


def hard_core_points(radii: NDArray, window: Window, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return centres of disks placed uniformly without overlap, large ones first (random sequential adsorption).

    A window shows a part of more: disks beyond it take room within. They are therefore placed on a larger rectangle,
    as if it repeated on all sides, and the window is laid onto it where it holds N centres.

    Parameters
    ----------
    radii : ndarray, shape (N,)
        Radii of the disks, in the window's unit.
    window : Window
        Centres lie in it; disks may reach out of it.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of float64, shape (N, 2)
        Centres (x, y), in no order, of disks whose radii are drawn from `radii` (of thousands N is met to 0.1 %).

    Raises
    ------
    InputError
        If the disks find no room, above a coverage of about 0.45.

    Examples
    --------
    >>> from segmentation.dispersion import Window
    >>> hard_core_points(np.full(30, 0.5), Window(20.0, 10.0), np.random.default_rng(0)).shape
    (30, 2)
    """
    sizes = np.asarray(radii, dtype=np.float64)
    if sizes.size == 0:
        return np.empty((0, 2))
    corner, extent = window.bounds
    width, height = (length + BEYOND * float(sizes.max()) for length in extent)
    density = min(sizes.size / window.area, DENSEST / (np.pi * float(np.square(sizes).mean())))
    copies, rest = divmod(max(round(density * width * height), sizes.size), sizes.size)
    for _ in range(ARRANGEMENTS):
        # Every radius as often as any other: a few large ones more would take all the room.
        more = np.concatenate([np.tile(sizes, copies), rng.choice(sizes, rest, replace=False)])
        everywhere = arranged(more, width, height, rng)
        for _ in range(SHIFTS if len(everywhere) else 0):
            moved = (everywhere + rng.random(2) * (width, height)) % (width, height) + corner
            inside = moved[window.contains(moved)]
            if abs(len(inside) - sizes.size) <= sizes.size // 1000:
                return inside
    covered = np.pi * np.square(sizes).sum() / window.area
    raise InputError(
        f"{sizes.size} particles cover {covered:.0%} of the window, and no room was found for as many at random "
        "without overlap; expected less than about 45 %: compare with fewer, or with no envelopes (0)"
    )


def arranged(sizes: NDArray, width: float, height: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return centres (N, 2) of disks of these radii on a rectangle that repeats on all sides; none without room."""
    order = np.argsort(-sizes, kind="stable")
    cell = max(2 * sizes.mean(), 0.5 * np.sqrt(width * height / sizes.size))
    cols, rows = (max(int(length / cell), 1) for length in (width, height))
    placed, count = _place(sizes[order], width, height, cols, rows, TRIES, rng)
    if count < sizes.size:
        return np.empty((0, 2))
    centres = np.empty_like(placed)
    centres[order] = placed
    return centres


@compiled
def _place(radii, width, height, cols, rows, tries, rng):  # pragma: no cover - compiled
    n = len(radii)
    cell_x, cell_y = width / cols, height / rows
    most = 0
    for i in range(n):
        most += min(int(2 * radii[i] / cell_x) + 2, cols) * min(int(2 * radii[i] / cell_y) + 2, rows)
    first = np.full(rows * cols, -1, np.int64)  # chains of the disks whose square reaches into a cell
    after, owner = np.empty(most, np.int64), np.empty(most, np.int64)
    used = 0
    at = np.empty((n, 2))
    for i in range(n):
        r = radii[i]
        free = False
        left, wide, top, high = 0, 0, 0, 0
        for _ in range(tries):
            x, y = rng.random() * width, rng.random() * height
            left, top = int(np.floor((x - r) / cell_x)), int(np.floor((y - r) / cell_y))
            wide = min(int(np.floor((x + r) / cell_x)) - left + 1, cols)
            high = min(int(np.floor((y + r) / cell_y)) - top + 1, rows)
            free = True
            for down in range(high):
                for across in range(wide):
                    entry = first[(top + down) % rows * cols + (left + across) % cols]
                    while entry >= 0 and free:
                        j = owner[entry]
                        dx, dy = abs(x - at[j, 0]), abs(y - at[j, 1])
                        dx, dy = min(dx, width - dx), min(dy, height - dy)
                        free = dx**2 + dy**2 >= (r + radii[j]) ** 2
                        entry = after[entry]
                    if not free:
                        break
                if not free:
                    break
            if free:
                at[i, 0], at[i, 1] = x, y
                break
        if not free:
            return at, i
        for down in range(high):
            for across in range(wide):
                place = (top + down) % rows * cols + (left + across) % cols
                owner[used], after[used] = i, first[place]
                first[place] = used
                used += 1
    return at, n


def simulate_curves(
    count: int,
    curves: Callable[[NDArray], Mapping[str, NDArray[np.float64]]],
    radii: NDArray,
    window: Window,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float64]]:
    """Return each function's curves (count, M) of `count` hard-core arrangements of the same disks."""
    runs = [curves(hard_core_points(radii, window, rng)) for _ in range(count)]
    return {name: np.array([run[name] for run in runs]) for name in (runs[0] if runs else ())}


def global_envelope(
    observed: NDArray, simulated: NDArray, alpha: float = 0.05
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    r"""Return a global envelope and the p value of the studentised maximum absolute deviation test.

    .. math:: T_i = \max_r \frac{|\hat S_i(r) - \bar S(r)|}{s(r)}, \quad p = \frac{\#\{T_i \ge T_0\}}{m + 1}

    over the curves :math:`i = 0 \dots m`, with the mean and standard deviation over all of them, the observed one
    among them: then all are exchangeable and the test is exact, whatever the null model. The observed curve lies
    outside the envelope somewhere if and only if :math:`p \le \alpha`.

    Parameters
    ----------
    observed : ndarray, shape (M,)
        A function of distance.
    simulated : ndarray, shape (m, M)
        The same of m simulations.
    alpha : float
        Probability of a false alarm.

    Returns
    -------
    low, high : ndarray of float64, shape (M,)
        The envelope; NaN at distances where a curve is NaN: those say nothing. All NaN if m is too small for `alpha`.
    p : float
        At least 1 / (m + 1); NaN if no distance is left.

    References
    ----------
    M. Myllymäki et al., "Deviation test construction and power comparison for marked spatial point patterns",
    Spatial Statistics 11, 19 (2015).
    A. Baddeley et al., "On tests of spatial pattern based on simulation envelopes", Ecol. Monogr. 84, 477 (2014).

    Examples
    --------
    >>> curves = np.random.default_rng(0).normal(size=(99, 20))
    >>> global_envelope(curves[0] + 9, curves)[2]
    0.01
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha!r}; expected a probability above 0 and below 1, e.g. 0.05")
    every = np.vstack([observed, simulated])
    used = np.isfinite(every).all(axis=0)
    low, high = np.full(used.size, np.nan), np.full(used.size, np.nan)
    if not used.any():
        return low, high, float("nan")
    every = every[:, used]
    mean, scale = every.mean(axis=0), every.std(axis=0)
    scale = np.maximum(scale, max(SMALLEST_SCALE * scale.mean(), 1e-300))
    deviation = (np.abs(every - mean) / scale).max(axis=1)
    rank = int(alpha * len(every) + 1e-9)
    if rank >= 1:
        # The first curve that is not rejected sets the envelope, and touches it.
        critical = np.sort(deviation)[::-1][rank]
        low[used], high[used] = mean - critical * scale, mean + critical * scale
    return low, high, float(np.mean(deviation >= deviation[0]))
