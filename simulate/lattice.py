"""Atomic-column frames: a projected crystal lattice, so that high-resolution scans can be sub-sampled too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from simulate.errors import check_positive, check_rng, check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray


def lattice_frame(
    shape: tuple[int, int],
    *,
    spacing_px: float,
    column_sigma_px: float,
    rng: np.random.Generator | int | None = None,
    n_grains: int = 1,
    second_column: float = 0.0,
) -> NDArray[np.float32]:
    r"""Draw grains of a two-column projected lattice, each with its own orientation.

    A column is a periodic von Mises peak, which tends to a Gaussian of width :math:`s` for a spacing :math:`a \gg s`:

    .. math:: I(u, v) = e^{\kappa (\cos 2\pi u + \cos 2\pi v - 2)}, \quad \kappa = (a / 2\pi s)^2

    Parameters
    ----------
    shape : (int, int)
        Frame shape in pixels.
    spacing_px : float
        Distance between neighbouring columns in pixels.
    column_sigma_px : float
        Standard deviation of a column's image in pixels.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed.
    n_grains : int
        How many grains, bounded by straight lines between random seeds (Voronoi cells).
    second_column : float
        Intensity of a second column in the cell's centre, relative to the first.

    Returns
    -------
    ndarray of float32, shape `shape`
        Intensity from about 0.1 (between columns) to about 1.

    Examples
    --------
    >>> lattice_frame((32, 32), spacing_px=8, column_sigma_px=1.5, rng=0).shape
    (32, 32)
    """
    height, width = check_shape(shape)
    kappa = (check_positive(spacing_px, "column spacing") / (2 * np.pi * check_positive(column_sigma_px, "width"))) ** 2
    generator = check_rng(rng)
    seeds = generator.uniform(0, 1, (n_grains, 2)) * shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    grain = np.argmin([np.hypot(y - row, x - col) for row, col in seeds], axis=0)
    frame = np.zeros(shape)
    for index in range(n_grains):
        angle, shear = generator.uniform(0, np.pi), generator.uniform(0, 0.6)
        phase = generator.uniform(0, 2 * np.pi, 2)
        strength = generator.uniform(0.5, 1.0)
        a = 2 * np.pi / spacing_px * (np.cos(angle) * x + np.sin(angle) * y) + phase[0]
        b = 2 * np.pi / spacing_px * (np.cos(angle + np.pi / 2 - shear) * x + np.sin(angle + np.pi / 2 - shear) * y)
        b += phase[1]
        columns = np.exp(kappa * (np.cos(a) + np.cos(b) - 2))
        columns += second_column * np.exp(kappa * (np.cos(a + np.pi) + np.cos(b + np.pi) - 2))
        frame = np.where(grain == index, strength * columns, frame)
    support = 0.1 + 0.1 * generator.random() * gaussian_filter(generator.normal(size=shape), min(shape) / 8) * min(
        shape
    )
    return (frame + np.clip(support, 0.02, 0.5)).astype(np.float32)
