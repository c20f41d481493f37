"""Interpolation between the samples: no model of the noise, so held-out samples tell how much to smooth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.ndimage import distance_transform_edt, gaussian_filter

from cs_recon.noise import exposure_weights
from cs_recon.reconstruction import Reconstruction, reconstructors, result
from simulate.errors import check_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from simulate.measurement import Measurement

    Interpolator = Callable[[NDArray[np.float64], NDArray[np.bool_]], NDArray[np.float64]]

WIDTHS_PX = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0)
"""Widths of the Gaussian that held-out samples choose from."""

HELD_OUT = 0.1
FEWEST_SAMPLES = 20
"""Below, no width is chosen: the samples are kept."""

ENOUGH_HELD_OUT = 400
LARGEST_RADIUS_PX = 64


@reconstructors.register_each(
    "nearest", "each pixel takes the value of the nearest sample, smoothed by held-out samples (scipy)"
)
def nearest(measurement: Measurement, *, device: str = "cpu", smooth_px: float | None = None) -> Reconstruction:
    """Nearest-neighbour interpolation. Computed on the CPU.

    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result: 0 keeps the samples as they
    are, None takes the width that foretells held-out samples best.
    """
    return _interpolated(measurement, nearest_image, "nearest", smooth_px)


@reconstructors.register_each("linear", "linear interpolation between samples, smoothed by held-out samples (scipy)")
def linear(measurement: Measurement, *, device: str = "cpu", smooth_px: float | None = None) -> Reconstruction:
    """Piecewise linear interpolation on the Delaunay triangulation of the samples. Computed on the CPU.

    Outside the samples' convex hull, and where they do not span a plane, the nearest sample is taken. `smooth_px` is
    the standard deviation in pixels of a Gaussian that smooths the result: 0 keeps the samples as they are, None takes
    the width that foretells held-out samples best.
    """
    return _interpolated(measurement, linear_image, "linear", smooth_px)


@reconstructors.register_each("natural", "natural-neighbour (Sibson) interpolation, smoothed by held-out samples")
def natural(measurement: Measurement, *, device: str = "cpu", smooth_px: float | None = None) -> Reconstruction:
    r"""Natural-neighbour interpolation on the pixel grid. Computed on the CPU.

    Sibson's interpolant at :math:`q` weighs each sample by the area that a Voronoi cell about :math:`q` would take from
    the sample's cell. On the grid, a pixel :math:`p` belongs to the new cell if :math:`q` is nearer to it than its
    nearest sample :math:`s(p)`:

    .. math:: x(q) = \frac{\sum_{p \in C(q)} y(s(p))}{|C(q)|}, \quad
              C(q) = \{q\} \cup \{p : |p - q| < |p - s(p)|\}

    Cells are cut at 64 px and at the frame's border, so that outside the samples' hull the nearest few are averaged.
    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result: 0 keeps the samples as they
    are, None takes the width that foretells held-out samples best.

    References
    ----------
    Sibson, "A brief description of natural neighbour interpolation", in Barnett (ed.), Interpreting Multivariate Data,
    Wiley (1981), 21.
    Park, Linsen, Kreylos, Owens, Hamann, "Discrete Sibson interpolation", IEEE TVCG 12, 243 (2006),
    https://doi.org/10.1109/TVCG.2006.27.
    """
    return _interpolated(measurement, natural_image, "natural", smooth_px)


@reconstructors.register_each(
    "biharmonic", "the smoothest (thin-plate) surface through the samples, smoothed by held-out samples"
)
def biharmonic(measurement: Measurement, *, device: str = "cpu", smooth_px: float | None = None) -> Reconstruction:
    r"""Biharmonic inpainting: :math:`\Delta^2 x = 0` off the samples (scikit-image). Computed on the CPU.

    `smooth_px` is the standard deviation in pixels of a Gaussian that smooths the result: 0 keeps the samples as they
    are, None takes the width that foretells held-out samples best.

    References
    ----------
    Damelin, Hoang, "On surface completion and image inpainting by biharmonic functions", Int. J. Math. Math. Sci. 2018,
    3950312, https://doi.org/10.1155/2018/3950312.
    """
    return _interpolated(measurement, biharmonic_image, "biharmonic", smooth_px)


def nearest_image(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill values (H, W) off the mask by the nearest sample's."""
    image = np.where(mask, values, 0.0)
    missing = np.argwhere(~mask)
    if len(missing):
        image[tuple(missing.T)] = NearestNDInterpolator(np.argwhere(mask), values[mask])(missing)
    return image


