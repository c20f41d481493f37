"""Sizes and shapes: one row a particle, with the unit in the name of every column that has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from segmentation.circles import backgrounds, inscribed_diameters
from segmentation.columns import as_flags
from segmentation.geometry import convex_hulls, crofton_perimeters
from segmentation.instances import MASK_SIZE, Instances, as_instances, check_image_of, compact_labels
from segmentation.outlines import mask_areas
from segmentation.size_interval import check_confidence, mean_displacement_sd, size_intervals
from simulate.errors import InputError, nearest_name, pixel_size_pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


OUTLINES = ("auto", "pixels", "masks")


def measure(
    instances: Instances | ArrayLike,
    image: ArrayLike | None = None,
    *,
    sigma: ArrayLike | None = None,
    confidence: float = 0.95,
    outline: str = "auto",
) -> pd.DataFrame:
    r"""Measure every particle of a frame.

    Lengths are in nm and areas in nm² where the pixel size is known (`_nm`, `_nm2`), else in pixels (`_px`, `_px2`).
    Pixels may be rectangular: everything but the position is computed in physical lengths.

    Parameters
    ----------
    instances : Instances or array_like of int, shape (H, W)
        The particles, or a label map (then measured in pixels).
    image : array_like, shape (H, W), optional
        Image to take intensities from; `instances.intensity` if None.
    sigma : array_like, shape (H, W), optional
        Standard deviation of the image's error in its unit: `Reconstruction.sigma`. With it the table gets intervals.
    confidence : float
        Of those intervals, above 0 and below 1.
    outline : {"auto", "pixels", "masks"}
        What `area` and `equivalent_diameter` are taken from: the label map's pixels, or the sub-pixel outlines of the
        mask probabilities (`segmentation.outlines`). "auto" takes the outlines of particles whose masks are finer than
        the pixels (boxes of less than 28 pixels, by their geometric mean) where there are masks, and pixels for the
        others. Pixels count too where the outline holds less than half or more than twice of them, as when others
        cover the most of a particle.

    Returns
    -------
    pandas.DataFrame
        One row a particle, ordered by label; an empty frame gives no row and all columns:

        - `label`
        - `x`, `y`: centroid in pixels, 0 at the centre of the first pixel, as trackpy and scikit-image have it
        - `area`: see `outline`; the number of pixels times the area of one without masks
        - `equivalent_diameter`: of the disk of equal area, :math:`\sqrt{4A/\pi}`
        - `equivalent_diameter_low`, `equivalent_diameter_high`: limits that hold the true one with the probability
          `confidence` (`segmentation.size_interval`), and `area_low`, `area_high` of disks of those; only with sigma
        - `feret_min`, `feret_max`: smallest and largest caliper width (ISO 13322-1), right within half a pixel for
          disks, ellipses and nearly all rotated rectangles that are not tiny (`segmentation.geometry.convex_hulls`)
        - `feret_perpendicular`: caliper width at right angles to `feret_min`
        - `major_axis`, `minor_axis`: full axes of the ellipse with the particle's second moments, each pixel counted
          as a rectangle, not a point: :math:`4\sqrt{\lambda_{1,2}}`
        - `perimeter`: Crofton's (`segmentation.geometry.crofton_perimeters`); the frame's edge counts as boundary
        - `circularity`: :math:`4 \pi A / P^2`; 1 within 0.06 for disks of radius 3 pixels and more, so it may exceed 1
        - `roundness`: :math:`4 A / \pi F_\mathrm{max}^2` (ISO 9276-6), in (0, 1], 1 for a disk
        - `aspect_ratio`: major axis over minor axis, at least 1
        - `solidity`: the particle's pixels over all pixels in its convex hull, in (0, 1], 1 for every convex shape
        - `convexity`: perimeter of the convex hull over `perimeter`, in (0, 1] (ISO 9276-6)
        - `inscribed_diameter`, `enclosing_diameter`: of the largest circle inside (`segmentation.circles`) and the
          smallest one around the particle
        - `eccentricity`: :math:`\sqrt{1 - (b/a)^2}` of the axes, in [0, 1)
        - `orientation_deg`: angle of the major axis, counter-clockwise from the direction of the columns (x, to the
          right) as the image is seen, in (-90, 90]; without meaning where the axes are equal
        - `touches_border`: True if a pixel lies at the frame's edge, so that the particle is cut
        - `bbox_x0`, `bbox_y0`, `bbox_x1`, `bbox_y1`: its pixels' bounding box in pixels, as pixel edges: the pixel in
          column 3 reaches from 3 to 4
        - `mean_intensity`, `integrated_intensity`: mean and sum over its pixels; only where an image is known
        - `background_intensity`: median of the ring from 2 to 5 pixels around it, other particles and what is nearer to
          them left out; NaN where nothing of the ring is left
        - `net_intensity`: sum over its pixels of the intensity above that background
        - `score`: the segmentation's, in [0, 1]

    Raises
    ------
    InputError
        If the label map is not one, the image does not fit it, or there are no masks for the outline "masks".

    References
    ----------
    ISO 13322-1:2014, "Particle size analysis - Image analysis methods - Part 1: Static image analysis methods".
    ISO 9276-6:2008, "Representation of results of particle size analysis - Part 6: Descriptive and quantitative
    representation of particle shape and morphology".

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
    area_px = _areas(particles, outline)
    intensity = particles.intensity if image is None else check_image_of(image, particles.shape)
    unit = "px" if particles.pixel_size_nm is None else "nm"
    pixel_sizes = pixel_size_pair(particles.pixel_size_nm)
    n_labels = len(particles)
    compact = compact_labels(particles.labels, particles.ids)

    rows, cols = np.nonzero(compact)
    index = compact[rows, cols] - 1
    n_pixels = np.bincount(index, minlength=n_labels)
    x, y = _means(cols, index, n_pixels), _means(rows, index, n_pixels)
    pixel_area = pixel_sizes[0] * pixel_sizes[1]
    area = np.where(np.isnan(area_px), n_pixels, area_px) * pixel_area
    perimeter = crofton_perimeters(compact, n_labels, pixel_sizes)
    hulls, hull_pixels = convex_hulls(compact, n_labels, pixel_sizes)
    major, minor, orientation = _ellipse((rows - y[index]), (cols - x[index]), index, n_pixels, pixel_sizes)

    diameter = np.sqrt(4 * area / np.pi)
    check_confidence(confidence)
    intervals: dict[str, NDArray] = {}
    if sigma is not None:
        displacement = mean_displacement_sd(
            particles, intensity, sigma=sigma, perimeter=perimeter, counted=np.isnan(area_px)
        )
        for end, limit in zip(
            ("low", "high"), size_intervals(diameter, perimeter, displacement, confidence), strict=True
        ):
            intervals |= {f"equivalent_diameter_{end}_{unit}": limit, f"area_{end}_{unit}2": np.pi / 4 * limit**2}

    columns: dict[str, NDArray] = {
        "label": particles.ids.astype(np.int64),
        "x": x,
        "y": y,
        f"area_{unit}2": area,
        f"equivalent_diameter_{unit}": diameter,
        **intervals,
        f"feret_min_{unit}": hulls.feret_min,
        f"feret_max_{unit}": hulls.feret_max,
        f"feret_perpendicular_{unit}": hulls.feret_perpendicular,
        f"major_axis_{unit}": major,
        f"minor_axis_{unit}": minor,
        f"perimeter_{unit}": perimeter,
        # It is found between pixels, and on small ragged particles may pass what they hold.
        f"inscribed_diameter_{unit}": np.minimum(inscribed_diameters(compact, n_labels, pixel_sizes), hulls.feret_min),
        f"enclosing_diameter_{unit}": hulls.enclosing_diameter,
        # Ratios compare what is taken from the same outline: that of the pixels.
        "circularity": 4 * np.pi * n_pixels * pixel_area / perimeter**2,
        "roundness": np.minimum(4 * n_pixels * pixel_area / (np.pi * hulls.feret_max**2), 1),
        "aspect_ratio": major / minor,
        "solidity": n_pixels / hull_pixels,
        "convexity": np.minimum(hulls.perimeter / perimeter, 1),
        "eccentricity": np.sqrt(1 - (minor / major) ** 2),
        "orientation_deg": orientation,
        "touches_border": _touches_border(compact, n_labels),
    }
    columns |= _bounding_boxes(rows, cols, index, n_labels)
    if intensity is not None:
        total = np.bincount(index, weights=intensity[rows, cols], minlength=n_labels)
        background, _ = backgrounds(intensity, compact, n_labels)
        columns["mean_intensity"] = total / n_pixels
        columns["integrated_intensity"] = np.asarray(total, dtype=np.float64)
        columns["background_intensity"] = background
        columns["net_intensity"] = total - n_pixels * background
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
    units = [unit for unit in ("nm", "px") if stem + unit in table]
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
        "touching_border": int(as_flags(table, "touches_border").sum()),
        f"mean_equivalent_diameter_{unit}": float(mean),
        f"median_equivalent_diameter_{unit}": float(median),
        f"sd_equivalent_diameter_{unit}": float(sizes.std(ddof=1)) if sizes.size > 1 else float("nan"),
        f"d10_{unit}": float(d10),
        f"d50_{unit}": float(median),
        f"d90_{unit}": float(d90),
    }


