"""Functions of distance of a point pattern: K, L, g(r), G, F and J, corrected for the window's border."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from segmentation.dispersion.windows import Window

CORRECTIONS = ("border", "isotropic", "translation")
FINE = 8
"""Bins of the pair distances' histogram per step of r, before it is smoothed to g(r)."""
MOST_WEIGHT = 100.0
"""Pairs hardly ever seen in the window would count without bound."""


def check_correction(correction: str, window: Window) -> None:
    """Raise `InputError` unless it is a known edge correction that the window allows."""
    if correction not in CORRECTIONS:
        raise InputError(
            f"edge correction is {correction!r}; expected one of {', '.join(CORRECTIONS)}"
            + nearest_name(str(correction), CORRECTIONS)
        )
    if correction == "isotropic" and window.mask is not None:
        raise InputError(
            "the isotropic edge correction is for rectangular windows, got a mask; use 'translation' or 'border'"
        )


def pair_curves(
    points: NDArray, window: Window, r: NDArray, correction: str = "translation", bandwidth: float | None = None
) -> dict[str, NDArray[np.float64]]:
    r"""Estimate Ripley's K and L and the pair correlation g at distances `r`.

    .. math:: \hat K(r) = \frac{|W|}{n(n-1)} \sum_{i \ne j} \frac{1(d_{ij} \le r)}{w_{ij}}, \quad
        L = \sqrt{K/\pi}, \quad g(r) = K'(r) / (2\pi r)

    with :math:`w_{ij}` the share of the circle about i through j in the window (isotropic) or
    :math:`|W \cap W_{ij}|/|W|` (translation); the border method counts only about points farther than r from the
    border. g is a kernel estimate (Epanechnikov) on the pair distances.

    Parameters
    ----------
    points : ndarray, shape (N, 2)
        Positions (x, y), N >= 2.
    window : Window
    r : ndarray, shape (M,)
        Evenly spaced distances from 0.
    correction : {"translation", "isotropic", "border"}
    bandwidth : float, optional
        Half width of the kernel; 0.15 / sqrt(density) if None (Stoyan's rule).

    Returns
    -------
    dict
        `K`, `L`, `g`, each (M,); NaN where nothing can be said (g below the bandwidth's reach of 0 is biased low).

    References
    ----------
    B. D. Ripley, "Modelling spatial patterns", J. R. Stat. Soc. B 39, 172 (1977).
    J. Illian et al., "Statistical Analysis and Modelling of Spatial Point Patterns", Wiley (2008).
    """
    check_correction(correction, window)
    n, step = len(points), float(r[1] - r[0])
    if n < 2:
        raise InputError(f"got {n} points; expected at least 2: pairs make these functions")
    density = n / window.area
    h = 0.15 / density**0.5 if bandwidth is None else bandwidth
    pairs = KDTree(points).query_pairs(r[-1] + h, output_type="ndarray")
    shift = points[pairs[:, 1]] - points[pairs[:, 0]]
    distance = np.hypot(shift[:, 0], shift[:, 1])
    if correction == "border":
        border = window.border_distances(points)
        distance, first = np.tile(distance, 2), border[pairs.T.ravel()]
        # A point counts at every r from the pair's distance up to its distance from the border.
        distance, first = distance[distance <= first], first[distance <= first]
        left = n - np.searchsorted(np.sort(border), r)
        k = _running(distance, first, r) / np.where(left > 0, left * density, np.nan)
        weight = 1 / (density * (n - np.searchsorted(np.sort(border), distance)))
    else:
        weight = _both_ways(points, pairs, shift, distance, window, correction) / (density * (n - 1))
        rise = np.bincount(np.searchsorted(r, distance), weights=weight, minlength=r.size + 1)
        k = np.cumsum(rise[: r.size], dtype=np.float64)
    fine = step / FINE
    slope = weight / (2 * np.pi * np.maximum(distance, fine))
    bins = np.rint(distance / fine).astype(np.int64)
    half = int(np.ceil(h / fine))
    histogram = np.bincount(bins, weights=slope, minlength=r.size * FINE + half + 1)
    kernel = np.maximum(1 - (np.arange(-half, half + 1) * fine / h) ** 2, 0)
    smooth = np.convolve(histogram, kernel / (kernel.sum() * fine), mode="full")[half:]
    g = smooth[: r.size * FINE : FINE]
    return {"K": k, "L": np.sqrt(k / np.pi), "g": np.where(np.isfinite(k), g, np.nan)}


