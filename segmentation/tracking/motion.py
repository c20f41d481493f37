"""Motion: the drift that all particles share, mean squared displacements, and diffusion coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import ndtri

from segmentation.columns import whole_numbers
from segmentation.tracking.tracks import Tracks
from simulate.errors import InputError, check_count, check_kind, check_within, pixel_size_pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRIFT_PARTICLES, DRIFT_FROM = "drift_particles", "drift_from"
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
    (nothing of one particle's, half of two's). Of the covariance of a particle's steps into frames k and l, which N and
    M particles tell and C of those both, it is about :math:`1 - 1/N - 1/M + C/(N M)`: what is linear in the median is
    the mean. The column ``drift_particles`` holds the N of the step into each frame (0 of the first), and
    ``drift_from`` the frame it came from, by which `diffusion` and `mean_squared_displacement` undo it, of a part of
    the particles too.
    """
    common, table = _drift(tracks), tracks.table.copy()
    place = np.searchsorted(common["frame"].to_numpy(), table["frame"].to_numpy())
    for name in ("x", "y"):
        table[name] = table[name].to_numpy(float) - common[name].to_numpy()[place]
    table[DRIFT_PARTICLES] = common[DRIFT_PARTICLES].to_numpy()[place]
    table[DRIFT_FROM] = common["frame"].to_numpy()[np.maximum(place - 1, 0)]
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


def _share_left(particles: NDArray) -> NDArray[np.float64]:
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
    paths, unit = _physical(tracks)
    blocks = [pd.DataFrame({"particle": paths.particle[:0], "lag": paths.frame[:0], "squared": paths.points[:0, 0]})]
    lack = told = np.zeros(len(paths.frame))
    for span in range(1, int(max_lag) + 1):
        # The last step's square and its products with those before it, and what was lacking one row earlier.
        told = told + paths.lack(span - 1) * (1 if span == 1 else 2)
        lack = told + np.append(0.0, lack[:-1])
        lag = paths.frame[span:] - paths.frame[:-span]
        good = (paths.run[span:] == paths.run[:-span]) & (lag <= max_lag)
        squared = ((paths.points[span:] - paths.points[:-span]) ** 2).sum(axis=1) + lack[span:]
        blocks.append(
            pd.DataFrame({"particle": paths.particle[span:][good], "lag": lag[good], "squared": squared[good]})
        )
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
    paths, unit = _physical(tracks)
    interval = tracks.frame_interval_s or 1.0
    rows, shares = [], []
    for particle, one in _moments(paths).groupby("particle"):
        squares, products = one["square"].dropna(), one["product"].dropna()
        if len(squares) >= min_steps and len(products):
            rows.append((particle, len(squares), len(products) + 1, squares.mean(), products.mean()))
            shares.append(one["own"].mean())
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


def _moments(paths: _Paths) -> pd.DataFrame:
    """Return the step into each row squared, times the one before it (means of both axes), and which share is its own.

    NaN where there is none: steps over missing frames do not count.
    """
    steps = np.diff(paths.points, axis=0, prepend=0.0)
    good = np.append(False, (np.diff(paths.frame) == 1) & (np.diff(paths.run) == 0))[: len(steps)]
    both = good & np.append(False, good[:-1])[: len(steps)]
    squares = (steps**2).sum(axis=1) + paths.lack(0)
    products = (steps * np.roll(steps, 1, axis=0)).sum(axis=1) + paths.lack(1)
    own = 1 - 1 / np.maximum(paths.told, 1)
    moments = {"square": (squares / 2, good), "product": (products / 2, both), "own": (own, good)}
    return pd.DataFrame({
        "particle": paths.particle, **{name: np.where(where, each, np.nan) for name, (each, where) in moments.items()}
    })  # fmt: skip


def _checked(tracks: Tracks) -> pd.DataFrame:
    check_kind(tracks, "tracks", Tracks)
    told = {name: whole_numbers(tracks.table, name) for name in ("frame", "particle")}
    table = pd.DataFrame(told | {name: tracks.table[name].to_numpy() for name in ("x", "y")})
    if table.duplicated(subset=["frame", "particle"]).any():
        raise InputError("a particle is in one frame twice; expected one row for each particle in each frame")
    return table


def _physical(tracks: Tracks) -> tuple[_Paths, str]:
    """Return trajectories in nm where the pixel size is known, and the unit."""
    table = _checked(tracks)
    rows, cols = pixel_size_pair(tracks.pixel_size_nm)
    _, particle, place, order = _in_order(table)
    points = table[["x", "y"]].to_numpy(float)[order] * (cols, rows)
    new = np.append(True, np.diff(particle) != 0)[: len(order)]
    told, frame = np.full(len(order), np.inf), table["frame"].to_numpy()[order]
    if {DRIFT_PARTICLES, DRIFT_FROM} <= set(tracks.table):
        told = tracks.table[DRIFT_PARTICLES].to_numpy(float)[order]
        before = tracks.table[DRIFT_FROM].to_numpy()[order]
        new |= np.append(True, frame[:-1] != before[1:])[: len(order)] | (told < 2)
    return _Paths(frame, particle, points, new.cumsum(), told, place), "px" if tracks.pixel_size_nm is None else "nm"


@dataclass(frozen=True)
class _Paths:
    """Trajectories by particle and time. Only within a `run` do positions belong together."""

    frame: NDArray
    particle: NDArray
    points: NDArray[np.float64]
    run: NDArray[np.int64]
    told: NDArray[np.float64]
    """How many particles told the drift of the step into each row."""
    place: NDArray[np.int64]

    def lack(self, back: int) -> NDArray[np.float64]:
        """Return what the drift took of each step's product with the one `back` rows before it: see `without_drift`."""
        n = len(self.frame)
        lacking = np.zeros(n)
        if back >= n - 1 or np.isinf(self.told).all():
            return lacking
        linked = np.append(False, np.diff(self.run) == 0)
        late = np.flatnonzero(linked[back:] & (self.run[back:] == self.run[: n - back]) & linked[: n - back]) + back
        early = late - back
        share = _share_left(self.told[late]) if back == 0 else self._share(back, linked, late)
        steps = np.diff(self.points, axis=0, prepend=0.0)
        lacking[late] = (steps[late] * steps[early]).sum(axis=1) * (1 / share - 1)
        return lacking

    def _share(self, back: int, linked: NDArray[np.bool_], late: NDArray) -> NDArray[np.float64]:
        """Return the share that the drift left of the covariance of the steps into rows and `back` rows before them."""
        frames = int(self.place.max()) + 1
        keys = np.unique(self.particle, return_inverse=True)[1] * frames + self.place
        there = linked & np.isin(keys - back, keys[linked]) & (self.place >= back)
        # Of a part of the particles, the share of those seen in both stands for that of all.
        steps, common = (np.bincount(self.place[which], minlength=frames) for which in (linked, there))
        both = (common / np.maximum(steps, 1))[self.place[late]] * self.told[late]
        first, second = self.told[late - back], self.told[late]
        return 1 - 1 / first - 1 / second + both / (first * second)
