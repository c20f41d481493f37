"""The classical floor: flatten, threshold, fill, split. What a learned method has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from simulate.errors import InputError, check_numbers, check_positive, check_shape, nearest_name

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

POLARITIES = ("auto", "bright", "dark")
THRESHOLDS = ("half-height", "otsu")
DETECTION_SIGMAS = 5.0  # how far above the background's spread a pixel is surely particle
PEAK_SIGMAS = 7.0  # which its brightest pixel must exceed: Poisson noise has a long tail
DETECTION_SHARE = 0.05  # and at least this share of the frame's range, for frames without noise
HEIGHT_QUANTILE = 0.8  # of a particle's sure pixels: above its blurred rim, below its noise
REACH_PX = 3.0  # how far outside the sure pixels a particle may reach
SMOOTHINGS_PX = (1.0, 1.5, 2.0, 3.0)  # tried in this order, until
ENOUGH_CONTRAST = 10.0  # the median sure pixel stands out by this many of the background's standard deviations


def threshold_segment(
    image: ArrayLike,
    *,
    polarity: str = "auto",
    threshold: str = "half-height",
    min_area_px: float = 12,
    smoothing_px: float | None = None,
    background_degree: int = 2,
    split_depth_px: float = 0.75,
) -> NDArray[np.int32]:
    r"""Segment particles by threshold and watershed.

    1. Subtract a polynomial background, fitted with Tukey's biweight so that particles do not bend it. The background
       must be the larger part of the frame.
    2. Smooth with a Gaussian: of `smoothing_px`, or the narrowest of 1, 1.5, 2 and 3 pixels with which the sure pixels
       of step 3 stand out by 10 standard deviations (else the one with which they stand out most).
    3. Connected pixels that deviate from the background by more than 5 of its robust standard deviations (and 5 % of
       the range), and somewhere by 7, are surely particle. None: the frame is empty.
    4. Threshold each particle at half its own height (the 80 % quantile of its sure pixels), or all at Otsu's threshold
       over the sure pixels and as many around them, so that few particles on a large frame are found as well as many.
    5. Fill holes.
    6. Split touching particles: watershed of the distance to the background, from its maxima that rise
       `split_depth_px` above the saddle to a higher one.

    Parameters
    ----------
    image : array_like, shape (H, W)
        Any unit, finite.
    polarity : {"auto", "bright", "dark"}
        Particles brighter or darker than the background. "auto" takes the sign with the larger summed deviation among
        the sure pixels of step 3, bright where they are equal.
    threshold : {"half-height", "otsu"}
        One threshold a particle, for particles that differ in brightness, or one for all.
    min_area_px : float
        Particles of fewer pixels are dropped, in pixels.
    smoothing_px : float, optional
        Standard deviation of the Gaussian, in pixels; 0 for none; chosen by the noise if None.
    background_degree : int
        Degree of the polynomial, 0 (a constant) to 4.
    split_depth_px : float
        How much a neck must be narrower (in radius, pixels) than the smaller particle to be cut.

    Returns
    -------
    ndarray of int32, shape (H, W)
        Label map, 0 for the background, 1 ... N in reading order of the first pixel.

    Raises
    ------
    InputError
        If the image is not a finite 2-D array, or an option is out of its range.

    References
    ----------
    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979),
    doi:10.1109/TSMC.1979.4310076

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:48, :64]
    >>> pair = ((x - 22) ** 2 + (y - 24) ** 2 < 100) | ((x - 40) ** 2 + (y - 24) ** 2 < 100)
    >>> int(threshold_segment(3.0 * pair).max())
    2
    """
    from skimage.filters import threshold_otsu

    _check_choice(polarity, "polarity", POLARITIES)
    _check_choice(threshold, "threshold", THRESHOLDS)
    _check_options(min_area_px, smoothing_px, background_degree, split_depth_px)
    frame = _check_image(image)
    flattened = frame - background(frame, background_degree)
    # No particle is a single pixel: a hot one must not set the scale of the others.
    typical = ndimage.median_filter(flattened, 3)
    flattened = np.clip(flattened, typical.min(), typical.max())
    if np.ptp(flattened) <= 1e-9 * np.abs(frame).max():
        return np.zeros(frame.shape, dtype=np.int32)
    best = None
    for width in SMOOTHINGS_PX if smoothing_px is None else (smoothing_px,):
        found = _detect(flattened, float(width), polarity, min_area_px)
        if found is not None and (best is None or found[2] > best[2]):
            best = found
        if best is not None and best[2] >= ENOUGH_CONTRAST:
            break
    if best is None:
        return np.zeros(frame.shape, dtype=np.int32)
    flat, sure, _ = best
    if threshold == "otsu":
        mask = flat > threshold_otsu(flat[_with_surroundings(sure)])
    else:
        mask = flat > _half_heights(flat, sure, split_depth_px)
    mask = ndimage.binary_fill_holes(mask)
    return _drop_small(split_touching(np.asarray(mask), split_depth_px), min_area_px)


def _detect(
    level_frame: NDArray, smoothing_px: float, polarity: str, min_area_px: float
) -> tuple[NDArray, NDArray[np.bool_], float] | None:
    """Smoothed frame (particles bright), its sure pixels, and their contrast in sigmas."""
    flat = ndimage.gaussian_filter(level_frame, smoothing_px) if smoothing_px else level_frame
    flat = flat - np.median(flat)
    sigma = _robust_sigma(flat)
    level = max(DETECTION_SIGMAS * sigma, DETECTION_SHARE * float(np.ptp(flat)))
    if _is_dark(flat, level, polarity):
        flat = -flat
    parts = _drop_small(_label(flat > level, connectivity=1), min_area_px)
    peaks = np.asarray(ndimage.maximum(flat, parts, index=np.arange(int(parts.max()) + 1)))
    peaks[0] = -np.inf
    sure = (peaks > max(PEAK_SIGMAS * sigma, level))[parts]
    if not sure.any():
        return None
    return flat, sure, float(np.median(flat[sure])) / max(sigma, 1e-6 * level)


def split_touching(mask: ArrayLike, depth_px: float = 0.75) -> NDArray[np.int32]:
    """Cut a mask into particles at its necks: watershed from the h-maxima of the distance to the background.

    Parameters
    ----------
    mask : array_like of bool, shape (H, W)
        True on particles.
    depth_px : float
        h: a maximum counts if it rises by this much (pixels) above the saddle to a higher one.

    Returns
    -------
    ndarray of int32, shape (H, W)
        Label map; every true pixel belongs to a particle.

    Examples
    --------
    >>> import numpy as np
    >>> split_touching(np.array([[1, 1, 0, 1, 1]], dtype=bool)).tolist()
    [[1, 1, 0, 2, 2]]
    """
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    inside = np.asarray(mask, dtype=bool)
    # Outside the frame counts as particle: one that the border cuts must not be split along it.
    distance = np.asarray(ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge")))[1:-1, 1:-1]
    islands = _label(inside, connectivity=2)
    parts = np.zeros(inside.shape, dtype=np.int32)
    count = 0
    for index, where in enumerate(ndimage.find_objects(islands), start=1):
        island = islands[where] == index
        depth = np.where(island, distance[where], 0)
        lowered = reconstruction(np.maximum(depth - depth_px, 0), depth, method="dilation")
        markers = _label(local_maxima(lowered, allow_borders=True) & island, connectivity=2)
        # An island too shallow to rise by depth_px is one particle.
        many = markers.max() > 1
        pieces = watershed(-depth, markers, connectivity=2, mask=island) if many else island.astype(np.int32)
        parts[where][island] = pieces[island] + count
        count += int(pieces.max())
    return _renumber(parts)


def background(image: NDArray[np.float64], degree: int, *, n_iterations: int = 8) -> NDArray[np.float64]:
    """Polynomial background of an image, robust against particles (Tukey's biweight on means of 4 x 4 pixels).

    >>> import numpy as np
    >>> ramp = np.add.outer(np.arange(32.0), np.arange(32.0))
    >>> spotted = ramp + 100.0 * (np.hypot(*np.mgrid[-16:16, -16:16]) < 5)
    >>> bool(np.abs(background(spotted, 1) - ramp).max() < 0.1)
    True
    """
    rows, cols = image.shape
    # Means of blocks tell particles from the background where single pixels are too noisy to.
    block = 4 if min(rows, cols) >= 64 else 2 if min(rows, cols) >= 24 else 1
    n_rows, n_cols = rows // block, cols // block
    means = image[: n_rows * block, : n_cols * block].reshape(n_rows, block, n_cols, block).mean(axis=(1, 3))
    step = max(1, int(np.sqrt(means.size / 20_000)))
    y, x = np.linspace(-1, 1, rows), np.linspace(-1, 1, cols)
    y_fit = y[: n_rows * block].reshape(n_rows, block).mean(axis=1)[step // 2 :: step]
    x_fit = x[: n_cols * block].reshape(n_cols, block).mean(axis=1)[step // 2 :: step]
    orders = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    terms = np.stack([np.outer(y_fit**i, x_fit**j).ravel() for i, j in orders], axis=1)
    values = means[step // 2 :: step, step // 2 :: step].ravel()
    if np.ptp(values) == 0:
        return np.full(image.shape, values[0])
    coefficients = np.zeros(len(orders))
    coefficients[0] = np.median(values)
    for _ in range(n_iterations):
        residual = values - terms @ coefficients
        scale = 4.685 * max(_robust_sigma(residual), 1e-3 * float(np.ptp(values)))
        root_weight = np.clip(1 - (residual / scale) ** 2, 0, None)
        coefficients = np.linalg.lstsq(terms * root_weight[:, None], values * root_weight, rcond=None)[0]
    powers = np.zeros((degree + 1, degree + 1))
    for (i, j), coefficient in zip(orders, coefficients, strict=True):
        powers[i, j] = coefficient
    return np.vander(y, degree + 1, increasing=True) @ powers @ np.vander(x, degree + 1, increasing=True).T


def _is_dark(flat: NDArray, level: float, polarity: str) -> bool:
    if polarity != "auto":
        return polarity == "dark"
    return float(-flat[flat < -level].sum()) > float(flat[flat > level].sum())


def _with_surroundings(sure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the sure pixels and about as many around them (the nearest ones)."""
    distance = ndimage.distance_transform_edt(~sure)
    outside = np.sort(np.asarray(distance)[~sure])
    if outside.size == 0:
        return sure
    reach = outside[min(outside.size, int(sure.sum())) - 1]
    return np.asarray(distance <= reach)


def _half_heights(flat: NDArray, sure: NDArray[np.bool_], split_depth_px: float) -> NDArray[np.float64]:
    """Half the height of the nearest particle; infinite farther than `REACH_PX` from every sure pixel."""
    parts = split_touching(np.asarray(ndimage.binary_fill_holes(sure)), split_depth_px)
    inside = parts > 0
    labels, values = parts[inside], flat[inside]
    order = np.lexsort((values, labels))
    sizes = np.bincount(labels)[1:]
    position = np.cumsum(sizes) - sizes + (HEIGHT_QUANTILE * (sizes - 1)).astype(int)
    half = np.append(np.inf, values[order][position] / 2)
    distance, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)  # pyright: ignore[reportGeneralTypeIssues]
    return np.where(distance <= REACH_PX, half[parts[tuple(nearest)]], np.inf)


