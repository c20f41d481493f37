r"""Monotone surfaces over sampling ratio and dose, fitted to noisy figures.

More samples and more electrons never hurt, on average: figures are fitted by a bilinear surface over a grid of knots
that obeys this. With the values :math:`\theta` at the knots, the data :math:`A\theta \approx b` and second differences
:math:`D\theta`,

.. math:: \min_\theta \|A\theta - b\|^2 + \lambda \|D\theta\|^2 \quad \text{subject to} \quad G\theta \ge 0

is a least-squares problem with inequality constraints; it becomes one of least distance, and this one of non-negative
least squares.

References
----------
Lawson and Hanson, "Solving Least Squares Problems", SIAM (1995), chapter 23, https://doi.org/10.1137/1.9781611971217.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SMOOTHING = 0.03
"""Weight of the second differences against one datum: enough to bridge knots without data, too little to bend."""
RIDGE = 1e-6


class MonotoneSurface:
    """Bilinear surfaces over a grid of knots that rise (or fall) along both axes.

    Parameters
    ----------
    u_knots, v_knots : array_like, shapes (I,) and (J,)
        Ascending, such as the logarithms of ratios and counts; one knot stands for an axis without change.
    u, v : array_like, shape (N,)
        Where the data are.
    rising : bool
        Whether values rise with u and v; else they fall.
    """

    def __init__(self, u_knots: ArrayLike, v_knots: ArrayLike, u: ArrayLike, v: ArrayLike, *, rising: bool) -> None:
        self.u_knots, self.v_knots = np.asarray(u_knots, dtype=np.float64), np.asarray(v_knots, dtype=np.float64)
        n = self.u_knots.size * self.v_knots.size
        data = self.weights(u, v)
        self._n_data = len(data)
        stacked = np.concatenate([data, np.sqrt(SMOOTHING) * self._bends(), np.sqrt(RIDGE) * np.eye(n)])
        self._q, r = np.linalg.qr(stacked)
        self._inverse = np.linalg.inv(r)
        self._steps = self._differences() * (1.0 if rising else -1.0)
        self._reduced = self._steps @ self._inverse

    def weights(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """Return the matrix (N, I J) from values at the knots to values at the points; beyond the knots they stay."""
        at_u, at_v = _interpolation(self.u_knots, u), _interpolation(self.v_knots, v)
        return (at_u[:, :, None] * at_v[:, None, :]).reshape(len(at_u), -1)

    def fit(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the values at the knots, shape (I J,), of the surface next to the data's values (N,)."""
        from scipy.optimize import nnls

        values = np.asarray(values, dtype=np.float64)
        middle = float(values.mean())
        wanted = self._q[: self._n_data].T @ (values - middle)
        if len(self._steps) == 0:
            return middle + self._inverse @ wanted
        # Least distance z = R theta - Q'b subject to (G / R) z >= -(G / R) Q'b, by its dual.
        limit = -(self._reduced @ wanted)
        dual, _ = nnls(np.concatenate([self._reduced.T, limit[None]]), np.append(np.zeros(wanted.size), 1.0))
        residual = np.append(self._reduced.T @ dual, limit @ dual) - np.append(np.zeros(wanted.size), 1.0)
        distance = -residual[:-1] / residual[-1] if abs(residual[-1]) > 1e-12 else np.zeros(wanted.size)
        return np.asarray(middle + self._inverse @ (wanted + distance), dtype=np.float64)

    def _differences(self) -> NDArray[np.float64]:
        """Return the matrix of first differences along both axes."""
        shape = (self.u_knots.size, self.v_knots.size)
        index = np.arange(shape[0] * shape[1]).reshape(shape)
        pairs = np.concatenate([
            np.stack([index[:-1].ravel(), index[1:].ravel()], axis=1),
            np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], axis=1),
        ])  # fmt: skip
        matrix = np.zeros((len(pairs), index.size))
        np.put_along_axis(matrix, pairs[:, :1], -1.0, axis=1)
        np.put_along_axis(matrix, pairs[:, 1:], 1.0, axis=1)
        return matrix

    def _bends(self) -> NDArray[np.float64]:
        """Return the matrix of changes of slope along both axes, in units of a typical step."""
        along_u = np.kron(_bends(self.u_knots), np.eye(self.v_knots.size))
        along_v = np.kron(np.eye(self.u_knots.size), _bends(self.v_knots))
        return np.concatenate([along_u, along_v]).astype(np.float64)


def _interpolation(knots: NDArray[np.float64], at: ArrayLike) -> NDArray[np.float64]:
    at = np.clip(np.atleast_1d(np.asarray(at, dtype=np.float64)), knots[0], knots[-1])
    matrix = np.zeros((at.size, knots.size))
    if knots.size == 1:
        matrix[:, 0] = 1.0
        return matrix
    left = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, knots.size - 2)
    share = (at - knots[left]) / (knots[left + 1] - knots[left])
    rows = np.arange(at.size)
    matrix[rows, left], matrix[rows, left + 1] = 1 - share, share
    return matrix


def _bends(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    if knots.size < 3:
        return np.zeros((0, knots.size))
    step = np.diff(knots)
    slopes = np.diff(np.eye(knots.size), axis=0) / step[:, None]
    return np.diff(slopes, axis=0) * step.mean()