def _both_ways(
    points: NDArray, pairs: NDArray, shift: NDArray, distance: NDArray, window: Window, correction: str
) -> NDArray[np.float64]:
    """Return what each pair counts, seen from both of its points: one over the share of such pairs in the window."""
    if correction == "translation":
        seen = window.shifted_overlap(shift[:, 0], shift[:, 1]) / window.area
        return 2 * np.minimum(1 / np.maximum(seen, 1e-300), MOST_WEIGHT)
    weight = np.zeros(len(pairs))
    for k in (0, 1):
        weight += np.minimum(1 / np.maximum(window.arc_share(points[pairs[:, k]], distance), 1e-300), MOST_WEIGHT)
    return weight


def _running(start: NDArray, stop: NDArray, r: NDArray) -> NDArray[np.int64]:
    """Return how many of the intervals start <= r <= stop hold each r."""
    rise = np.bincount(np.searchsorted(r, start), minlength=r.size + 1)[: r.size]
    fall = np.bincount(np.searchsorted(r, stop, side="right"), minlength=r.size + 1)[: r.size]
    return np.cumsum(rise - fall)


def distance_curves(
    points: NDArray, window: Window, r: NDArray, *, n_probes: int = 64
) -> dict[str, NDArray[np.float64]]:
    r"""Estimate the nearest-neighbour function G, the empty-space function F and J = (1 - G) / (1 - F).

    Border method (reduced sample): :math:`G(r)` is the share of the particles farther than r from the border that
    have a neighbour within r; F the same about the nodes of a grid.

    Parameters
    ----------
    points : ndarray, shape (N, 2)
        Positions (x, y), N >= 2.
    window : Window
    r : ndarray, shape (M,)
        Ascending distances.
    n_probes : int
        Nodes of the grid a side (of the square of the window's extent).

    Returns
    -------
    dict
        `G`, `F`, `J`, each (M,); NaN where everything lies nearer to the border than r, J also where F is 1.

    References
    ----------
    M. N. M. van Lieshout and A. J. Baddeley, "A nonparametric measure of spatial interaction in point patterns",
    Statistica Neerlandica 50, 344 (1996).
    """
    if len(points) < 2:
        raise InputError(f"got {len(points)} points; expected at least 2: neighbours make these functions")
    tree = KDTree(points)
    aspect = np.sqrt(window.width / window.height)
    sides = max(int(n_probes * aspect), 4), max(int(n_probes / aspect), 4)
    x, y = ((np.arange(n) + 0.5) * (length / n) for n, length in zip(sides, (window.width, window.height), strict=True))
    probes = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    probes = probes[window.contains(probes)]
    g = _reduced_sample(tree.query(points, k=2)[0][:, 1], window.border_distances(points), r)
    f = _reduced_sample(tree.query(probes)[0], window.border_distances(probes), r)
    return {"G": g, "F": f, "J": (1 - g) / np.where(f < 1, 1 - f, np.nan)}


def _reduced_sample(distance: NDArray, border: NDArray, r: NDArray) -> NDArray[np.float64]:
    seen = distance <= border
    left = border.size - np.searchsorted(np.sort(border), r)
    return _running(distance[seen], border[seen], r) / np.where(left > 0, left, np.nan)


def curve_table(curves: dict[str, NDArray], r: NDArray, unit: str) -> pd.DataFrame:
    """Return the curves as a table, units in the names: `r_nm`, `K_nm2`, `L_nm`, `g`, `G`, `F`, `J`."""
    import pandas as pd

    units = {"K": f"_{unit}2", "L": f"_{unit}"}
    return pd.DataFrame({f"r_{unit}": r} | {name + units.get(name, ""): value for name, value in curves.items()})
