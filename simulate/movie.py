"""Movies of particles with exact truth: frame after frame, who is where, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import shift, spline_filter

from simulate.errors import InputError, check_rng
from simulate.motion import Event, Population
from simulate.movie_config import MovieConfig
from simulate.scenes import form_image, observe

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

TRACK_DTYPE = np.dtype([
    ("frame", np.int32), ("particle", np.int32), ("x", np.float64), ("y", np.float64), ("area_nm2", np.float64),
    ("event", "U9"), ("other", np.int32), ("diameter_nm", np.float64), ("visible", np.float64),
    ("in_frame", np.float64),
])  # fmt: skip
"""One record for each particle in each frame where it has at least one pixel: frame from 0, id, centre in pixels (x
right, y down, whole numbers at pixel centres), area of its whole shadow, event, the other particle of the event (0 for
none), nominal diameter, and shares seen and in the frame as in `simulate.scenes.PARTICLE_DTYPE`.

Events: "appear" (first row of a new particle), "disappear" (last row of one that dissolves or vanishes), "enter" and
"leave" (first row in the frame; last row before it, or what it became, is outside), "merge" (row of the survivor in the
frame where the merging is complete; `other` was absorbed and has no more rows), "split" (first rows of both fragments;
`other` was the whole and has no more rows). A row that would have two has what happened before it rather than what
happens after it, but "disappear" rather than "enter". What happens outside the frame has no row."""

_SPLINE_REACH = 2
"""Pixels that a cubic spline needs beyond the frame."""


@dataclass(frozen=True, eq=False)
class MovieFrame:
    """One frame of a movie.

    Parameters
    ----------
    index : int
        Its number, from 0.
    time_s : float
        Time since the first frame in s.
    frame : ndarray of float32, shape (H, W)
        Noise-free share of the beam that the detector collects, 0 to 1.
    labels : ndarray of int32, shape (H, W)
        Id of the particle on top, 0 for none; ids are the same in all frames.
    particles : ndarray of simulate.scenes.PARTICLE_DTYPE, shape (N,)
        The particles with at least one pixel in the frame, their ids as `label`, ascending.
    """

    index: int
    time_s: float
    frame: NDArray[np.float32]
    labels: NDArray[np.int32]
    particles: NDArray


class _State(NamedTuple):
    """A frame before its image is formed; the frame's first pixel is at `corner` of the whole film."""

    number: int
    depth: NDArray[np.float64]
    labels: NDArray[np.int32]
    particles: NDArray
    film: NDArray[np.float32]
    corner: NDArray[np.float64]
    events: list[Event]


class Movie:
    """A movie of particles: an iterable of its frames, each drawn when it is asked for.

    Any number of iterations gives the same frames. The film is drawn as far as its drift brings it into the frame, and
    so far beyond the frame as a particle diffuses in the time (three standard deviations, at most one side), with
    particles on it everywhere.

    Parameters
    ----------
    config : MovieConfig
        What to film.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed; the same seed gives the same movie.

    Raises
    ------
    InputError
        While iterating, if the particles do not fit as the scene asks them to lie.

    Examples
    --------
    >>> from simulate.scenes import SceneConfig
    >>> scene = SceneConfig(shape=(64, 64), n_particles=5, diameter_nm=6)
    >>> movie = Movie(MovieConfig(scene, n_frames=3, growth_nm_per_s=0.5), rng=1)
    >>> [int(frame.labels.max()) for frame in movie]
    [5, 5, 5]
    >>> movie.tracks["diameter_nm"][movie.tracks["particle"] == 1].round(2)
    array([7.03, 7.53, 8.03])
    """

    def __init__(self, config: MovieConfig, rng: np.random.Generator | int | None = None) -> None:
        if not isinstance(config, MovieConfig):
            raise InputError(f"the movie's configuration is {config!r}; expected a MovieConfig")
        self.config = config
        self._seed = int(check_rng(rng).integers(2**63))

    def __len__(self) -> int:
        return self.config.n_frames

    def __iter__(self) -> Iterator[MovieFrame]:
        for state in self._states():
            support_nm = _window(state.film, state.corner, self.config)
            image = form_image(self.config.scene, state.depth, support_nm)
            time_s = state.number * self.config.frame_interval_s
            yield MovieFrame(state.number, time_s, image, state.labels, state.particles)

    @cached_property
    def tracks(self) -> NDArray:
        """The truth about all particles in all frames, of `TRACK_DTYPE`, in order of frames and ids."""
        blocks: list[NDArray] = []
        for state in self._states():
            rows = np.zeros(len(state.particles), dtype=TRACK_DTYPE)
            rows["frame"], rows["particle"] = state.number, state.particles["label"]
            for name in ("x", "y", "area_nm2", "diameter_nm", "visible", "in_frame"):
                rows[name] = state.particles[name]
            if blocks:
                _mark(blocks[-1], rows, state.events)
            blocks.append(rows)
        return np.concatenate(blocks)

    @property
    def table(self) -> pd.DataFrame:
        """The tracks as a table, one row for each particle in each frame."""
        import pandas as pd

        return pd.DataFrame(self.tracks)

    def _states(self) -> Iterator[_State]:
        config, scene = self.config, self.config.scene
        of_film, of_particles = (np.random.default_rng(seed) for seed in np.random.SeedSequence(self._seed).spawn(2))
        shape, origin = _film_frame(config)
        support_nm, film = scene.support.draw(shape, scene.pixel_size_nm, of_film)
        drift = np.array(config.drift_px)
        if drift.any():
            support_nm = np.asarray(spline_filter(support_nm, order=3)).astype(np.float32)
        population = Population(config, film, of_particles)
        events: list[Event] = []
        for index in range(config.n_frames):
            if index:
                events = population.step()
            corner = origin - index * drift
            depth, labels, particles = _see(population, corner, config)
            yield _State(index, depth, labels, particles, support_nm, corner, events)


