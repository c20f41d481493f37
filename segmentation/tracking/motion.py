"""Motion: the drift that all particles share, mean squared displacements, and diffusion coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import ndtri

from segmentation.tracking.tracks import Tracks
from simulate.errors import InputError, check_count, check_kind, check_within, pixel_size_pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRIFT_PARTICLES = "drift_particles"
MEDIAN_VARIANCE = (1.0, 0.5, 0.4487, 0.2982)
"""Of the median of 1 to 4 normal numbers of variance 1; of more by a formula that is within 2 %."""


def drift(tracks: Tracks) -> pd.DataFrame:
    """Return the drift since the first frame in pixels: `frame`, `x`, `y`.

    The step between two frames is the median over all particles seen in both, 0 if there are none.

    Parameters
    ----------
    tracks : Tracks
        Trajectories.

    Raises
    ------
    InputError
        If a particle is in one frame twice.

    Examples
    --------
    >>> table = pd.DataFrame({"frame": [0, 0, 1, 1], "particle": [0, 1, 0, 1], "x": [5.0, 9, 6, 10], "y": 3.0})
    >>> drift(Tracks(table, pd.DataFrame()))["x"].tolist()
    [0.0, 1.0]
    """
    return _drift(tracks).drop(columns=DRIFT_PARTICLES)


def without_drift(tracks: Tracks) -> Tracks:
    r"""Return the trajectories less the drift that they share; events stay where they were seen.

    The median of few particles' steps holds a part of each one's own: of independent normal steps of N particles, the
    share :math:`1 - 2/N + v_N` of the variance is left, with :math:`v_N` the variance of the median of N normal numbers
    (nothing of one particle's, half of two's), and of the covariance of consecutive steps about :math:`1 - 1/N`: what
    is linear in the median is the mean. The column ``drift_particles`` holds the N of the step into each frame (0 of
    the first), by which `diffusion` and `mean_squared_displacement` undo it.
    """
    common, table = _drift(tracks), tracks.table.copy()
    place = np.searchsorted(common["frame"].to_numpy(), table["frame"].to_numpy())
    for name in ("x", "y"):
        table[name] = table[name].to_numpy(float) - common[name].to_numpy()[place]
    table[DRIFT_PARTICLES] = common[DRIFT_PARTICLES].to_numpy()[place]
    return Tracks(table, tracks.events, tracks.pixel_size_nm, tracks.frame_interval_s)


def _drift(tracks: Tracks) -> pd.DataFrame:
    """Return the drift, and how many particles' steps told each step of it."""
    table = _checked(tracks)
    frames, particle, place, order = _in_order(table)
    points = table[["x", "y"]].to_numpy(float)[order]
    # Steps of a particle from one frame to the next one that there is.
    good = (np.diff(particle) == 0) & (np.diff(place) == 1)
    grouped = pd.DataFrame(np.diff(points, axis=0)[good], columns=["x", "y"]).groupby(place[1:][good])
    steps = grouped.median().reindex(np.arange(frames.size), fill_value=0.0).cumsum()
    told = grouped.size().reindex(np.arange(frames.size), fill_value=0)
    moved = {name: steps[name].to_numpy() for name in ("x", "y")}
    return pd.DataFrame({"frame": frames, **moved, DRIFT_PARTICLES: told.to_numpy()})


def _in_order(table: pd.DataFrame) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return the frames that there are, and by particle and time the rows' particles, places among them and order."""
    frames = np.unique(table["frame"].to_numpy())
    place, particle = np.searchsorted(frames, table["frame"].to_numpy()), table["particle"].to_numpy()
    order = np.lexsort((place, particle))
    return frames, particle[order], place[order], order


