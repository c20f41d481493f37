"""Where particles lie: anywhere, apart, in agglomerates, or on a lattice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRANGEMENTS = ("random", "hard-core", "clustered", "lattice")

_TRIES = {"hard-core": 400, "clustered": 60}
_MOST_TRIES = 20_000_000
"""Of all particles together: they lie in memory."""
_CLOSENESS = {"hard-core": 1.0, "clustered": 0.74}
JAMMING_COVERAGE = 0.547
"""Share of the plane that equal disks placed at random without overlap can cover (random sequential adsorption;
Feder, J. Theor. Biol. 87, 237 (1980), https://doi.org/10.1016/0022-5193(80)90358-6)."""


def place_particles(
    radii_px: NDArray[np.float64],
    film: NDArray[np.bool_],
    arrangement: str,
    *,
    rng: np.random.Generator,
    cluster_size: float = 5.0,
    lattice_disorder: float = 0.03,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Place disks on a frame.

    Parameters
    ----------
    radii_px : ndarray, shape (N,)
        Radii in pixels.
    film : ndarray of bool, shape (H, W)
        Where there is support: centres lie there (beyond the border the nearest pixel counts).
    arrangement : {"random", "hard-core", "clustered", "lattice"}
        Independent uniform centres; without overlap (random sequential adsorption, large ones first); agglomerates of
        touching and somewhat overlapping disks; a hexagonal lattice of a random orientation with about N nodes on the
        frame.
    rng : numpy.random.Generator
        Source of randomness.
    cluster_size : float
        Mean number of disks in an agglomerate.
    lattice_disorder : float
        Standard deviation of a node's displacement, in lattice spacings.

    Returns
    -------
    centres : ndarray, shape (M, 2)
        Rows and columns, in pixels, where whole numbers are the pixels' centres.
    kept : ndarray of int, shape (M,)
        Which radius each has.

    Raises
    ------
    InputError
        If disks do not fit without overlap.
    """
    (height, width), n = film.shape, len(radii_px)
    if arrangement == "lattice":
        centres = _lattice((height, width), n, lattice_disorder, rng)
        kept = rng.permutation(max(n, len(centres)))[: len(centres)] % max(n, 1)
        here = _on_film(centres, film)
        return centres[here] - 0.5, kept[here]
    if arrangement == "random":
        centres = rng.uniform(0, 1, (n, 2)) * (height, width)
        for _ in range(200):
            lost = ~_on_film(centres, film)
            if not lost.any():
                break
            centres[lost] = rng.uniform(0, 1, (int(lost.sum()), 2)) * (height, width)
        here = _on_film(centres, film)
        return centres[here] - 0.5, np.flatnonzero(here)
    if n == 0:
        return np.empty((0, 2)), np.empty(0, dtype=np.int64)
    from simulate.kernels.arrange import place

    order = np.argsort(-radii_px, kind="stable") if arrangement == "hard-core" else np.arange(n)
    chance = 1 - 1 / max(cluster_size, 1.0) if arrangement == "clustered" else 0.0
    attached = rng.random(n) < chance
    tries = rng.random((n, min(_TRIES[arrangement], max(60, _MOST_TRIES // n)), 3))
    placed = place(
        np.ascontiguousarray(radii_px[order]),
        attached,
        tries,
        _CLOSENESS[arrangement],
        arrangement == "clustered",
        height,
        width,
        film,
    )
    found = np.isfinite(placed[:, 0])
    if arrangement == "hard-core" and not found.all():
        covered = float(np.pi * np.square(radii_px).sum() / film.sum())
        raise InputError(
            f"{n} particles would cover {covered:.0%} of the support, and room was found for {int(found.sum())}; "
            f"expected at most about {JAMMING_COVERAGE:.0%}: ask for fewer or smaller ones, or for 'clustered'"
        )
    return placed[found] - 0.5, order[found]


def _on_film(centres: NDArray, film: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows, cols = (np.clip(centres[:, k].astype(np.int64), 0, film.shape[k] - 1) for k in (0, 1))
    return film[rows, cols]


def _lattice(shape: tuple[int, int], n: int, disorder: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the nodes on the frame of a hexagonal lattice with a mean of `n` nodes on it."""
    if n == 0:
        return np.empty((0, 2))
    spacing = np.sqrt(2 / np.sqrt(3) * shape[0] * shape[1] / n)
    steps = int(np.hypot(shape[0], shape[1]) / spacing) + 2
    a, b = (index.ravel() for index in np.mgrid[-steps : steps + 1, -steps : steps + 1])
    angle = rng.uniform(0, np.pi / 3)
    grid = np.column_stack([b * np.sqrt(3) / 2, a + b / 2]) + rng.random(2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    nodes = spacing * (grid + disorder * rng.normal(size=grid.shape)) @ turn.T + np.array(shape) / 2
    return nodes[((nodes >= 0) & (nodes < shape)).all(axis=1)]
