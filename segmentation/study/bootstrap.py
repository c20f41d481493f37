"""How much wider a bootstrap's interval has to be than what it draws, where there are few frames."""

from __future__ import annotations

from scipy import stats


def students_allowance(quantile: float, n: int) -> float:
    """Return how much further out the quantile of Student's t of n values lies than a normal distribution's."""
    return float(stats.t.ppf(quantile, n - 1) / stats.norm.ppf(quantile))


def bootstrap_widening(quantile: float, n: int) -> float:
    """Return by what an interval about an estimate from n >= 2 resampled frames is to be widened.

    A bootstrap of n values varies as their variance over n, not n - 1, and knows no more of it than they do.

    Examples
    --------
    >>> round(bootstrap_widening(0.975, 3), 2), round(bootstrap_widening(0.975, 100), 2)
    (2.69, 1.02)
    """
    return (n / (n - 1)) ** 0.5 * students_allowance(quantile, n)