def linear_image(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill values (H, W) off the mask linearly on the samples' Delaunay triangulation."""
    image = nearest_image(values, mask)
    missing, points = np.argwhere(~mask), np.argwhere(mask)
    if len(missing) and np.linalg.matrix_rank(points - points[0]) == 2:
        filled = LinearNDInterpolator(points, values[mask])(missing)
        inside = np.isfinite(filled)
        image[tuple(missing[inside].T)] = filled[inside]
    return image


def natural_image(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill values (H, W) off the mask by discrete Sibson interpolation (see `natural`).

    Each pixel adds its nearest sample's value to the disc in which it is nearer than that sample; a row of a disc is an
    interval of columns, so the discs are summed as differences along the rows.
    """
    rows, cols = mask.shape
    at = np.asarray(distance_transform_edt(~mask, return_distances=False, return_indices=True))
    r, c = np.indices(mask.shape)
    squared = ((at[0] - r) ** 2 + (at[1] - c) ** 2).ravel()
    squared = np.minimum(squared, LARGEST_RADIUS_PX**2)
    # A difference of large numbers would lose digits: sum deviations from the mean.
    offset = values[mask].mean()
    taken = (values[at[0], at[1]] - offset).ravel()
    r, c = r.ravel(), c.ravel()
    steps = np.zeros((2, rows * (cols + 1)))
    reach = int(np.ceil(np.sqrt(squared.max())))
    for row in range(-reach + 1, reach):
        # Strictly nearer, and the pixel itself always: columns with row^2 + column^2 < squared.
        chosen = np.flatnonzero((squared > row * row) & (r + row >= 0) & (r + row < rows))
        half = _half_width(squared[chosen] - row * row)
        start = np.maximum(c[chosen] - half, 0) + (r[chosen] + row) * (cols + 1)
        stop = np.minimum(c[chosen] + half, cols - 1) + 1 + (r[chosen] + row) * (cols + 1)
        for total, weights in zip(steps, (taken[chosen], None), strict=True):
            total += np.bincount(start, weights, total.size) - np.bincount(stop, weights, total.size)
    sums, counts = np.cumsum(steps.reshape(2, rows, cols + 1), axis=2)[:, :, :cols]
    return np.where(mask, values, sums / np.maximum(counts, 1) + offset)


def biharmonic_image(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill values (H, W) off the mask by the biharmonic surface through the samples."""
    from skimage.restoration import inpaint_biharmonic

    offset, scale = values[mask].mean(), values[mask].std() or 1.0
    filled = np.where(mask, (values - offset) / scale, 0)
    return inpaint_biharmonic(filled, ~mask, split_into_regions=False) * scale + offset


def best_width(
    values: NDArray[np.float64], mask: NDArray[np.bool_], interpolate: Interpolator, weights: NDArray | None = None
) -> float:
    """Return the width of `WIDTHS_PX` by which the interpolated image foretells held-out samples best.

    A tenth of the samples, drawn at random from a fixed seed, is left out of the interpolation; small scans are dealt
    out into up to ten such parts, since few samples tell little.

    Parameters
    ----------
    values, mask : ndarray, shape (H, W)
        The samples.
    interpolate : callable
        From values and mask to an image that passes through the samples.
    weights : ndarray, shape (H, W), optional
        Weight of each sample's squared error.
    """
    samples = np.flatnonzero(mask)
    if len(samples) < FEWEST_SAMPLES:
        return 0.0
    order = np.random.default_rng(0).permutation(samples)
    size = round(HELD_OUT * len(samples))
    errors = np.zeros(len(WIDTHS_PX))
    for part in range(max(1, min(10, ENOUGH_HELD_OUT // size))):
        held = order[part * size : (part + 1) * size]
        kept = mask.copy()
        kept.flat[held] = False
        image = interpolate(values, kept)
        weight = 1.0 if weights is None else weights.flat[held]
        errors += [
            np.sum(weight * (_smoothed(image, width).flat[held] - values.flat[held]) ** 2) for width in WIDTHS_PX
        ]
    return WIDTHS_PX[int(np.argmin(errors))]


def _interpolated(
    measurement: Measurement, interpolate: Interpolator, method: str, smooth_px: float | None
) -> Reconstruction:
    if smooth_px is not None:
        check_within(smooth_px, "smooth_px", high=max(measurement.shape))
    values, mask = measurement.values, measurement.mask
    width = (
        best_width(values, mask, interpolate, exposure_weights(measurement)) if smooth_px is None else float(smooth_px)
    )
    image = _smoothed(interpolate(values, mask), width)
    return result(measurement, image, method, info={"smooth_px": width})


def _smoothed(image: NDArray, width: float) -> NDArray[np.float64]:
    return gaussian_filter(image, width, mode="nearest") if width else image


def _half_width(squared: NDArray) -> NDArray[np.int64]:
    """Return the largest h with h^2 < squared, for whole squares of at least 1."""
    half = np.ceil(np.sqrt(squared)).astype(np.int64) - 1
    half += (half + 1) ** 2 < squared
    return half - (half * half >= squared)