def _areas(particles: Instances, outline: str) -> NDArray[np.float64]:
    """Areas in pixels inside the masks' outlines, NaN for particles whose pixels are to be counted."""
    if outline not in OUTLINES:
        raise InputError(
            f"outline is {outline!r}{nearest_name(str(outline), OUTLINES)}; expected one of {', '.join(OUTLINES)}"
        )
    n_pixels = np.bincount(compact_labels(particles.labels, particles.ids).ravel(), minlength=len(particles) + 1)[1:]
    if outline == "pixels" or (outline == "auto" and particles.masks is None):
        return np.full(len(particles), np.nan)
    areas = mask_areas(particles)
    kept = (areas > n_pixels / 2) & (areas < 2 * n_pixels)
    if outline == "auto":
        boxes = particles.boxes
        kept &= (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) < MASK_SIZE**2
    return np.where(kept, areas, np.nan)


def _bounding_boxes(rows: NDArray, cols: NDArray, index: NDArray, n_labels: int) -> dict[str, NDArray]:
    boxes: dict[str, NDArray] = {}
    for name, values in (("x", cols), ("y", rows)):
        low, high = np.full(n_labels, np.iinfo(np.int64).max), np.zeros(n_labels, dtype=np.int64)
        np.minimum.at(low, index, values)
        np.maximum.at(high, index, values + 1)
        boxes |= {f"bbox_{name}0": low, f"bbox_{name}1": high}
    return {name: boxes[name] for name in ("bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1")}


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
