"""Sizes and shapes: one row a particle, with the unit in the name of every column that has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from segmentation.geometry import crofton_perimeters, feret_and_hull
from segmentation.instances import Instances, as_instances, check_image_of, compact_labels
from simulate.errors import InputError, pixel_size_pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def measure(instances: Instances | ArrayLike, image: ArrayLike | None = None) -> pd.DataFrame:
    r"""Measure every particle of a frame.

    Lengths are in nm and areas in nm² where the pixel size is known (`_nm`, `_nm2`), else in pixels (`_px`, `_px2`).
    Pixels may be rectangular: everything but the position is computed in physical lengths.

    Parameters
    ----------
    instances : Instances or array_like of int, shape (H, W)
        The particles, or a label map (then measured in pixels).
    image : array_like, shape (H, W), optional
        Image to take `mean_intensity` from; `instances.intensity` if None.

    Returns
    -------
    pandas.DataFrame
        One row a particle, ordered by label; an empty frame gives no row and all columns:

        - `label`
        - `x`, `y`: centroid in pixels, 0 at the centre of the first pixel, as trackpy and scikit-image have it
        - `area`: number of pixels times the area of one
        - `equivalent_diameter`: of the disk of equal area, :math:`\sqrt{4A/\pi}`
        - `feret_min`, `feret_max`: smallest and largest caliper width (`segmentation.geometry.outer_polygon` says how
          exact: half a pixel, and a disk's largest width is about half a pixel too long)
        - `major_axis`, `minor_axis`: full axes of the ellipse with the particle's second moments, each pixel counted
          as a rectangle, not a point: :math:`4\sqrt{\lambda_{1,2}}`
        - `perimeter`: Crofton's (`segmentation.geometry.crofton_perimeters`); the frame's edge counts as boundary
        - `circularity`: :math:`4 \pi A / P^2`; 1 within 0.065 for disks of radius 3 pixels and more, so it may exceed 1
        - `aspect_ratio`: major axis over minor axis, at least 1
        - `solidity`: the particle's pixels over all pixels in its convex hull, in (0, 1], 1 for every convex shape
        - `eccentricity`: :math:`\sqrt{1 - (b/a)^2}` of the axes, in [0, 1)
        - `orientation_deg`: angle of the major axis, counter-clockwise from the direction of the columns (x, to the
          right) as the image is seen, in (-90, 90]; without meaning where the axes are equal
        - `touches_border`: True if a pixel lies at the frame's edge, so that the particle is cut
        - `mean_intensity`: only where an image is known
        - `score`: the segmentation's, in [0, 1]

    Raises
    ------
    InputError
        If the label map is not one, or the image does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:64, :64]
    >>> disk = (x - 30) ** 2 + (y - 20) ** 2 <= 10**2
    >>> table = measure(Instances(disk.astype(int), pixel_size_nm=0.5))
    >>> table[["x", "y", "equivalent_diameter_nm", "circularity"]].round(2).iloc[0].tolist()
    [30.0, 20.0, 10.05, 0.96]
    """
    particles = as_instances(instances)
    intensity = particles.intensity if image is None else check_image_of(image, particles.shape)
    unit = "px" if particles.pixel_size_nm is None else "nm"
    pixel_sizes = pixel_size_pair(particles.pixel_size_nm)
    n_labels = len(particles)
    compact = compact_labels(particles.labels, particles.ids)

    rows, cols = np.nonzero(compact)
    index = compact[rows, cols] - 1
    n_pixels = np.bincount(index, minlength=n_labels)
    x, y = _means(cols, index, n_pixels), _means(rows, index, n_pixels)
    area = n_pixels * (pixel_sizes[0] * pixel_sizes[1])
    perimeter = crofton_perimeters(compact, n_labels, pixel_sizes)
    feret_min, feret_max, hull_pixels = feret_and_hull(compact, n_labels, pixel_sizes)
    major, minor, orientation = _ellipse((rows - y[index]), (cols - x[index]), index, n_pixels, pixel_sizes)

    columns: dict[str, NDArray] = {
        "label": particles.ids.astype(np.int64),
        "x": x,
        "y": y,
        f"area_{unit}2": area,
        f"equivalent_diameter_{unit}": np.sqrt(4 * area / np.pi),
        f"feret_min_{unit}": feret_min,
        f"feret_max_{unit}": feret_max,
        f"major_axis_{unit}": major,
        f"minor_axis_{unit}": minor,
        f"perimeter_{unit}": perimeter,
        "circularity": 4 * np.pi * area / perimeter**2,
        "aspect_ratio": major / minor,
        "solidity": n_pixels / hull_pixels,
        "eccentricity": np.sqrt(1 - (minor / major) ** 2),
        "orientation_deg": orientation,
        "touches_border": _touches_border(compact, n_labels),
    }
    if intensity is not None:
        columns["mean_intensity"] = _means(intensity[rows, cols], index, n_pixels)
    columns["score"] = particles.scores
    return pd.DataFrame(columns)


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Summarise a particle table: how many, how large, how spread.

    Every row counts, those of particles cut by the border too (their number is given).

    Parameters
    ----------
    table : pandas.DataFrame
        From `measure`, or several such tables concatenated.

    Returns
    -------
    dict
        `count`, `touching_border`, then `mean_`, `median_` and `sd_equivalent_diameter_nm` and the number-weighted
        percentiles `d10_nm`, `d50_nm`, `d90_nm` of the equivalent diameter (`_px` without a pixel size). Without
        particles the sizes are NaN; the standard deviation (N - 1) needs two.

    Raises
    ------
    InputError
        If the table has no equivalent diameter, or mixes pixels and nm.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((32, 32), int)
    >>> labels[4:10, 4:10], labels[20:22, 20:22] = 1, 2
    >>> found = summary(measure(labels))
    >>> found["count"], round(found["d50_px"], 2)
    (2, 4.51)
    """
    stem = "equivalent_diameter_"
    units = [name.removeprefix(stem) for name in table.columns if name.startswith(stem)]
    if len(units) != 1 or "touches_border" not in table:
        raise InputError(
            f"the table has {len(units)} columns of equivalent diameters and {len(table.columns)} in all; "
            "expected a table from segmentation.measure, in one unit"
        )
    unit = units[0]
    sizes = table[stem + unit].to_numpy(dtype=np.float64)
    mean, median, d10, d90 = np.nan, np.nan, np.nan, np.nan
    if sizes.size:
        mean = sizes.mean()
        d10, median, d90 = np.percentile(sizes, [10, 50, 90])
    return {
        "count": len(table),
        "touching_border": int(np.count_nonzero(table["touches_border"].to_numpy())),
        f"mean_equivalent_diameter_{unit}": float(mean),
        f"median_equivalent_diameter_{unit}": float(median),
        f"sd_equivalent_diameter_{unit}": float(sizes.std(ddof=1)) if sizes.size > 1 else float("nan"),
        f"d10_{unit}": float(d10),
        f"d50_{unit}": float(median),
        f"d90_{unit}": float(d90),
    }


