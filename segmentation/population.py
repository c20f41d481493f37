r"""Statistics of a particle population: percentiles, fits and their intervals, put right for the frame's border."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from segmentation.columns import as_flags, as_numbers
from segmentation.population_fits import fit_distributions
from segmentation.size_interval import check_confidence
from simulate.errors import (
    InputError,
    PixelSize,
    check_count,
    check_kind,
    check_pixel_size,
    check_rng,
    check_shape,
    pixel_size_pair,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_WEIGHT = 5.0
"""Border weights are clipped here: a particle nearly as wide as the frame would outweigh all others."""


@dataclass(frozen=True, eq=False)
class Population:
    r"""What the particles of one or several frames tell of their population.

    Attributes
    ----------
    statistics : pandas.DataFrame
        `value`, `low`, `high` of `d10`, `d50`, `d90` (number-weighted), `area_d10`, `area_d50`, `area_d90`
        (area-weighted), `mean`, `sd`, `geometric_mean` and `geometric_sd` of the equivalent diameter in `unit` (the
        last has none). NaN without particles; limits NaN with fewer than two.
    fits : pandas.DataFrame
        See `segmentation.population_fits.fit_distributions`.
    sizes, weights : ndarray of float64, shape (N,)
        Equivalent diameters of the particles that the border does not cut, and their border weights.
    unit : {"nm", "px"}
        Of the sizes.
    count, touching_border, n_frames : int
        All particles, those that the border cuts, and the frames they are of.
    effective_n : float
        As many particles of equal weights say as much, :math:`(\sum w)^2 / \sum w^2`.
    coverage : float
        Share of the frames' area that lies under particles, cut ones too.
    number_density : float
        Particles per area of the unit squared, :math:`\sum w / A`: unbiased, as particles of every size are found
        whole with the probability :math:`1 / w`.
    more_to_halve : int
        Particles to measure beside the present ones until intervals are half as wide: they go with
        :math:`1 / \sqrt{n}`, so three times as many (and as many more frames).
    """

    statistics: pd.DataFrame
    fits: pd.DataFrame
    sizes: NDArray[np.float64]
    weights: NDArray[np.float64]
    unit: str
    count: int
    touching_border: int
    n_frames: int
    effective_n: float
    coverage: float
    number_density: float
    more_to_halve: int

    def particles_needed(self, statistic: str, half_width: float) -> int:
        """Return how many particles in all, in as many more frames, give a statistic an interval of +- `half_width`."""
        if statistic not in self.statistics.index:
            raise InputError(f"statistic is {statistic!r}; expected one of {', '.join(self.statistics.index)}")
        low, high = self.statistics.loc[statistic, ["low", "high"]].to_numpy(dtype=np.float64)
        if not (np.isfinite(low) and half_width > 0):
            raise InputError(f"half_width is {half_width!r}; expected a number above 0 and at least two particles")
        return ceil(self.sizes.size * ((high - low) / 2 / half_width) ** 2)

    def table(self) -> pd.DataFrame:
        """Return the statistics with their units, and the numbers of particles that they rest on."""
        table = self.statistics.rename_axis("statistic").reset_index()
        table["unit"] = np.where(table["statistic"] == "geometric_sd", "", self.unit)
        numbers = {"count": self.count, "touching_border": self.touching_border, "effective_n": self.effective_n}
        counted = pd.DataFrame({"statistic": list(numbers), "value": list(numbers.values()), "unit": ""})
        density = pd.DataFrame({
            "statistic": ["number_density"], "value": self.number_density, "unit": f"1/{self.unit}2"
        })  # fmt: skip
        return pd.concat([table, counted, density], ignore_index=True)


def population(
    table: pd.DataFrame,
    shape: tuple[int, int],
    *,
    pixel_size_nm: PixelSize | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    rng: np.random.Generator | int | None = 0,
    n_frames: int | None = None,
) -> Population:
    r"""Describe the population that a table of particles is a sample of.

    Particles that the frame's border cuts have no size and are left out, and they are the larger ones. Each whole
    particle of the widths :math:`F_x, F_y` stands for

    .. math:: w = \frac{W_x W_y}{(W_x - 1 - F_x)(W_y - 1 - F_y)}

    particles, one over the probability that one of its size lies whole within a frame of :math:`W_x \times W_y` pixels
    and on none of the outermost ones, where it would count as cut (at most 5). Limits are percentiles of bootstrap
    samples, particles drawn with their weights. Of a table of several frames, whole frames are drawn too (of a movie,
    whole trajectories: a particle seen a hundred times is one), and the wider of both limits is given, those of
    :math:`k` frames widened by :math:`\sqrt{k / (k - 1)}`: fields of view differ by more than their particles do. From
    five frames on, these 95 % intervals of the median hold the truth in 88 to 95 % of cases whether frames differ or
    not, where particles alone would give 45 to 95 %; two or three frames cannot tell how much they differ.

    Where a few of the largest particles decide, no resampling knows of the larger ones that were missed: limits at 95 %
    hold the true value of 89 to 97 in 100 log-normal samples (geometric standard deviation 1.42) for percentiles by
    number, means and `area_d10`, `area_d50`, from 30 particles on; but of `sd` in 83, 90 and 93 and of `area_d90` in
    45, 83 and 92, from 30, 100 and 300 particles.

    Parameters
    ----------
    table : pandas.DataFrame
        From `segmentation.measure`, or tables of frames of one shape and pixel size joined, with a column `frame` (and
        `particle`, if they are of a movie: the table of `segmentation.tracking.track`).
    shape : (int, int)
        Frame shape in pixels.
    pixel_size_nm : float or (float, float), optional
        Pixel size of a table in nm; None for a table in pixels.
    confidence : float
        Of the intervals, above 0 and below 1.
    n_resamples : int
        Bootstrap samples.
    rng : numpy.random.Generator or int, optional
        Source of randomness of the bootstrap.
    n_frames : int, optional
        How many frames the table is of. If None those that it names, so that frames without a particle do not count and
        density and coverage come out too high where there are any.

    Returns
    -------
    Population

    Raises
    ------
    InputError
        If the table is none of `measure`, or its unit and the pixel size do not go together.

    References
    ----------
    ISO 13322-1:2014, "Particle size analysis - Image analysis methods - Part 1: Static image analysis methods".
    B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall (1993).

    Examples
    --------
    >>> from segmentation.measure import measure
    >>> labels = np.zeros((64, 64), int)
    >>> labels[4:14, 4:14], labels[30:50, 30:50], labels[60:, 60:] = 1, 2, 3
    >>> found = population(measure(labels), labels.shape)
    >>> found.count, found.sizes.size, found.weights.round(2).tolist(), found.more_to_halve
    (3, 2, [1.46, 2.22], 6)
    """
    height, width = check_shape(shape, smallest=1)
    check_confidence(confidence)
    check_count(n_resamples, "n_resamples", 1)
    generator = check_rng(rng)
    pixel_size_nm = check_pixel_size(pixel_size_nm)
    check_kind(table, "table", pd.DataFrame)
    unit = "px" if pixel_size_nm is None else "nm"
    boxes = ("bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1")
    needed = (f"equivalent_diameter_{unit}", f"area_{unit}2", "touches_border", *boxes)
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(
            f"the table has no column {missing[0]!r}; expected a table from segmentation.measure in {unit} "
            "(give pixel_size_nm for one in nm, and leave it out for one in pixels)"
        )
    _check_rows(table, needed, (height, width))
    row_size, col_size = pixel_size_pair(pixel_size_nm)
    named = len(table["frame"].drop_duplicates()) if "frame" in table and len(table) else 1
    n_frames = named if n_frames is None else n_frames
    check_count(n_frames, "n_frames", named)
    frame_area = n_frames * height * width * row_size * col_size
    cut = as_flags(table, "touches_border")
    weights = border_weights(table, (height, width))[~cut]
    sizes = table[needed[0]].to_numpy(dtype=np.float64)[~cut]
    order = np.argsort(sizes, kind="stable")
    sizes, weights = sizes[order], weights[order]
    groups = _groups(table[~cut].iloc[order])
    values = _statistics(sizes, weights[None])[0]
    limits = np.full((2, values.size), np.nan)
    if sizes.size > 1:
        levels = [(1 - confidence) / 2, (1 + confidence) / 2]
        limits = np.quantile(_bootstrap(sizes, weights, int(n_resamples), generator), levels, axis=0)
        n_groups = int(groups.max()) + 1
        if 1 < n_groups < sizes.size:
            whole = np.quantile(_bootstrap(sizes, weights, int(n_resamples), generator, groups), levels, axis=0)
            whole = np.maximum(values + (whole - values) * np.sqrt(n_groups / (n_groups - 1)), _SMALLEST)
            limits = np.where(np.ptp(whole, axis=0) > np.ptp(limits, axis=0), whole, limits)
    statistics = pd.DataFrame({"value": values, "low": limits[0], "high": limits[1]}, index=pd.Index(STATISTICS))
    square = float((weights**2).sum())
    effective_n = float(weights.sum()) ** 2 / square if square else 0.0
    return Population(
        statistics=statistics,
        fits=fit_distributions(sizes, weights),
        sizes=sizes,
        weights=weights,
        unit=unit,
        count=len(table),
        touching_border=int(cut.sum()),
        n_frames=n_frames,
        effective_n=effective_n,
        coverage=float(table[needed[1]].to_numpy(dtype=np.float64).sum()) / frame_area,
        number_density=float(weights.sum() / frame_area),
        more_to_halve=3 * sizes.size,
    )


def _check_rows(table: Any, needed: tuple[str, ...], shape: tuple[int, int]) -> None:
    """Raise `InputError` if sizes are no numbers above 0, or particles lie outside a frame of this shape."""
    for name in needed[:2]:
        values = as_numbers(table, [name])
        bad = int(np.count_nonzero(~(np.isfinite(values) & (values > 0))))
        if bad:
            raise InputError(f"{name} of {bad} of {len(table)} particles is no number above 0; leave those rows out")
    if not np.isfinite(as_numbers(table, list(needed[3:]))).all():
        raise InputError("the particles' boxes (bbox_x0 ... bbox_y1) hold NaN or infinite values; leave those rows out")
    right, bottom = (float(table[name].max()) if len(table) else 0.0 for name in ("bbox_x1", "bbox_y1"))
    if right > shape[1] or bottom > shape[0]:
        raise InputError(
            f"particles reach to row {bottom:g} and column {right:g} of a frame of {shape[0]} x {shape[1]} pixels; "
            "expected the shape (rows, columns) of the frames that they were found on"
        )


STATISTICS = (
    "d10", "d50", "d90", "area_d10", "area_d50", "area_d90", "mean", "sd", "geometric_mean", "geometric_sd",
)  # fmt: skip
_SMALLEST = np.array([0.0] * (len(STATISTICS) - 1) + [1.0])
"""What statistics cannot be below, however far an interval reaches: sizes and spreads 0, the geometric spread 1."""


def border_weights(table: pd.DataFrame, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return how many particles each row stands for, (N,): 0 for cut ones, else from 1 to `LARGEST_WEIGHT`."""
    height, width = shape
    boxes = table[["bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1"]].to_numpy(dtype=np.float64)
    free_x, free_y = width - 1 - (boxes[:, 2] - boxes[:, 0]), height - 1 - (boxes[:, 3] - boxes[:, 1])
    # At least a pixel of room, so that the weight stays finite before it is clipped.
    weights = width * height / (np.maximum(free_x, 1) * np.maximum(free_y, 1))
    return np.where(table["touches_border"].to_numpy(dtype=bool), 0.0, np.minimum(weights, LARGEST_WEIGHT))


