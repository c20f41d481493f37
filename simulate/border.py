"""What share of each shadow lies within the frame, exact where the border cuts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulate.solids import Solids


def shares_in_frame(solids: Solids, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the share of each body's shadow that lies within the frame, 0 to 1, shape (N,); 1 if none is cut off.

    The frame reaches half a pixel beyond the centres of its outer pixels.

    Examples
    --------
    >>> from simulate.shapes import Body
    >>> from simulate.solids import Solids
    >>> one = np.ones(1)
    >>> ball = Solids((Body(),), np.eye(3)[None], np.array([[-0.5, 20.0]]), 5 * one, one, 0 * one)
    >>> shares_in_frame(ball, (64, 64)).round(3)
    array([0.5])
    """
    shares = np.ones(len(solids))
    if len(solids) == 0:
        return shares
    from simulate.kernels.border import share_within

    reach, high = solids.reach[:, None], np.array(shape) - 0.5
    near = ((solids.centres - reach < -0.5) | (solids.centres + reach > high)).any(axis=1)
    for i in np.flatnonzero(near):
        points = solids.bodies[i].shadow(solids.rotations[i])[:, ::-1] * solids.radii[i] + solids.centres[i]
        shares[i] = share_within(points, *shape)
    return shares
