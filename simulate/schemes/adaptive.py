"""Adaptive sampling: a first even pass, then where the last result was least sure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, check_count, check_numbers, check_ratio, check_rng, check_shape
from simulate.measurement import PASS, join_measurements
from simulate.scan import ScanPath
from simulate.schemes.order import pixel_count
from simulate.schemes.points import jittered_grid
from simulate.schemes.prior import variable_density
from simulate.schemes.registry import scan_path, scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from simulate.hardware import ScanHardware
    from simulate.measurement import Measurement
    from simulate.schemes.registry import Positions, Prior

FIRST_SHARE = 0.5
"""Share of the samples that the first pass takes."""
SHARPNESS = 2.0
"""Samples are drawn in proportion to this power of the uncertainty."""


@scheme(
    "adaptive", "half of the pixels evenly, the others where a result is least sure (prior, or pass after pass)",
    needs_prior=True,
)  # fmt: skip
def adaptive(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Take half of ``round(ratio * H * W)`` pixels on a jittered grid and the others by `refine_positions`.

    The prior is how unsure each pixel is. `simulate.adaptive_scan` finds it from the samples themselves.
    """
    assert prior is not None
    count = pixel_count(shape, ratio)
    first = max(1, round(FIRST_SHARE * count))
    rows, cols = jittered_grid(shape, first / (shape[0] * shape[1]), rng, None)
    if first == count:
        return rows, cols
    visited = np.zeros(shape, dtype=np.bool_)
    visited[rows, cols] = True
    more = refine_positions(visited, prior, count - first, rng)
    return np.concatenate([rows, more[0]]), np.concatenate([cols, more[1]])


def refine_positions(
    visited: NDArray[np.bool_], unsure: NDArray[np.float64], count: int, rng: np.random.Generator
) -> Positions:
    r"""Draw `count` pixels that were not visited, in proportion to the squared uncertainty, in raster order.

    A tenth of the mean is added, so that a sure but wrong region is not left alone for ever.
    """
    weights = (unsure / max(float(unsure.max()), 1e-300)) ** SHARPNESS
    weights = np.where(visited, 0.0, weights + 0.1 * weights.mean() + 1e-12)
    return variable_density(visited.shape, count / visited.size, rng, weights)


def adaptive_scan(
    scan: Callable[[ScanPath], Measurement],
    unsure: Callable[[Measurement], ArrayLike],
    shape: tuple[int, int],
    ratio: float,
    *,
    n_passes: int = 3,
    rng: np.random.Generator | int | None = None,
    dwell_us: float = 10.0,
    hardware: ScanHardware | None = None,
) -> Measurement:
    """Scan in passes, each but the first where the samples so far leave the result least sure.

    Parameters
    ----------
    scan : callable
        Takes a `ScanPath` and returns its `Measurement`: a microscope, or `simulate.measure` on a frame.
    unsure : callable
        Takes the measurement so far and returns how unsure each pixel is, (H, W), at least 0: the sigma of a
        reconstruction, or the doubt of a segmentation.
    shape : (int, int)
        Frame shape.
    ratio : float
        Share of the pixels to visit in all passes together.
    n_passes : int
        How many passes, 2 or more; the first takes half of the samples, the others share the rest equally.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed.
    dwell_us : float
        Dwell time in µs.
    hardware : ScanHardware, optional
        What moves the beam.

    Returns
    -------
    Measurement
        All samples together; its path visits them pass after pass.

    Raises
    ------
    InputError
        If the ratio gives fewer samples than passes, or the uncertainty has a wrong shape or values.

    References
    ----------
    Sampling where a reconstruction is least sure: Godaliyadda et al., IEEE Transactions on Computational Imaging 4, 1
    (2018), https://doi.org/10.1109/TCI.2017.2777482.

    Examples
    --------
    >>> from simulate import measure
    >>> frame = np.add.outer(np.arange(32.0), np.arange(32.0))
    >>> edge = np.abs(np.arange(32) - 16) < 3
    >>> done = adaptive_scan(lambda path: measure(frame, path), lambda _: np.tile(edge, (32, 1)), (32, 32), 0.2, rng=0)
    >>> round(done.ratio, 3), bool(done.mask[:, edge].mean() > 2 * done.mask[:, ~edge].mean())
    (0.2, True)
    """
    generator = check_rng(rng)
    total = pixel_count(check_shape(shape, "scan"), check_ratio(ratio))
    check_count(n_passes, "n_passes", 2)
    if total < 2 * n_passes:
        raise InputError(
            f"a ratio of {ratio:g} gives {total} samples for {n_passes} passes; expected at least two each"
        )
    first = round(FIRST_SHARE * total)
    path = scan_path(
        "jittered-grid", shape, first / (shape[0] * shape[1]), rng=generator, dwell_us=dwell_us, hardware=hardware
    )
    path = replace(path, scheme="adaptive")
    done = scan(path)
    for ends in np.linspace(path.n_positions, total, n_passes).round().astype(np.int64)[1:]:
        doubt = _check_doubt(unsure(done), path.shape)
        rows, cols = refine_positions(path.mask, doubt, int(ends) - path.n_positions, generator)
        part = ScanPath(rows, cols, path.shape, dwell_us, PASS, hardware=path.hardware)
        path = path.then(part)
        done = join_measurements(done, scan(part), path)
    return done


def _check_doubt(unsure: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    doubt = check_numbers(unsure, "the uncertainty").astype(np.float64)
    if doubt.shape != shape or not (np.isfinite(doubt).all() and (doubt >= 0).all()):
        raise InputError(
            f"the uncertainty has shape {doubt.shape}; expected finite numbers of at least 0 of the frame's {shape}"
        )
    return doubt
