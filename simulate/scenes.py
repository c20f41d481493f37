"""Particle scenes with exact truth: where the particles are, what they look like, and which pixels are theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from simulate.errors import InputError, check_positive, check_rng, check_shape
from simulate.shapes import Body, bodies, project

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRANGEMENTS = ("random", "hard-core", "clustered")
_PLACEMENT_TRIES = 60


@dataclass(frozen=True)
class SceneConfig:
    """What to draw.

    Parameters
    ----------
    shape : (int, int)
        Frame shape in pixels.
    pixel_size_nm : float
        Pixel size in nm.
    n_particles : int
        How many particles to place; fewer come out where "hard-core" finds no room (see `Scene.particles`).
    diameter_nm, diameter_spread : float
        Median of the log-normal diameter distribution in nm, and the standard deviation of the log-diameter.
    shapes : tuple of str
        Names from `simulate.bodies`, drawn with equal chance.
    arrangement : {"hard-core", "random", "clustered"}
        Without overlap, anywhere, or in agglomerates of touching particles.
    contrast : float
        HAADF intensity of a median-sized particle's centre over that of the support.
    material_spread : float
        Relative standard deviation of intensity per thickness between particles (composition, diffraction).
    texture : float
        Relative standard deviation of the support's intensity (amorphous carbon).
    ramp : float
        Relative change of the support's thickness from one side of the frame to the other.
    probe_fwhm_nm : float
        Full width at half maximum of the Gaussian probe, defocus included.
    mode : {"haadf", "bf"}
        Dark-field contrast (intensity grows with thickness) or bright-field (it decays with thickness).
    """

    shape: tuple[int, int] = (256, 256)
    pixel_size_nm: float = 0.5
    n_particles: int = 30
    diameter_nm: float = 8.0
    diameter_spread: float = 0.25
    shapes: tuple[str, ...] = ("sphere", "ellipsoid", "truncated-octahedron")
    arrangement: str = "hard-core"
    contrast: float = 4.0
    material_spread: float = 0.1
    texture: float = 0.05
    ramp: float = 0.1
    probe_fwhm_nm: float = 0.5
    mode: str = "haadf"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_shape(self.shape, "scene"))
        for name in ("pixel_size_nm", "diameter_nm"):
            check_positive(getattr(self, name), name)
        for name in ("contrast", "diameter_spread", "material_spread", "texture", "ramp", "probe_fwhm_nm"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"{name} is {value}; expected a finite number of at least 0")
        if self.n_particles < 0:
            raise InputError(f"n_particles is {self.n_particles}; expected 0 or more")
        if self.diameter_nm < 2 * self.pixel_size_nm:
            raise InputError(
                f"particles of {self.diameter_nm:g} nm are smaller than 2 pixels of {self.pixel_size_nm:g} nm; "
                "expected larger particles or smaller pixels"
            )
        if self.arrangement not in ARRANGEMENTS:
            raise InputError(f"arrangement is {self.arrangement!r}; expected one of {', '.join(ARRANGEMENTS)}")
        if self.mode not in ("haadf", "bf"):
            raise InputError(f"mode is {self.mode!r}; expected 'haadf' or 'bf'")
        for shape in self.shapes:
            bodies[shape]


PARTICLE_DTYPE = np.dtype([
    ("label", np.int32), ("x", np.float64), ("y", np.float64), ("diameter_nm", np.float64), ("shape", "U24"),
    ("area_nm2", np.float64), ("visible", np.float64),
])  # fmt: skip
"""One record a particle: label, centre in pixels (x right, y down), nominal diameter (of the sphere with the same mean
projection), shape, full projected area within the frame, and the share of that area not covered by others."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn scene.

    Parameters
    ----------
    frame : ndarray of float32, shape (H, W)
        Noise-free intensity; the bare support is about 1 in HAADF, vacuum is 1 in bright field.
    labels : ndarray of int32, shape (H, W)
        Which particle is on top, 0 for none.
    particles : ndarray of PARTICLE_DTYPE, shape (N,)
        The particles with at least one pixel in the frame, in order of their labels.
    config : SceneConfig
        What was asked for.
    """

    frame: NDArray[np.float32]
    labels: NDArray[np.int32]
    particles: NDArray
    config: SceneConfig


def make_scene(config: SceneConfig, *, rng: np.random.Generator | int | None = None) -> Scene:
    """Draw a scene.

    Parameters
    ----------
    config : SceneConfig
        What to draw.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed; the same seed gives the same scene.

    Returns
    -------
    Scene

    Examples
    --------
    >>> scene = make_scene(SceneConfig(shape=(64, 64), n_particles=5, diameter_nm=6), rng=1)
    >>> int(scene.labels.max()), scene.frame.shape
    (5, (64, 64))
    """
    generator = check_rng(rng)
    radii = config.diameter_nm / 2 / config.pixel_size_nm
    radii = radii * np.exp(generator.normal(0, config.diameter_spread, config.n_particles))
    centres, kept = _place(config, radii, generator)
    radii = radii[kept]
    thickness, labels, particles = _draw(config, centres, radii, generator)
    frame = _form_image(config, thickness, generator)
    return Scene(frame, labels, particles, config)


def random_config(rng: np.random.Generator, shape: tuple[int, int] = (256, 256)) -> SceneConfig:
    """Draw scene parameters over the range of particle micrographs, for training and benchmarks.

    Diameters from 7 px to a quarter of the frame, one to all shapes, sparse to crowded, weak to strong contrast,
    sharp to blurred, HAADF mostly.
    """
    pixel_nm = float(np.exp(rng.uniform(np.log(0.1), np.log(2.0))))
    diameter_px = float(np.exp(rng.uniform(np.log(7.0), np.log(min(90.0, min(shape) / 3)))))
    coverage = float(rng.uniform(0.02, 0.45))
    n_particles = int(np.clip(coverage * shape[0] * shape[1] / (np.pi / 4 * diameter_px**2), 1, 400))
    n_shapes = int(rng.integers(1, 4))
    return SceneConfig(
        shape=shape,
        pixel_size_nm=pixel_nm,
        n_particles=n_particles,
        diameter_nm=diameter_px * pixel_nm,
        diameter_spread=float(rng.uniform(0.02, 0.45)),
        shapes=tuple(rng.choice(bodies.names, n_shapes, replace=False)),
        arrangement=str(rng.choice(ARRANGEMENTS, p=[0.25, 0.4, 0.35])),
        contrast=float(np.exp(rng.uniform(np.log(0.4), np.log(12.0)))),
        material_spread=float(rng.uniform(0, 0.25)),
        texture=float(rng.uniform(0, 0.12)),
        ramp=float(rng.uniform(0, 0.6)),
        probe_fwhm_nm=float(rng.uniform(0.6, 4.0)) * pixel_nm,
        mode="haadf" if rng.random() < 0.8 else "bf",
    )


def with_shape(config: SceneConfig, shape: tuple[int, int]) -> SceneConfig:
    """Return the same kind of scene at another frame shape and the same number density."""
    scale = shape[0] * shape[1] / (config.shape[0] * config.shape[1])
    return replace(config, shape=shape, n_particles=max(1, round(config.n_particles * scale)))


def _place(config: SceneConfig, radii: NDArray, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Return centres (N, 2) as (row, column) in pixels and the indices of the particles that found room."""
    height, width = config.shape
    if config.arrangement == "random":
        return rng.uniform(0, 1, (radii.size, 2)) * [height, width], np.arange(radii.size)
    centres, kept = np.empty((radii.size, 2)), np.empty(radii.size, dtype=np.int64)
    n = 0
    for i in np.argsort(-radii) if config.arrangement == "hard-core" else range(radii.size):
        # Centres up to half a radius outside, so that particles cut by the border occur as they do in real frames.
        margin = 0.5 * radii[i]
        tries = rng.uniform(-margin, [height + margin, width + margin], (_PLACEMENT_TRIES, 2))
        closeness = 1.0
        if config.arrangement == "clustered" and n and rng.random() < 0.75:
            host = rng.integers(n, size=_PLACEMENT_TRIES)
            angle = rng.uniform(0, 2 * np.pi, _PLACEMENT_TRIES)
            reach = (radii[kept[host]] + radii[i]) * rng.uniform(0.75, 1.05, _PLACEMENT_TRIES)
            tries = centres[host] + (reach * np.stack([np.sin(angle), np.cos(angle)])).T
            closeness = 0.74
        gap = np.hypot(*(tries[:, None] - centres[None, :n]).transpose(2, 0, 1))
        free = (gap >= closeness * (radii[kept[:n]] + radii[i])[None, :]).all(axis=1)
        if free.any():
            centres[n], kept[n] = tries[np.argmax(free)], i
            n += 1
    return centres[:n], kept[:n]