def _share_left(particles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return which share of the variance of independent steps is left when their median is taken off each.

    >>> _share_left(np.array([1, 2, 3, 1000])).round(3).tolist()
    [0.0, 0.5, 0.782, 1.0]
    """
    n = np.asarray(particles, dtype=float)
    large = np.pi / 2 / (n + np.where(n % 2 == 1, np.pi / 2 - 1, 1.27))
    known = dict(enumerate(MEDIAN_VARIANCE, start=1))
    return 1 - 2 / n + np.array([known.get(int(count), value) for count, value in zip(n, large, strict=True)])


def mean_squared_displacement(tracks: Tracks, *, max_lag: int = 20, per_track: bool = False) -> pd.DataFrame:
    r"""Return the mean squared displacement at each lag.

    Parameters
    ----------
    tracks : Tracks
        Trajectories; take the drift out first.
    max_lag : int
        Longest lag in frames.
    per_track : bool
        A row for each particle and lag instead of each lag.

    Returns
    -------
    pandas.DataFrame
        `particle` (per track only), `lag` in frames, `lag_s` where the interval is known, `msd_nm2` or `msd_px2`: the
        mean of :math:`|r(t + \mathrm{lag}) - r(t)|^2` over all times, and `n`, the number of displacements, which
        overlap in time and thus are not independent. Of trajectories without their drift, those over frames in which
        the particle was overlooked do not count: it had no say in the drift there.

    Raises
    ------
    InputError
        If `max_lag` is no whole number of at least 1.
    """
    check_count(max_lag, "max_lag", 1)
    table, unit = _physical(tracks)
    blocks = []
    for lag in range(1, int(max_lag) + 1):
        later = table.assign(frame=table["frame"] - lag)
        both = table.merge(later, on=["frame", "particle", "run"], suffixes=("", "_later"))
        squared = (both["x_later"] - both["x"]) ** 2 + (both["y_later"] - both["y"]) ** 2
        squared -= both["excess_later"] - both["excess"]
        blocks.append(pd.DataFrame({"particle": both["particle"], "lag": lag, "squared": squared}))
    keys = ["particle", "lag"] if per_track else ["lag"]
    grouped = pd.concat(blocks).groupby(keys)["squared"].agg(["mean", "size"]).reset_index()
    result = grouped.rename(columns={"mean": f"msd_{unit}2", "size": "n"})
    if tracks.frame_interval_s is not None:
        result.insert(len(keys), "lag_s", result["lag"] * tracks.frame_interval_s)
    return result


def diffusion(tracks: Tracks, *, blur: float = 0.0, confidence: float = 0.95, min_steps: int = 5) -> pd.DataFrame:
    r"""Estimate each particle's diffusion coefficient and localisation error from the covariance of its steps.

    With steps :math:`\Delta_k` along an axis at intervals :math:`\Delta t`,

    .. math:: D = \frac{\langle\Delta_k^2\rangle}{2\Delta t} + \frac{\langle\Delta_k\Delta_{k+1}\rangle}{\Delta t},
              \quad \sigma^2 = R\,\langle\Delta_k^2\rangle + (2R - 1)\,\langle\Delta_k\Delta_{k+1}\rangle

    which needs no fit and is unbiased for any localisation error; the mean of both axes. Intervals are normal, of the
    variance :math:`D^2 [(6 + 4\epsilon + 2\epsilon^2)/N + 4(1 + \epsilon)^2/N^2]` for an axis with
    :math:`\epsilon = \sigma^2/(D\Delta t) - 2R`; of K particles together, with N steps in all, the second term is K
    times as large (N here is one more than the products that gaps leave). Only steps between consecutive frames count.

    Parameters
    ----------
    tracks : Tracks
        Trajectories; take the drift out first.
    blur : float
        Motion blur R, from 0 (a frame is taken in an instant) to 1/4; 1/6 for exposure during the whole interval. A
        scan visits a small particle in a small part of the frame's time: 0.
    confidence : float
        Of the intervals.
    min_steps : int
        Particles of fewer steps are left out.

    Returns
    -------
    pandas.DataFrame
        `particle` (-1 in the last row: all together, weighted by steps), `n_steps`, and, in nm² and s or pixels and
        frames as known, `diffusion_nm2_per_s`, `diffusion_low_...`, `diffusion_high_...`, `localisation_variance_nm2`
        (negative at times where it is small: unbiased).

    Raises
    ------
    InputError
        If blur or confidence are out of their range.

    References
    ----------
    Vestergaard, Blainey and Flyvbjerg, "Optimal estimation of diffusion coefficients from single-particle
    trajectories", Physical Review E 89, 022726 (2014), https://doi.org/10.1103/PhysRevE.89.022726.
    """
    check_within(blur, "blur", 0, 0.25)
    check_within(confidence, "confidence", 0, 1 - 1e-9)
    check_count(min_steps, "min_steps", 2)
    table, unit = _physical(tracks)
    interval = tracks.frame_interval_s or 1.0
    rows, shares = [], []
    for particle, one in table.sort_values("frame").groupby("particle"):
        squares, products, share = _moments(one)
        if len(squares) >= min_steps and len(products):
            rows.append((particle, len(squares), len(products) + 1, squares.mean(), products.mean()))
            shares.append(share)
    moments = np.array(rows, dtype=float).reshape(-1, 5)
    if len(rows):
        weights = moments[:, 1]
        means = [np.average(moments[:, column], weights=weights) for column in (3, 4)]
        # Of N particles' steps without their median, about N - 1 are independent.
        moments = np.vstack([moments, [-1, weights.sum(), float(np.dot(moments[:, 2], np.asarray(shares))), *means]])
    # Gaps take more products than steps away, and products are what the interval hangs on: N steps of one stretch
    # have N - 1.
    n, square, product = moments[:, 2], moments[:, 3], moments[:, 4]
    # The mean of K tracks' estimates, weighted by their steps n_k of N in all: sum (n_k / N)^2 / n_k^2 = K / N^2.
    pooled = np.append(np.ones(len(rows)), [len(rows)] * (len(moments) - len(rows)))
    value = (square / 2 + product) / interval
    variance = blur * square + (2 * blur - 1) * product
    # D² and D²·epsilon are both finite where D vanishes.
    noise = variance / interval - 2 * blur * value
    spread = (6 * value**2 + 4 * value * noise + 2 * noise**2) / n + 4 * pooled * (value + noise) ** 2 / n**2
    half = ndtri((1 + confidence) / 2) * np.sqrt(spread / 2)
    per = f"{unit}2_per_{'frame' if tracks.frame_interval_s is None else 's'}"
    return pd.DataFrame({
        "particle": moments[:, 0].astype(int), "n_steps": moments[:, 1].astype(int), f"diffusion_{per}": value,
        f"diffusion_low_{per}": value - half, f"diffusion_high_{per}": value + half,
        f"localisation_variance_{unit}2": variance,
    })  # fmt: skip


def _moments(one: pd.DataFrame) -> tuple[NDArray, NDArray, float]:
    """Return squares of a particle's steps, products of consecutive ones, and the share of it that is its own.

    Squares and products are the mean of both axes.
    """
    good = (np.diff(one["frame"].to_numpy()) == 1) & (np.diff(one["run"].to_numpy()) == 0)
    steps = np.diff(one[["x", "y"]].to_numpy(), axis=0)
    squares = (steps**2).mean(axis=1) - np.diff(one["excess"].to_numpy()) / 2
    products = (steps[:-1] * steps[1:]).mean(axis=1)[good[:-1] & good[1:]]
    own = 1 - 1 / one[DRIFT_PARTICLES].to_numpy()[1:][good]
    return squares[good], products, float(own.mean()) if good.any() else 0.0


def _checked(tracks: Tracks) -> pd.DataFrame:
    check_kind(tracks, "tracks", Tracks)
    table = pd.DataFrame({name: tracks.table[name].to_numpy() for name in ("frame", "particle", "x", "y")})
    if table.duplicated(subset=["frame", "particle"]).any():
        raise InputError("a particle is in one frame twice; expected one row for each particle in each frame")
    return table


def _physical(tracks: Tracks) -> tuple[pd.DataFrame, str]:
    r"""Return positions in nm where those are known, put right for what the drift took with it, and the unit.

    Steps over their :math:`\sqrt{1 - 1/N}` have the covariances that they had, and their squares too much by the
    `excess` (summed up to each frame). Only within a `run` do positions belong together.
    """
    rows, cols = pixel_size_pair(tracks.pixel_size_nm)
    table, unit = _checked(tracks), "px" if tracks.pixel_size_nm is None else "nm"
    table = table.assign(x=table["x"] * cols, y=table["y"] * rows, run=0.0, excess=0.0, **{DRIFT_PARTICLES: np.inf})
    if DRIFT_PARTICLES not in tracks.table or table.empty:
        return table, unit
    table[DRIFT_PARTICLES] = tracks.table[DRIFT_PARTICLES].to_numpy(float)
    _, particle, place, order = _in_order(table)
    table = table.iloc[order].reset_index(drop=True)
    told = np.maximum(table[DRIFT_PARTICLES].to_numpy()[1:], 1)
    linked = (np.diff(particle) == 0) & (np.diff(place) == 1) & (told > 1)
    covariance, variance = (np.where(linked, share, 1) for share in (1 - 1 / told, _share_left(told)))
    steps = np.diff(table[["x", "y"]].to_numpy(float), axis=0) * linked[:, None]
    excess = (steps**2).sum(axis=1) * (1 / covariance - 1 / variance)
    changes = np.column_stack([steps / np.sqrt(covariance)[:, None], excess, ~linked])
    table.loc[1:, ["x", "y", "excess", "run"]] = changes.cumsum(axis=0)
    table.loc[0, ["x", "y"]] = 0.0
    return table, unit