def _label(mask: NDArray, connectivity: int) -> NDArray[np.int32]:
    from skimage.measure import label

    return np.asarray(label(mask, connectivity=connectivity), dtype=np.int32)


def _robust_sigma(values: NDArray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _drop_small(labels: NDArray, min_area_px: float) -> NDArray[np.int32]:
    keep = np.bincount(labels.ravel()) >= min_area_px
    keep[0] = False
    return _renumber(np.where(keep[labels], labels, 0))


def _renumber(labels: NDArray) -> NDArray[np.int32]:
    """Renumber the labels 1 ... N in reading order of their first pixels."""
    found, first = np.unique(labels, return_index=True)
    first = first[found > 0]
    numbers = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    numbers[labels.ravel()[np.sort(first)]] = np.arange(1, first.size + 1)
    return numbers[labels]


def _check_image(image: ArrayLike) -> NDArray[np.float64]:
    array = check_numbers(image, "image")
    check_shape(array.shape, "image")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise InputError(
            f"{bad} of {array.size} pixels are NaN or infinite; expected finite numbers: reconstruct first"
        )
    return array.astype(np.float64)


def _check_options(min_area: float, smoothing: float | None, degree: int, split_depth: float) -> None:
    check_positive(min_area, "min_area_px", "give a number of pixels, 1 to keep everything")
    check_positive(split_depth, "split_depth_px", "give pixels, e.g. 0.75; a large number splits nothing")
    if smoothing is not None and not (np.isfinite(smoothing) and smoothing >= 0):
        raise InputError(f"smoothing_px is {smoothing}; expected a finite number of at least 0")
    if degree not in range(5):
        raise InputError(f"background_degree is {degree}; expected a whole number from 0 to 4")


def _check_choice(value: str, what: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"unknown {what} {value!r}{nearest_name(str(value), known)}; known: {', '.join(known)}")
