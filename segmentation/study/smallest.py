r"""The smallest particle that is still found, by scheme, ratio and dose.

Whether a particle of diameter d is found is fitted by a logistic curve of its logarithm,

.. math:: P(d) = \frac{1}{1 + e^{-(a + b \ln d)}}, \quad b \ge 0,

and the diameter at which it crosses a share is told. Isolated small particles are what sparse scans lose first: none of
their pixels may have been visited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from segmentation.study.bootstrap import bootstrap_widening
from simulate.errors import InputError, check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINS = 24
STEPS = 60
PRIOR = 0.05
"""Weight of the prior on the slope, as of so many particles: where all or none are found, no slope is the largest."""
ALL, NONE = "all are found", "none is found"


def smallest_found(
    rows: pd.DataFrame, by: Sequence[str], *, share: float = 0.5, level: float = 0.95, n_boots: int = 300,
    rng: np.random.Generator | int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Return the diameter from which on a share of the particles is found, for each group of rows.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of a study, with `true_diameters_px` and `true_found`.
    by : sequence of str
        What tells the groups apart.
    share : float
        Of the particles of a size, between 0 and 1.
    level, n_boots, rng
        Of the bootstrap over frames.

    Returns
    -------
    pandas.DataFrame
        The columns `by`, `diameter_px` with `low` and `high` (NaN of a single frame), `particles`, and `limit`: "all
        are found" where even the smallest particle is found more often than that, "none is found" where not even the
        largest is; the diameter is then the smallest or the largest there was.
    """
    if not 0 < share < 1:
        raise InputError(f"share is {share:g}; expected a share of the particles between 0 and 1, e.g. 0.5")
    if not 0 < level < 1:
        raise InputError(f"level is {level:g}; expected a probability between 0 and 1, e.g. 0.95")
    check_count(n_boots, "n_boots", 2)
    generator = np.random.default_rng(rng)
    good: Any = rows[(rows["error"] == "") & (rows["n_true"] > 0)]
    found = []
    for key, group in good.groupby(list(by), sort=False):
        sizes = [np.log(np.asarray(one, dtype=np.float64)) for one in group["true_diameters_px"]]
        hits = [np.asarray(one, dtype=np.float64) for one in group["true_found"]]
        low, high = min(map(np.min, sizes)), max(map(np.max, sizes))
        edges = np.linspace(low, high + 1e-9, BINS + 1)
        numbers, successes = (
            np.stack([np.histogram(one, edges, weights=weights)[0] for one, weights in zip(sizes, what, strict=True)])
            for what in ([None] * len(sizes), hits)
        )
        drawn = generator.integers(len(sizes), size=(n_boots, len(sizes)))
        total = np.concatenate([numbers.sum(0)[None], numbers[drawn].sum(axis=1)])
        success = np.concatenate([successes.sum(0)[None], successes[drawn].sum(axis=1)])
        crossing = _crossings((edges[1:] + edges[:-1]) / 2, total, success, share)
        limit = ALL if crossing[0] <= low else NONE if crossing[0] >= high else ""
        value, *boots = np.clip(crossing, low, high)
        ends = np.full(2, np.nan)
        if len(sizes) > 1:
            reach = np.quantile(boots, [(1 - level) / 2, (1 + level) / 2]) - value
            ends = np.clip(value + bootstrap_widening((1 + level) / 2, len(sizes)) * reach, low, high)
        found.append((*key, *np.exp([value, *ends]), int(total[0].sum()), limit))
    return pd.DataFrame(found, columns=[*by, "diameter_px", "low", "high", "particles", "limit"])


def _crossings(
    x: NDArray[np.float64], total: NDArray[np.float64], success: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """Return where each fitted curve crosses the share: fits of (R, N) counts at x (N,), by Newton's method."""
    centre, scale = x.mean(), x.std() or 1.0
    z = (x - centre) / scale
    a, b = np.zeros(len(total)), np.ones(len(total))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(a[:, None] + b[:, None] * z, -30, 30)))
        gradient = success - total * p
        weight = total * p * (1 - p)
        g_a, g_b = gradient.sum(1) - PRIOR * a, (gradient * z).sum(1) - PRIOR * (b - 1)
        h_aa, h_ab, h_bb = weight.sum(1) + PRIOR, (weight * z).sum(1), (weight * z**2).sum(1) + PRIOR
        det = h_aa * h_bb - h_ab**2
        a = a + np.clip((h_bb * g_a - h_ab * g_b) / det, -2, 2)
        b = np.maximum(b + np.clip((h_aa * g_b - h_ab * g_a) / det, -2, 2), 1e-3)
    return centre + scale * (np.log(share / (1 - share)) - a) / b