def _means(values: NDArray, index: NDArray, n_pixels: NDArray) -> NDArray[np.float64]:
    return np.bincount(index, weights=values, minlength=n_pixels.size) / n_pixels


def _ellipse(
    rows: NDArray, cols: NDArray, index: NDArray, n_pixels: NDArray, pixel_sizes: tuple[float, float]
) -> tuple[NDArray, NDArray, NDArray]:
    """Full major and minor axis and orientation (degrees) from the second moments about the centroid."""
    row_size, col_size = pixel_sizes
    # 1/12 is the variance of a pixel about its own centre: without it a line of pixels has no width.
    var_y = (_means(rows * rows, index, n_pixels) + 1 / 12) * row_size**2
    var_x = (_means(cols * cols, index, n_pixels) + 1 / 12) * col_size**2
    cov = _means(rows * cols, index, n_pixels) * (row_size * col_size)
    half_difference, mean = (var_x - var_y) / 2, (var_x + var_y) / 2
    spread = np.hypot(half_difference, cov)
    major = 4 * np.sqrt(mean + spread)
    # The product of the eigenvalues is the determinant: no cancellation in mean - spread for long particles.
    minor = 4 * np.sqrt((var_x * var_y - cov**2) / (mean + spread))
    degrees = -np.degrees(np.arctan2(cov, half_difference) / 2)
    degrees[degrees <= -90 + 1e-9] += 180
    return major, np.minimum(minor, major), degrees + 0.0


def _touches_border(compact: NDArray[np.int32], n_labels: int) -> NDArray[np.bool_]:
    touches = np.zeros(n_labels + 1, dtype=bool)
    for edge in (compact[0], compact[-1], compact[:, 0], compact[:, -1]):
        touches[edge] = True
    return touches[1:]