def weighted_quantiles(sizes: NDArray, weights: NDArray, levels: tuple[float, ...]) -> NDArray[np.float64]:
    """Return quantiles of ascending sizes (N,) for each row of weights (B, N); (B, len(levels)).

    Each size stands in the middle of its weight, linear between them; equal weights give Hazen's quantiles.

    >>> weighted_quantiles(np.array([1.0, 2.0, 3.0]), np.ones((1, 3)), (0.5,)).tolist()
    [[2.0]]
    """
    middle = np.cumsum(weights, axis=1) - weights / 2
    total = weights.sum(axis=1)
    out = np.empty((len(weights), len(levels)))
    for row in range(len(weights)):
        used = weights[row] > 0
        out[row] = np.interp(levels, middle[row, used] / total[row], sizes[used])
    return out


def _statistics(sizes: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Values of `STATISTICS` for ascending sizes and rows of weights (B, N); (B, 10)."""
    if sizes.size == 0:
        return np.full((len(weights), len(STATISTICS)), np.nan)
    levels = (0.1, 0.5, 0.9)
    total = weights.sum(axis=1)
    logs = np.log(sizes)
    mean, log_mean = weights @ sizes / total, weights @ logs / total
    # The unbiased variance, with the effective number for weights that differ.
    n = total**2 / (weights**2).sum(axis=1)
    unbiased = np.where(n > 1 + 1e-9, n / np.maximum(n - 1, 1e-9), np.nan)
    sd, log_sd = (
        np.sqrt(np.maximum(weights @ values**2 / total - centre**2, 0) * unbiased)
        for values, centre in (
            (sizes - sizes.mean(), mean - sizes.mean()),
            (logs - logs.mean(), log_mean - logs.mean()),
        )
    )
    by_number, by_area = (weighted_quantiles(sizes, w, levels) for w in (weights, weights * sizes**2))
    return np.column_stack([by_number, by_area, mean, sd, np.exp(log_mean), np.exp(log_sd)])


def _groups(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return what each row belongs to, as numbers from 0: its trajectory, or its frame, or the only one there is."""
    name = next((name for name in ("particle", "frame") if name in table), None)
    return np.zeros(len(table), dtype=np.int64) if name is None else pd.factorize(table[name], use_na_sentinel=False)[0]


def _bootstrap(
    sizes: NDArray, weights: NDArray, n: int, rng: np.random.Generator, groups: NDArray | None = None
) -> NDArray[np.float64]:
    """Return the statistics of `n` samples, (n, 10), of particles drawn one by one or by groups, numbered from 0."""
    drawn = sizes.size if groups is None else int(groups.max()) + 1
    at_once = max(1, 2_000_000 // sizes.size)
    parts = []
    for start in range(0, n, at_once):
        rows = min(at_once, n - start)
        times = rng.multinomial(drawn, np.full(drawn, 1 / drawn), size=rows)
        # A sample of one particle over and over has no spread: it says nothing of the standard deviation.
        parts.append(_resampled(sizes, weights, times if groups is None else times[:, groups]))
    return np.concatenate(parts)


def _resampled(sizes: NDArray, weights: NDArray, times: NDArray) -> NDArray[np.float64]:
    values = _statistics(sizes, times * weights)
    alone = np.count_nonzero(times, axis=1) == 1
    values[alone, STATISTICS.index("sd")] = 0
    values[alone, STATISTICS.index("geometric_sd")] = 1
    return values
