"""Low-discrepancy sequences on the pixel grid: every stretch of the sequence covers the frame evenly.

A pixel that the sequence meets again is skipped, so that the count is exact. The pixels are visited in raster order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulate.schemes.order import in_raster_order, pixel_count
from simulate.schemes.registry import scheme

if TYPE_CHECKING:
    import numpy as np

    from simulate.schemes.registry import Positions, Prior


@scheme("sobol", "the Sobol sequence with a random digital shift")
def sobol(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Take the first two dimensions of the Sobol sequence, shifted digit by digit.

    The first :math:`2^{a + b}` points have one in each cell of a grid of :math:`2^a` by :math:`2^b`.

    References
    ----------
    Sobol, "On the distribution of points in a cube and the approximate evaluation of integrals", USSR Computational
    Mathematics and Mathematical Physics 7, 86-112 (1967), https://doi.org/10.1016/0041-5553(67)90144-9.
    """
    from simulate.kernels import schemes_sequences as kernels

    shift = rng.integers(2**kernels.SOBOL_BITS, size=2)
    return in_raster_order(kernels.sobol(*shape, pixel_count(shape, ratio), shift), shape)


@scheme("halton", "the Halton sequence in bases 2 and 3 with a random shift")
def halton(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    """Columns by the radical inverse in base 2, rows in base 3, each shifted modulo the frame.

    References
    ----------
    Halton, "On the efficiency of certain quasi-random sequences of points in evaluating multi-dimensional integrals",
    Numerische Mathematik 2, 84-90 (1960), https://doi.org/10.1007/BF01386213.
    """
    from simulate.kernels import schemes_sequences as kernels

    shift = rng.integers([kernels.HALTON_BASE3, kernels.HALTON_BASE2])
    return in_raster_order(kernels.halton(*shape, pixel_count(shape, ratio), shift), shape)


@scheme("r2", "the additive sequence of the plastic number with a random shift")
def r2(shape: tuple[int, int], ratio: float, rng: np.random.Generator, prior: Prior = None) -> Positions:
    r"""Point :math:`n` at :math:`(s + n \, (g^{-1}, g^{-2})) \bmod 1` with the plastic number, :math:`g^3 = g + 1`.

    References
    ----------
    Roberts, "The unreasonable effectiveness of quasirandom sequences" (2018),
    https://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences/.
    """
    from simulate.kernels import schemes_sequences as kernels

    shift = rng.integers(2**kernels.R2_BITS, size=2)
    return in_raster_order(kernels.r2(*shape, pixel_count(shape, ratio), shift), shape)
