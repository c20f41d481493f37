"""Curves and walks: spiral, Lissajous figure, diameters, self-avoiding random walk."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from simulate.schemes.order import in_given_order, pixel_count
from simulate.schemes.registry import scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulate.schemes.registry import Positions, Prior

FULL_PITCH_PX = 0.5
"""Pitch at which the spiral's points, half a pixel apart too, leave no pixel out."""


@scheme("spiral", "an Archimedean spiral from the centre outwards, without jumps in the frame", random=False)
def spiral(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    r"""Pixels along :math:`r = p \theta / 2 \pi` with the pitch :math:`p` of `spiral_pitch_px`, each visited once.

    The arm runs to the frame's corners, is clipped by its edges, and ends at the exact count of pixels.

    References
    ----------
    Sang et al., "Dynamic scan control in STEM: spiral scans", Advanced Structural and Chemical Imaging 2, 6 (2016),
    https://doi.org/10.1186/s40679-016-0020-3.
    """
    from simulate.kernels.schemes_curves import spiral as follow

    pixels = np.empty(pixel_count(shape, ratio), dtype=np.int64)
    follow(*shape, spiral_pitch_px(shape, pixels.size), pixels)
    return in_given_order(pixels, shape)


def spiral_pitch_px(shape: tuple[int, int], count: int) -> float:
    """Return the distance in pixels between the turns of a spiral that meets `count` pixels of the frame.

    Examples
    --------
    >>> round(spiral_pitch_px((256, 256), 256 * 256 // 8), 1)
    9.0
    """
    from simulate.kernels.schemes_curves import spiral as follow

    nothing = np.empty(0, dtype=np.int64)
    pixels = shape[0] * shape[1]
    if count == pixels:
        return FULL_PITCH_PX
    # One that leaves the frame in its first turn: wider ones are no shorter, and take long to follow.
    widest = 4.0 * max(shape)
    if follow(*shape, widest, nothing) >= count:
        return widest
    turns_per_px = _least_density(
        lambda density: follow(*shape, 1 / density, nothing), count, guess=0.8 * count / pixels, top=1 / FULL_PITCH_PX
    )
    return 1 / turns_per_px


@scheme(
    "lissajous",
    "a Lissajous figure: two sine waves, smooth everywhere, pixels met again at crossings",
    revisits=True,
    random=False,
)
def lissajous(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    r"""Pixels met by a beam that moves along a Lissajous figure over the whole frame.

    .. math:: x = \tfrac W 2 \left(1 + \cos 2 \pi f_x t\right), \quad
              y = \tfrac H 2 \left(1 + \cos(2 \pi f_y t + \tfrac{\pi}{2 f_x})\right),

    with the coprime frequencies of `lissajous_frequencies`. Each stay in a pixel is a visit, so that a pixel at a
    crossing is visited again; the figure ends when the count of distinct pixels is reached. A figure crosses the whole
    frame, so a ratio below that of the coarsest one is the beginning of it only.

    References
    ----------
    Bazaei, Yong and Moheimani, "High-speed Lissajous-scan atomic force microscopy: scan pattern planning and control
    design issues", Review of Scientific Instruments 83, 063701 (2012), https://doi.org/10.1063/1.4725525.
    """
    from simulate.kernels.schemes_curves import lissajous as follow

    count = pixel_count(shape, ratio)
    frequencies = lissajous_frequencies(shape, count)
    nothing = np.empty(0, dtype=np.int64)
    visits = follow(shape, frequencies, count, nothing, nothing)[1]
    rows, cols = np.empty(visits, dtype=np.int64), np.empty(visits, dtype=np.int64)
    follow(shape, frequencies, count, rows, cols)
    return rows, cols


def lissajous_frequencies(shape: tuple[int, int], count: int) -> tuple[int, int]:
    """Return the periods down the rows and across the columns of a figure that meets `count` pixels.

    They are coprime and about in the ratio of the frame's sides, so that the figure's lines cross at right angles in
    the middle of the frame.

    Examples
    --------
    >>> lissajous_frequencies((256, 256), 256 * 256 // 8)
    (11, 10)
    """
    from simulate.kernels.schemes_curves import lissajous as follow

    nothing = np.empty(0, dtype=np.int64)
    left = 1 - count / (shape[0] * shape[1])

    def found(density: float) -> float:
        distinct, _, share = follow(shape, _coprime(shape, density), count, nothing, nothing)
        # What a whole period would meet; a period that meets every pixel early meets no more later.
        return distinct / share if left > 0 else distinct

    density = _least_density(found, count, guess=min(-math.log(max(left, 1e-9)) / 2.6, 1.3))
    return _coprime(shape, density)


def _coprime(shape: tuple[int, int], density: float) -> tuple[int, int]:
    col_frequency = max(1, round(density * shape[0]))
    row_frequency = max(1 + (col_frequency == 1), round(density * shape[1]))
    while math.gcd(row_frequency, col_frequency) > 1:
        row_frequency += 1
    return row_frequency, col_frequency


@scheme("radial", "evenly turned diameters through the centre, densest there", random=False)
def radial(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Diameters at equal angles through the frame's centre, to and fro, each pixel at its first visit.

    Takes the fewest diameters that meet the count of pixels, and shortens all of them alike to make it exact.
    """
    from simulate.kernels.schemes_curves import diameters

    count = pixel_count(shape, ratio)
    nothing = np.empty(0, dtype=np.int64)
    # Diameters whose ends are at most a pixel apart miss none.
    guess = math.pi * max(shape) if count == shape[0] * shape[1] else count / max(shape)
    density = _least_density(lambda density: diameters(*shape, max(1, round(density)), nothing), count, guess=guess)
    n_diameters = max(1, round(density))
    pixels = np.empty(diameters(*shape, n_diameters, nothing), dtype=np.int64)
    diameters(*shape, n_diameters, pixels)
    rows, cols = in_given_order(pixels, shape)
    if count == pixels.size:
        return rows, cols
    # The largest coordinate in units of the frame's sides: shorter diameters end on a smaller frame.
    outwards = np.maximum(np.abs(rows + 0.5 - shape[0] / 2) / shape[0], np.abs(cols + 0.5 - shape[1] / 2) / shape[1])
    keep = np.sort(np.argsort(outwards, kind="stable")[:count])
    return rows[keep], cols[keep]


@scheme("random-walk", "steps to a random unvisited neighbour; a jump to a free pixel nearby when there is none")
def random_walk(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Make a self-avoiding walk from a random pixel that prefers to keep its direction.

    Where all eight neighbours are visited or outside, it goes on at a random one of the nearest free pixels, or
    anywhere in the frame if none is near. At low ratios it stays in a part of the frame.
    """
    from simulate.kernels.schemes_order import random_walk as walk

    restarts = rng.permutation(shape[0] * shape[1])
    return in_given_order(walk(*shape, restarts, rng.random(pixel_count(shape, ratio))), shape)


def _least_density(
    found: Callable[[float], float], count: int, *, guess: float, top: float = math.inf, tolerance: float = 0.003
) -> float:
    """Return a density of the curve at which it meets at least `count` pixels, and hardly more.

    `found` grows with the density; at `top`, if finite, it is known to suffice.
    """
    low, high, density = 0.0, top, min(guess, top)
    for _ in range(16):
        met = found(density)
        if met >= count:
            high = density
            if met <= count * (1 + tolerance):
                break
        else:
            low = density
        if low > 0 and high < math.inf:
            if high <= low * (1 + tolerance / 3):
                break
            density = math.sqrt(low * high)
        else:
            density *= min(max(count / met, 1.1 if met < count else 0.5), 2.0 if met < count else 0.9)
    while high == math.inf:
        density *= 1.1
        high = density if found(density) >= count else high
    return high
