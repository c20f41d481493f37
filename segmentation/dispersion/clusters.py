"""Which particles belong together: clusters by the distance of their surfaces, and the agglomerates they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cluster_labels(n: int, pairs: NDArray, min_samples: int = 2) -> NDArray[np.int64]:
    """Return DBSCAN's cluster of each particle, from 0, or -1 for noise.

    A particle with at least `min_samples` particles in reach, itself counted, is a core particle; core particles in
    reach of each other are of one cluster, and others in reach of a core particle join the first such one's.

    Parameters
    ----------
    n : int
        Number of particles.
    pairs : ndarray of int, shape (M, 2)
        The pairs within reach of each other, each once.
    min_samples : int
        2 makes clusters of all that hang together, and noise of single particles.

    Returns
    -------
    ndarray of int64, shape (N,)

    References
    ----------
    M. Ester et al., "A density-based algorithm for discovering clusters in large spatial databases with noise",
    Proc. KDD (1996), 226.

    Examples
    --------
    >>> cluster_labels(5, np.array([[0, 1], [1, 4]])).tolist()
    [0, 0, -1, -1, 0]
    """
    core = np.bincount(pairs.ravel(), minlength=n) + 1 >= min_samples
    found = np.where(core, components(n, pairs[core[pairs].all(axis=1)]), -1)
    both = np.vstack([pairs, pairs[:, ::-1]])
    joins = both[core[both[:, 1]] & ~core[both[:, 0]]]
    joins = joins[np.lexsort((joins[:, 1], joins[:, 0]))]
    joining, first = np.unique(joins[:, 0], return_index=True)
    found[joining] = found[joins[first, 1]]
    used = np.unique(found[found >= 0])
    return np.where(found >= 0, np.searchsorted(used, found), -1)


def components(n: int, pairs: NDArray) -> NDArray[np.int64]:
    """Return the connected component of each of n particles, from 0, given the pairs (M, 2) that are connected."""
    graph = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def agglomerate_table(
    clusters: NDArray, points: NDArray, radii: NDArray, cut: NDArray[np.bool_], unit: str
) -> pd.DataFrame:
    r"""Return one row a cluster: how many particles, and how far they lie about.

    Parameters
    ----------
    clusters : ndarray of int, shape (N,)
        From 0, -1 for none.
    points : ndarray, shape (N, 2)
        Centres (x, y).
    radii : ndarray, shape (N,)
        Of disks of equal area.
    cut : ndarray of bool, shape (N,)
        Which particles the border cuts.
    unit : str
        Of lengths, for the names.

    Returns
    -------
    pandas.DataFrame
        `cluster`, `particles`, `x`, `y` (centre of mass), `area` (sum of the particles'), `primary_radius` (of the
        particles' mean area), `radius_of_gyration` and `touches_border` (one of its particles does). Masses are areas,
        and particles count with their own extent,

        .. math:: R_g^2 = \frac{\sum_i r_i^2 (|x_i - \bar x|^2 + r_i^2 / 2)}{\sum_i r_i^2}
    """
    inside = clusters >= 0
    owner, points, mass = clusters[inside], points[inside], np.square(radii[inside])
    n = int(owner.max()) + 1 if owner.size else 0
    count, total = np.bincount(owner, minlength=n), np.bincount(owner, mass, n)
    x, y = (np.bincount(owner, mass * points[:, k], n) / total for k in (0, 1))
    away = (points[:, 0] - x[owner]) ** 2 + (points[:, 1] - y[owner]) ** 2
    gyration = np.sqrt(np.bincount(owner, mass * (away + mass / 2), n) / total)
    return pd.DataFrame(
        {
            "cluster": np.arange(n),
            "particles": count,
            f"x_{unit}": x,
            f"y_{unit}": y,
            f"area_{unit}2": np.pi * total,
            f"primary_radius_{unit}": np.sqrt(total / count),
            f"radius_of_gyration_{unit}": gyration,
            "touches_border": np.bincount(owner, cut[inside], n) > 0,
        }
    )
