"""A kind of scene that is like a frame at hand: as many particles, as large, on such a film."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter, maximum_filter, minimum_filter

from cs_recon.noise import estimate_noise
from segmentation.measure import measure
from simulate.errors import InputError, pixel_size_pair
from simulate.materials import MATERIALS, MODES
from simulate.measurement import Measurement
from simulate.scenes import SceneConfig
from simulate.support import Support

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from segmentation.instances import Instances

LARGEST_SIDE = 256
LEAST_PARTICLES = 3
BRIGHT, FILM = "Au", "C"
MEDIAN_CHORD = np.sqrt(0.5)
"""Of a sphere, over its diameter: half of what is seen of it is thicker."""
GRAIN_PX = 2.0
"""Scale of the grain that scenes get."""
_FINE_PX, _COARSE_PX = 1.5, 12.0
CROWDED = 0.3
"""From this share of particles that touch another on, they are placed without regard to each other."""


def scene_like(image: ArrayLike, found: Instances, *, side: int = LARGEST_SIDE) -> SceneConfig:
    r"""Return the configuration of scenes like a frame and the particles found on it.

    Number density, median diameter and the spread of its logarithm are the frame's; so are the contrast between
    particles and film, :math:`c = (I_p - I_f) / I_f`, and the grain of the film. Bright particles are of gold, and the
    film's thickness gives the contrast: the beam sees depths, not elements. Dark particles are taken for bright field,
    where the film has no say in it (:math:`c = e^{-m} - 1`): they are of the material whose depth :math:`m` comes
    nearest.

    Parameters
    ----------
    image : array_like, shape (H, W)
        The frame, of which 0 is no signal.
    found : Instances
        Its particles, with the pixel size.
    side : int
        The largest side of the scenes in pixels.

    Returns
    -------
    SceneConfig

    Raises
    ------
    InputError
        If the pixel size is not known, pixels are not square, or fewer than 3 whole particles were found.
    """
    array = np.asarray(image, dtype=np.float64)
    rows_nm, cols_nm = pixel_size_pair(found.pixel_size_nm) if found.pixel_size_nm is not None else (0.0, 0.0)
    if rows_nm == 0:
        raise InputError("the frame's pixel size is not known, and scenes like it need it; give it in nm")
    if not np.isclose(rows_nm, cols_nm, rtol=1e-3):
        raise InputError(f"pixels are {rows_nm:g} x {cols_nm:g} nm; expected square ones: resample the frame")
    table = measure(found.labels)
    whole = table.loc[np.logical_not(table["touches_border"]), "equivalent_diameter_px"].to_numpy()
    if len(whole) < LEAST_PARTICLES:
        raise InputError(
            f"{len(whole)} whole particles were found on the frame; expected {LEAST_PARTICLES} or more to know what "
            "they are like: give another frame, or describe the scene in a file"
        )
    shape = (min(side, array.shape[0]), min(side, array.shape[1]))
    density = len(table) / array.size
    diameter_px = float(np.median(whole))
    film, particle, grain = _intensities(array, found.labels)
    return SceneConfig(
        shape=shape,
        pixel_size_nm=rows_nm,
        n_particles=max(LEAST_PARTICLES, round(density * shape[0] * shape[1])),
        diameter_nm=max(diameter_px, 2.5) * rows_nm,
        diameter_spread=float(np.clip(np.std(np.log(whole)), 0.02, 0.8)),
        materials=(_material(film, particle, diameter_px * rows_nm),),
        arrangement="random" if _touching(found.labels) > CROWDED else "hard-core",
        support=_support(film, particle, grain, diameter_px * rows_nm, rows_nm),
        mode="haadf" if particle > film else "bf",
    )


def _intensities(image: NDArray[np.float64], labels: NDArray[np.int32]) -> tuple[float, float, float]:
    """Return the film's and the particles' median intensity, and the film's relative grain.

    Medians are of local means: at a few counts the median of single pixels may be 0.
    """
    outside = np.logical_not(binary_dilation(labels > 0, iterations=2))
    if not outside.any():
        outside = labels == 0
    film = float(np.median(_mean_over(image, outside, _FINE_PX)[outside])) if outside.any() else float(image.min())
    inside = labels > 0
    particle = float(np.median(_mean_over(image, inside, _FINE_PX)[inside]))
    return film, particle, _grain(image, outside) / max(abs(film), 1e-9)


def _grain(image: NDArray[np.float64], film: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the film's grain, of a scale of 2 pixels, less that of the noise.

    Means are over the film alone: the halo of a bright particle would be far more than any grain.
    """
    if not film.any():
        return 0.0
    fine, coarse = (_mean_over(image, film, sigma) for sigma in (_FINE_PX, _COARSE_PX))
    low, high = np.quantile((fine - coarse)[film], [0.16, 0.84])
    noise = estimate_noise(Measurement(image, film)) if np.ptp(image[film]) > 0 else 0.0
    # A Gaussian of s leaves 1 / (4 pi s^2) of white noise's variance, t^2 / (t^2 + s^2) of that of grain of scale t.
    left = ((high - low) / 2) ** 2 - noise**2 / (4 * np.pi * _FINE_PX**2)
    return float(np.sqrt(max(left, 0.0) * (GRAIN_PX**2 + _FINE_PX**2))) / GRAIN_PX


def _mean_over(image: NDArray[np.float64], where: NDArray[np.bool_], sigma: float) -> NDArray[np.float64]:
    """Return the Gaussian mean about each pixel of what lies in a region."""
    weight = gaussian_filter(where.astype(np.float64), sigma)
    return gaussian_filter(np.where(where, image, 0.0), sigma) / np.maximum(weight, 1e-9)


def _material(film: float, particle: float, diameter_nm: float) -> str:
    """Return of what particles are to be as bright, or as dark, beside the film."""
    if particle > film:
        return BRIGHT
    left = float(np.clip(particle / max(film, 1e-9), 0.02, 0.99))
    wanted = -np.log(left) / (MEDIAN_CHORD * diameter_nm)
    depths = {name: MODES["bf"].depth_per_nm(material) for name, material in MATERIALS.items() if name != FILM}
    return min(depths, key=lambda name: abs(np.log(depths[name] / wanted)))


def _support(film: float, particle: float, grain: float, diameter_nm: float, pixel_nm: float) -> Support:
    mode = MODES["haadf" if particle > film else "bf"]
    thickness = Support().thickness_nm
    if particle > film:
        contrast = (particle - film) / max(film, 1e-9)
        depth = MEDIAN_CHORD * mode.depth_per_nm(MATERIALS[BRIGHT]) * diameter_nm / contrast
        thickness = float(np.clip(depth / mode.depth_per_nm(MATERIALS[FILM]), 1.0, 5000.0))
    return Support(
        thickness_nm=thickness, texture=float(np.clip(grain, 0.01, 0.2)), texture_nm=GRAIN_PX * pixel_nm, ramp=0.1
    )


def _touching(labels: NDArray[np.int32]) -> float:
    """Return the share of particles with another within 2 pixels."""
    largest = int(labels.max())
    lowest = minimum_filter(np.where(labels > 0, labels, largest + 1), 5)
    beside = (labels > 0) & ((maximum_filter(labels, 5) != labels) | (lowest != labels))
    return len(np.unique(labels[beside])) / max(1, len(np.unique(labels[labels > 0])))