def _draw(
    config: SceneConfig, centres: NDArray, radii: NDArray, rng: np.random.Generator
) -> tuple[NDArray, NDArray, NDArray]:
    """Return summed thickness (in median radii, weighted by material), the label map and the particle records."""
    height, width = config.shape
    thickness = np.zeros(config.shape)
    labels = np.zeros(config.shape, dtype=np.int32)
    median_radius = config.diameter_nm / 2 / config.pixel_size_nm
    records: list[tuple] = []
    for (row, col), radius in zip(centres, radii, strict=True):
        kind = config.shapes[rng.integers(len(config.shapes))]
        body = bodies[kind](rng)
        rotation = _orient(body, rng)
        strength = max(0.2, 1 + config.material_spread * rng.normal())
        reach = 2.4 * radius
        top, bottom = max(0, int(row - reach)), min(height, int(row + reach) + 2)
        left, right = max(0, int(col - reach)), min(width, int(col + reach) + 2)
        if top >= bottom or left >= right:
            continue
        y = (np.arange(top, bottom)[:, None] + 0.5 - row) / radius
        x = (np.arange(left, right)[None, :] + 0.5 - col) / radius
        patch = project(body, rotation, x, y)
        inside = patch > 0
        if not inside.any():
            continue
        thickness[top:bottom, left:right] += patch * (strength * radius / median_radius)
        label = len(records) + 1
        labels[top:bottom, left:right][inside] = label
        area = np.count_nonzero(inside) * config.pixel_size_nm**2
        records.append((label, col - 0.5, row - 0.5, 2 * radius * config.pixel_size_nm, kind, area, 1.0))
    particles = np.array(records, dtype=PARTICLE_DTYPE)
    seen = np.bincount(labels.ravel(), minlength=len(records) + 1)[1:] * config.pixel_size_nm**2
    if len(records):
        particles["visible"] = seen / particles["area_nm2"]
    return thickness, labels, particles


def _orient(body: Body, rng: np.random.Generator) -> NDArray[np.float64]:
    if not body.lies_flat:
        return Rotation.random(rng=rng).as_matrix()
    return Rotation.from_euler("z", rng.uniform(0, 2 * np.pi)).as_matrix()


def _form_image(config: SceneConfig, thickness: NDArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the image of particles on their support, blurred by the probe.

    HAADF intensity is the mass-thickness; bright field is its exponential decay (Beer-Lambert).
    """
    height, width = config.shape
    angle = rng.uniform(0, 2 * np.pi)
    along = np.sin(angle) * np.linspace(-0.5, 0.5, height)[:, None] + np.cos(angle) * np.linspace(-0.5, 0.5, width)
    support = 1 + config.ramp * along
    if config.texture:
        grain = gaussian_filter(rng.normal(size=config.shape), 1.5, mode="wrap")
        support = support * (1 + config.texture * grain / grain.std())
    mass = np.maximum(support, 0) + config.contrast / 2 * thickness
    image = mass if config.mode == "haadf" else np.exp(-mass / (1 + config.contrast))
    sigma = config.probe_fwhm_nm / config.pixel_size_nm / 2.3548
    return gaussian_filter(image, sigma, mode="nearest").astype(np.float32)