def _film_frame(config: MovieConfig) -> tuple[tuple[int, int], NDArray[np.float64]]:
    """Return the shape of the film in pixels, and where on it the frame's first pixel is at first."""
    sides = np.array(config.scene.shape)
    path = np.array(config.drift_px) * (config.n_frames - 1)
    spread = 3 * config.step_px * np.sqrt(config.n_frames - 1)
    margin = np.minimum(np.ceil(spread), sides) + (_SPLINE_REACH + 1 if any(config.drift_px) else 0)
    height, width = (sides + 2 * margin + np.ceil(np.abs(path))).astype(int).tolist()
    return (height, width), margin + np.maximum(np.ceil(path), 0)


def _window(film: NDArray[np.float32], corner: NDArray[np.float64], config: MovieConfig) -> NDArray[np.float32]:
    """Return the thickness of the film in the frame; where it drifts, `film` holds its spline coefficients."""
    (height, width), (top, left) = config.scene.shape, np.floor(corner).astype(int).tolist()
    if not any(config.drift_px):
        return film[top : top + height, left : left + width]
    reach = _SPLINE_REACH
    block = film[top - reach : top + height + reach + 1, left - reach : left + width + reach + 1]
    moved = shift(block, [top, left] - corner, order=3, prefilter=False, mode="nearest")
    return np.maximum(moved[reach : reach + height, reach : reach + width], 0)


def _see(
    population: Population, corner: NDArray[np.float64], config: MovieConfig
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray]:
    """Return depth, label map of ids, and records of the particles in the frame."""
    solids = population.solids.moved(population.solids.centres - corner, population.solids.radii)
    depth, labels, particles, seen = observe(solids, population.names, config.scene.shape, config.scene.pixel_size_nm)
    numbers = np.concatenate([[0], population.ids]).astype(np.int32)
    particles["label"] = population.ids[seen]
    return depth, numbers[labels], particles


def _mark(before: NDArray, rows: NDArray, events: list[Event]) -> None:
    """Write the events between two frames into the rows of both."""
    # A particle that takes part in one is in no other between the same two frames.
    happened = {event.particle: event for event in events}
    earlier, now = set(before["particle"].tolist()), set(rows["particle"].tolist())
    for row in rows:
        event = happened.get(int(row["particle"]))
        if event is not None:
            row["event"], row["other"] = event.kind, event.other
        elif int(row["particle"]) not in earlier:
            row["event"] = "enter"
    went_on = now | set(rows["other"].tolist())
    for row in before:
        particle = int(row["particle"])
        if particle in went_on:
            continue
        event = happened.get(particle)
        if event is not None and event.kind == "disappear":
            if row["event"] in ("", "enter"):
                row["event"] = "disappear"
        elif row["event"] == "":
            row["event"] = "leave"
