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
"""Places tried for one disk: enough up to a coverage of about a half, where random placing jams (0.547)."""
SMALLEST_SCALE = 0.2
"""Of a curve's mean standard deviation: where curves hardly vary, one rare pair would decide a test."""


def hard_core_points(radii: NDArray, window: Window, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return centres of disks placed uniformly without overlap, large ones first (random sequential adsorption).

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
        Centres (x, y) in the order of `radii`.

    Raises
    ------
    InputError
        If the disks find no room, above a coverage of about half.

    Examples
    --------
    >>> from segmentation.dispersion import Window
    >>> hard_core_points(np.full(30, 0.5), Window(20.0, 10.0), np.random.default_rng(0)).shape
    (30, 2)
    """
    sizes = np.asarray(radii, dtype=np.float64)
    if sizes.size == 0:
        return np.empty((0, 2))
    order = np.argsort(-sizes, kind="stable")
    grid = np.ones((1, 1), dtype=bool) if window.mask is None else window.mask
    cell = max(2 * sizes.mean(), 0.5 * np.sqrt(window.width * window.height / sizes.size))
    placed, count = _place(sizes[order], window.width, window.height, grid, np.argwhere(grid), cell, TRIES, rng)
    if count < sizes.size:
        covered = np.pi * np.square(sizes).sum() / window.area
        raise InputError(
            f"{sizes.size} particles would cover {covered:.0%} of the window, and room was found for {count} at random "
            "without overlap; expected less than about half: compare with fewer, or with no envelopes (0)"
        )
    centres = np.empty_like(placed)
    centres[order] = placed
    return centres


@compiled
def _place(radii, width, height, grid, inside, cell, tries, rng):  # pragma: no cover - compiled
    n = len(radii)
    cols, rows = int(width / cell) + 1, int(height / cell) + 1
    most = 0
    for i in range(n):
        side = int(2 * radii[i] / cell) + 2
        most += min(side, cols) * min(side, rows)
    first = np.full(rows * cols, -1, np.int64)  # chains of the disks whose square reaches into a cell
    after, owner = np.empty(most, np.int64), np.empty(most, np.int64)
    used = 0
    at = np.empty((n, 2))
    for i in range(n):
        r = radii[i]
        free = False
        for _ in range(tries):
            pixel = 0 if len(inside) == 1 else min(int(rng.random() * len(inside)), len(inside) - 1)
            x = (inside[pixel, 1] + rng.random()) / grid.shape[1] * width
            y = (inside[pixel, 0] + rng.random()) / grid.shape[0] * height
            left, right = max(int((x - r) / cell), 0), min(int((x + r) / cell), cols - 1)
            top, bottom = max(int((y - r) / cell), 0), min(int((y + r) / cell), rows - 1)
            free = True
            for here in range(top, bottom + 1):
                for there in range(left, right + 1):
                    entry = first[here * cols + there]
                    while entry >= 0 and free:
                        j = owner[entry]
                        gap = (x - at[j, 0]) ** 2 + (y - at[j, 1]) ** 2 - (r + radii[j]) ** 2
                        free = gap >= 0
                        entry = after[entry]
                    if not free:
                        break
                if not free:
                    break
            if free:
                at[i, 0], at[i, 1] = x, y
                for here in range(top, bottom + 1):
                    for there in range(left, right + 1):
                        owner[used], after[used] = i, first[here * cols + there]
                        first[here * cols + there] = used
                        used += 1
                break
        if not free:
            return at, i
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
    among them: then all are exchangeable and the test is exact, whatever the null model. The observed curve leaves
    the envelope somewhere if and only if :math:`p \le \alpha`.

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
        critical = np.sort(deviation)[::-1][rank - 1]
        # The curve that sets the envelope touches it; the observed one is outside if it is that one.
        low[used], high[used] = mean - critical * scale, mean + critical * scale
    return low, high, float(np.mean(deviation >= deviation[0]))
