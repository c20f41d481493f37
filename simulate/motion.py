"""How particles of a movie change from frame to frame: they move, grow, merge, split, come and go."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from simulate.scenes import SMALLEST_DIAMETER_PX, populate
from simulate.solids import Solids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.movie_config import MovieConfig

MERGE_OVERLAP = 0.2
"""Particles merge once they overlap by this share of the smaller one's diameter."""
MERGE_FRAMES = SPLIT_FRAMES = 4
RISE_FRAMES = 5
SMALLEST_SHARE = 0.3
"""Of a particle's volume in the smaller of two fragments, at least."""
FRAGMENT_GAPS = 0.6, 1.3
"""Distance of two fragments in their summed radii, as they part and when they are on their own."""


class Event(NamedTuple):
    """Something that happened to a particle between two frames; `other` is the second particle's id, or 0."""

    kind: str
    particle: int
    other: int = 0


@dataclass
class _Pair:
    """Two particles that merge or have just split, and the vector (pixels) between them at the beginning and end."""

    kind: str
    first: int
    second: int
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    step: int = 0

    @property
    def n_steps(self) -> int:
        return MERGE_FRAMES if self.kind == "merge" else SPLIT_FRAMES


class Population:
    """The particles on a film.

    Free particles take Gaussian steps and are reflected at the sides of the box that holds the film and all first
    centres, some of which may lie just beyond the film.

    With coalescence, two free particles that overlap by more than `MERGE_OVERLAP` merge over `MERGE_FRAMES` frames:
    the smaller one's volume flows into the larger one in equal parts while they draw together, so that at each frame
    the sum of their volumes and, but for its Brownian motion, their centre of mass are kept. A particle splits into
    two of the same shape, with a share from `SMALLEST_SHARE` to half of its volume in the second one, which move apart
    about their centre of mass over `SPLIT_FRAMES` frames. Meanwhile, what merges or splits does not grow, split again
    or vanish.

    New particles start with a diameter of 2 pixels and reach one drawn from the scene's distribution in `RISE_FRAMES`
    frames.

    Parameters
    ----------
    config : MovieConfig
        What happens.
    film : ndarray of bool, shape (H, W)
        Where particles may be at first and appear.
    rng : numpy.random.Generator
        Source of randomness.

    Attributes
    ----------
    solids : Solids
        The bodies, centres in pixels of the film.
    names : list of (str, str)
        Shape and material of each.
    ids : ndarray of int32, shape (N,)
        Who they are: above 0, ascending, never used twice.
    """

    def __init__(self, config: MovieConfig, film: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.config, self.film, self.rng = config, film, rng
        self._frames = film.size / (config.scene.shape[0] * config.scene.shape[1])
        n = config.scene.n_particles * film.size // (config.scene.shape[0] * config.scene.shape[1])
        scene = replace(config.scene, shape=film.shape, n_particles=n)
        self.solids, self.names = populate(scene, film, rng)
        edges = np.concatenate([self.solids.centres, [[-0.5, -0.5], np.array(film.shape) - 0.5]])
        self._low, self._high = edges.min(axis=0), edges.max(axis=0)
        self.ids = np.arange(1, len(self.solids) + 1, dtype=np.int32)
        self._next_id = len(self.solids) + 1
        self._pairs: list[_Pair] = []
        # Radius in pixels that a new particle still gains in each of so many frames.
        self._rise_px, self._rise_frames = np.zeros(len(self.solids)), np.zeros(len(self.solids), dtype=np.int64)

    def step(self) -> list[Event]:
        """Go on to the next frame and return what happened; a particle that vanished is not there any more."""
        events = self._vanish()
        events += self._split()
        self._move()
        events += self._grow()
        events += self._advance_pairs()
        if self.config.coalescence:
            self._touch()
        return events + self._appear()

    def _free(self) -> NDArray[np.bool_]:
        return ~np.isin(self.ids, [member for pair in self._pairs for member in (pair.first, pair.second)])

    def _chance(self, rate_per_s: float) -> NDArray[np.bool_]:
        """Draw to which free particles something happens that has a rate."""
        drawn = self.rng.random(len(self.ids)) < -np.expm1(-rate_per_s * self.config.frame_interval_s)
        return drawn & self._free()

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        chosen = np.flatnonzero(kept)
        self.solids, self.names = self.solids.take(chosen), [self.names[i] for i in chosen]
        self.ids, self._rise_px, self._rise_frames = (
            array[chosen] for array in (self.ids, self._rise_px, self._rise_frames)
        )

    def _add(self, solids: Solids, names: list[tuple[str, str]], rise_px: NDArray[np.float64]) -> list[int]:
        ids = np.arange(self._next_id, self._next_id + len(solids), dtype=np.int32)
        self._next_id += len(solids)
        arrays = {
            item.name: np.concatenate([getattr(self.solids, item.name), getattr(solids, item.name)])
            for item in fields(Solids)
            if item.name != "bodies"
        }
        self.solids = Solids(bodies=self.solids.bodies + solids.bodies, **arrays)
        self.names = self.names + names
        self.ids = np.concatenate([self.ids, ids])
        self._rise_px = np.concatenate([self._rise_px, rise_px])
        self._rise_frames = np.concatenate([self._rise_frames, np.where(rise_px > 0, RISE_FRAMES, 0)])
        return ids.tolist()

    def _vanish(self) -> list[Event]:
        gone = self._chance(self.config.disappearance_per_s)
        events = [Event("disappear", particle) for particle in self.ids[gone].tolist()]
        self._keep(~gone)
        return events

    def _move(self) -> None:
        if self.config.step_px == 0:
            return
        steps = self.rng.normal(size=(len(self.ids), 2)) * self.config.step_px
        centres = self.solids.centres + steps
        free = self._free()
        centres[free] = _reflected(centres[free], self._low, self._high)
        self.solids = self.solids.moved(centres, self.solids.radii)

    def _grow(self) -> list[Event]:
        rate_px = self.config.growth_nm_per_s * self.config.frame_interval_s / 2 / self.config.scene.pixel_size_nm
        free = self._free()
        rising = free & (self._rise_frames > 0)
        radii = self.solids.radii + np.where(rising, self._rise_px, np.where(free, rate_px, 0.0))
        self._rise_frames = self._rise_frames - rising
        gone = free & ~rising & (rate_px < 0) & (radii < SMALLEST_DIAMETER_PX / 2)
        self.solids = self.solids.moved(self.solids.centres, radii)
        events = [Event("disappear", particle) for particle in self.ids[gone].tolist()]
        self._keep(~gone)
        return events

    def _advance_pairs(self) -> list[Event]:
        if not self._pairs:
            return []
        index = {particle: i for i, particle in enumerate(self.ids.tolist())}
        centres, radii = self.solids.centres.copy(), self.solids.radii.copy()
        units = np.array([body.volume for body in self.solids.bodies])
        events, kept = [], np.ones(len(self.ids), dtype=np.bool_)
        for pair in self._pairs:
            pair.step += 1
            i, j = index[pair.first], index[pair.second]
            first, second = units[i] * radii[i] ** 3, units[j] * radii[j] ** 3
            total = first + second
            middle = (first * centres[i] + second * centres[j]) / total
            if pair.kind == "merge":
                second -= second / (pair.n_steps - pair.step + 1)
                first = total - second
                radii[i], radii[j] = np.cbrt(first / units[i]), np.cbrt(second / units[j])
                if pair.step == pair.n_steps:
                    kept[j] = False
                    events.append(Event("merge", pair.first, pair.second))
            apart = pair.start + (pair.end - pair.start) * pair.step / pair.n_steps
            centres[i], centres[j] = middle - apart * second / total, middle + apart * first / total
        self._pairs = [pair for pair in self._pairs if pair.step < pair.n_steps]
        self.solids = self.solids.moved(centres, radii)
        self._keep(kept)
        return events

    def _split(self) -> list[Event]:
        # The smaller fragment keeps a diameter that can be seen.
        large = self.solids.radii * np.cbrt(SMALLEST_SHARE) >= SMALLEST_DIAMETER_PX / 2
        parents = np.flatnonzero(self._chance(self.config.splitting_per_s) & large)
        if parents.size == 0:
            return []
        events, old = [], self.ids[parents].tolist()
        solids, names = self.solids.take(parents), [self.names[i] for i in parents]
        kept = np.ones(len(self.ids), dtype=np.bool_)
        kept[parents] = False
        self._keep(kept)
        shares = self.rng.uniform(SMALLEST_SHARE, 0.5, len(parents))
        angles = self.rng.uniform(0, 2 * np.pi, len(parents))
        for i, parent in enumerate(old):
            share, direction = shares[i], np.array([np.sin(angles[i]), np.cos(angles[i])])
            parts = np.cbrt([1 - share, share]) * solids.radii[i]
            start, end = (gap * parts.sum() * direction for gap in FRAGMENT_GAPS)
            centres = solids.centres[i] + np.array([-share * start, (1 - share) * start])
            first, second = self._add(solids.take([i, i]).moved(centres, parts), [names[i]] * 2, np.zeros(2))
            self._pairs.append(_Pair("split", first, second, start, end))
            events += [Event("split", first, parent), Event("split", second, parent)]
        return events

    def _touch(self) -> None:
        """Let free particles that overlap enough begin to merge, those that overlap most first."""
        free = np.flatnonzero(self._free())
        if free.size < 2:
            return
        centres, radii = self.solids.centres[free], self.solids.radii[free]
        pairs = KDTree(centres).query_pairs(2 * radii.max(), output_type="ndarray")
        a, b = np.sort(pairs, axis=1).T
        apart = np.hypot(*(centres[b] - centres[a]).T)
        overlap = (radii[a] + radii[b] - apart) / (2 * np.minimum(radii[a], radii[b]))
        volumes = np.array([self.solids.bodies[i].volume for i in free]) * radii**3
        taken = np.zeros(free.size, dtype=np.bool_)
        for k in np.lexsort((b, a, -overlap)):
            i, j = a[k], b[k]
            if overlap[k] <= MERGE_OVERLAP:
                break
            if taken[i] or taken[j]:
                continue
            taken[[i, j]] = True
            self._rise_frames[free[[i, j]]] = 0
            if volumes[j] > volumes[i]:
                i, j = j, i
            first, second = self.ids[free[[i, j]]].tolist()
            self._pairs.append(_Pair("merge", first, second, centres[j] - centres[i], np.zeros(2)))

    def _appear(self) -> list[Event]:
        rate = self.config.appearance_per_s * self._frames
        n = int(self.rng.poisson(rate * self.config.frame_interval_s))
        if n == 0:
            return []
        scene = replace(self.config.scene, shape=self.film.shape, n_particles=n, arrangement="random")
        solids, names = populate(scene, self.film, self.rng)
        radii = np.minimum(solids.radii, SMALLEST_DIAMETER_PX / 2)
        new = self._add(solids.moved(solids.centres, radii), names, (solids.radii - radii) / RISE_FRAMES)
        return [Event("appear", particle) for particle in new]


def _reflected(
    centres: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fold positions back between two walls on each axis."""
    folded = (centres - low) % (2 * (high - low))
    return low + np.minimum(folded, 2 * (high - low) - folded)
