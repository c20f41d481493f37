"""Particle scenes with exact truth: where the particles are, what they look like, and which pixels are theirs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from simulate.arrange import ARRANGEMENTS, JAMMING_COVERAGE, place_particles
from simulate.border import shares_in_frame
from simulate.errors import (
    InputError,
    check_count,
    check_kind,
    check_pixel_size,
    check_positive,
    check_rng,
    check_shape,
    check_within,
    is_finite,
    nearest_name,
)
from simulate.materials import material_by_name, mode_by_name
from simulate.optics import Probe, collected
from simulate.shapes import bodies
from simulate.solids import Solids
from simulate.support import Support

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SIZE_DISTRIBUTIONS = ("log-normal", "normal", "bimodal")
SMALLEST_DIAMETER_PX = 2.0
LARGEST_SHRINKAGE = -0.8
"""Of a "normal" diameter, relative to the median: a fifth of it is left."""
MOST_PARTICLES = 1_000_000


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
        How many particles to place; those that lie outside the frame are not in the truth, and "lattice" gives about
        so many.
    diameter_nm, diameter_spread : float
        Median diameter in nm (of the sphere with the same mean shadow over all orientations; of an ellipsoid, with the
        same volume; of a rod, with the same shadow as it lies), and the standard deviation of the log-diameter
        ("log-normal", "bimodal") or of the diameter over its median ("normal").
    size_distribution : {"log-normal", "normal", "bimodal"}
        "normal" is cut at a fifth of the median: beyond a spread of 0.4 that raises the median (by 3 % at 0.5, 11 % at
        0.7, 27 % at 1) and lowers the deviation. "bimodal" is a mixture of two log-normal ones.
    second_diameter_nm, second_share : float
        Median diameter and share of the second kind of particles of "bimodal".
    shapes, materials : tuple of str
        Names from `simulate.bodies` and `simulate.MATERIALS`, each drawn with equal chance.
    shell_material : str
        What the shells of core-shell particles are of.
    material_spread : float
        Relative standard deviation of scattering between particles (orientation, composition).
    arrangement : {"hard-core", "random", "clustered", "lattice"}
        See `simulate.arrange.place_particles`.
    cluster_size : float
        Mean number of particles in an agglomerate of "clustered".
    support : Support
        The film under the particles.
    probe : Probe
        What blurs the image.
    mode : {"haadf", "adf", "bf"}
        The detector, see `simulate.MODES`.
    """

    shape: tuple[int, int] = (256, 256)
    pixel_size_nm: float = 0.5
    n_particles: int = 30
    diameter_nm: float = 8.0
    diameter_spread: float = 0.25
    size_distribution: str = "log-normal"
    second_diameter_nm: float = 0.0
    second_share: float = 0.0
    shapes: tuple[str, ...] = ("sphere", "ellipsoid", "truncated-octahedron")
    materials: tuple[str, ...] = ("Au",)
    shell_material: str = "SiO2"
    material_spread: float = 0.1
    arrangement: str = "hard-core"
    cluster_size: float = 5.0
    support: Support = field(default_factory=Support)
    probe: Probe = field(default_factory=Probe)
    mode: str = "haadf"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_shape(self.shape, "scene"))
        for name in ("pixel_size_nm", "diameter_nm"):
            check_positive(getattr(self, name), name)
        check_pixel_size(self.pixel_size_nm)
        for name, high in (("diameter_spread", 2.0), ("material_spread", 2.0), ("second_share", 1.0)):
            check_within(getattr(self, name), name, 0, high)
        check_within(self.second_diameter_nm, "second_diameter_nm")
        check_within(self.cluster_size, "cluster_size", 1)
        check_count(self.n_particles, "n_particles", high=MOST_PARTICLES)
        object.__setattr__(self, "n_particles", int(self.n_particles))
        check_kind(self.support, "support", Support)
        check_kind(self.probe, "probe", Probe)
        for name in ("shapes", "materials"):
            if not (isinstance(getattr(self, name), tuple | list) and getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)!r}; expected a list of at least one name")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_choice("arrangement", self.arrangement, ARRANGEMENTS)
        _check_choice("size_distribution", self.size_distribution, SIZE_DISTRIBUTIONS)
        mode_by_name(self.mode)
        for shape in self.shapes:
            bodies[shape]
        for material in (*self.materials, self.shell_material):
            material_by_name(material)
        self._check_sizes()

    def _check_sizes(self) -> None:
        medians = [self.diameter_nm]
        if self.size_distribution == "bimodal":
            check_positive(self.second_diameter_nm, "second_diameter_nm", "bimodal sizes need it")
            if not 0 < self.second_share < 1:
                raise InputError(f"second_share is {self.second_share}; expected a share above 0 and below 1")
            medians.append(self.second_diameter_nm)
        elif self.second_diameter_nm or self.second_share:
            raise InputError("second_diameter_nm and second_share need size_distribution 'bimodal'; leave them out")
        for diameter in medians:
            if diameter < SMALLEST_DIAMETER_PX * self.pixel_size_nm:
                raise InputError(
                    f"particles of {diameter:g} nm are smaller than 2 pixels of {self.pixel_size_nm:g} nm; expected at "
                    f"least {SMALLEST_DIAMETER_PX * self.pixel_size_nm:g} nm, or pixels of at most {diameter / 2:g} nm"
                )
            if diameter > 4 * max(self.shape) * self.pixel_size_nm:
                raise InputError(
                    f"particles of {diameter:g} nm are far larger than the frame of "
                    f"{max(self.shape) * self.pixel_size_nm:g} nm; expected at most four times its longer side"
                )
        if self.arrangement in ("hard-core", "lattice"):
            square = _mean_square_diameter_nm2(self)
            area = self.shape[0] * self.shape[1] * self.pixel_size_nm**2
            limit = {"hard-core": 1.2 * JAMMING_COVERAGE, "lattice": 0.9}[self.arrangement]
            largest = int(limit * area / (np.pi / 4 * square))
            if self.n_particles > max(largest, 1):
                covered = self.n_particles * np.pi / 4 * square / area
                raise InputError(
                    f"{self.n_particles} particles would cover {covered:.0%} of the frame without overlap; expected at "
                    f"most {largest} of this size, or the arrangement 'clustered'"
                )


PARTICLE_DTYPE = np.dtype([
    ("label", np.int32), ("x", np.float64), ("y", np.float64), ("diameter_nm", np.float64),
    ("equivalent_diameter_nm", np.float64), ("feret_max_nm", np.float64), ("area_nm2", np.float64),
    ("volume_nm3", np.float64), ("shape", "U24"), ("material", "U16"), ("in_frame", np.float64),
    ("visible", np.float64),
])  # fmt: skip
"""One record a particle, all but the last exact: label, centre in pixels (x right, y down, whole numbers at pixel
centres), nominal diameter (as `SceneConfig.diameter_nm` says), diameter of the disk with the shadow's area, largest
Feret diameter, area of the whole shadow, volume within the outer surface, shape, material (core@shell), share of the
shadow within the frame, and the share of its pixels there that other particles do not cover."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn scene.

    Parameters
    ----------
    frame : ndarray of float32, shape (H, W)
        Noise-free share of the beam that the detector collects, 0 to 1.
    labels : ndarray of int32, shape (H, W)
        Which particle is on top, 0 for none.
    particles : ndarray of PARTICLE_DTYPE, shape (N,)
        The particles with at least one pixel in the frame, in order of their labels.
    config : SceneConfig
        What was asked for.
    solids : Solids
        The particles' bodies, in the same order.
    support_nm : ndarray of float32, shape (H, W)
        Thickness of the film in nm.
    """

    frame: NDArray[np.float32]
    labels: NDArray[np.int32]
    particles: NDArray
    config: SceneConfig
    solids: Solids
    support_nm: NDArray[np.float32]

    def mask(self, label: int) -> NDArray[np.bool_]:
        """Return the full mask of a particle, (H, W), also where others cover it."""
        if not (is_finite(label) and label == int(label) and 1 <= label <= len(self.particles)):
            raise InputError(f"label is {label!r}; expected a whole number from 1 to {len(self.particles)}")
        return self.solids.mask(int(label) - 1, self.labels.shape)

    @property
    def table(self) -> pd.DataFrame:
        """The particles as a table, one row each."""
        import pandas as pd

        return pd.DataFrame(self.particles)


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

    Raises
    ------
    InputError
        If the particles do not fit as they are asked to lie.

    Examples
    --------
    >>> scene = make_scene(SceneConfig(shape=(64, 64), n_particles=5, diameter_nm=6), rng=1)
    >>> int(scene.labels.max()), scene.frame.shape
    (5, (64, 64))
    """
    check_kind(config, "the scene's configuration", SceneConfig)
    generator = check_rng(rng)
    support_nm, film = config.support.draw(config.shape, config.pixel_size_nm, generator)
    solids, names = populate(config, film, generator)
    depth, labels, particles, seen = observe(solids, names, config.shape, config.pixel_size_nm)
    numbers = np.zeros(len(solids) + 1, dtype=np.int32)
    numbers[seen + 1] = particles["label"]
    image = form_image(config, depth, support_nm)
    return Scene(image, numbers[labels], particles, config, solids.take(seen), support_nm)


def populate(
    config: SceneConfig, film: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Solids, list[tuple[str, str]]]:
    """Return the particles of a scene on a film, and each one's shape and material."""
    mode = mode_by_name(config.mode)
    radii = sample_diameters_nm(config, rng) / 2 / config.pixel_size_nm
    centres, kept = place_particles(radii, film, config.arrangement, rng=rng, cluster_size=config.cluster_size)
    n = len(kept)
    kinds, substances = rng.integers(len(config.shapes), size=n), rng.integers(len(config.materials), size=n)
    strengths = np.maximum(0.2, 1 + config.material_spread * rng.normal(size=n))
    turns = Rotation.random(n, rng=rng).as_matrix() if n else np.empty((0, 3, 3))
    flat = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi, (n, 1))).as_matrix() if n else turns
    depth_per_px = {
        name: mode.depth_per_nm(material_by_name(name)) * config.pixel_size_nm
        for name in {*config.materials, config.shell_material}
    }
    shapes, names = [], []
    depths, inner = np.empty(n), np.zeros(n)
    for i in range(n):
        shape, material = config.shapes[kinds[i]], config.materials[substances[i]]
        body = bodies[shape](rng)
        depths[i] = depth_per_px[material]
        if body.inner_part == "core":
            depths[i] = depth_per_px[config.shell_material]
            inner[i] = depth_per_px[material] - depths[i]
            material = f"{material}@{config.shell_material}"
        elif body.inner_part == "cavity":
            inner[i] = -depths[i]
        if body.lies_flat:
            turns[i] = flat[i]
        shapes.append(body)
        names.append((shape, material))
    return Solids(tuple(shapes), turns, centres, radii[kept], depths * strengths, inner * strengths), names


def sample_diameters_nm(config: SceneConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the nominal diameters of a scene's particles in nm, (N,)."""
    medians = np.full(config.n_particles, config.diameter_nm)
    if config.size_distribution == "bimodal":
        medians[rng.random(config.n_particles) < config.second_share] = config.second_diameter_nm
    deviation = config.diameter_spread * rng.normal(size=config.n_particles)
    if config.size_distribution == "normal":
        while (low := deviation < LARGEST_SHRINKAGE).any():
            deviation[low] = config.diameter_spread * rng.normal(size=int(low.sum()))
        return medians * (1 + deviation)
    return medians * np.exp(deviation)


def _mean_square_diameter_nm2(config: SceneConfig) -> float:
    spread = config.diameter_spread
    if config.size_distribution == "normal":
        # The moments of a normal distribution cut at so many standard deviations from its mean.
        cut = LARGEST_SHRINKAGE / max(spread, 0.01)
        excess = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(cut / math.sqrt(2)))
        return config.diameter_nm**2 * (1 + 2 * spread * excess + spread**2 * (1 + cut * excess))
    share = config.second_share
    return float(np.exp(2 * spread**2) * ((1 - share) * config.diameter_nm**2 + share * config.second_diameter_nm**2))


def observe(
    solids: Solids, names: list[tuple[str, str]], shape: tuple[int, int], pixel_size_nm: float
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray, NDArray[np.int64]]:
    """Return what a frame shows of bodies: optical depth, label map, records, and which bodies they are of.

    The label map has the index + 1 of the body on top; the records are of the bodies with at least one pixel in the
    frame, labelled from 1.
    """
    depth, labels, areas = solids.draw(shape)
    seen = np.flatnonzero(areas)
    on_top = np.bincount(labels.ravel(), minlength=len(solids) + 1)[1:]
    solids = solids.take(seen)
    particles = describe(solids, [names[i] for i in seen], pixel_size_nm)
    particles["in_frame"] = shares_in_frame(solids, shape)
    particles["visible"] = on_top[seen] / areas[seen]
    return depth, labels, particles, seen


def describe(solids: Solids, names: list[tuple[str, str]], pixel_size_nm: float) -> NDArray:
    """Return the records of bodies, all of them wholly seen."""
    particles = np.zeros(len(solids), dtype=PARTICLE_DTYPE)
    radii_nm = solids.radii * pixel_size_nm
    outlines = [body.outline(turn) for body, turn in zip(solids.bodies, solids.rotations, strict=True)]
    area, feret = np.array(outlines).reshape(-1, 2).T
    particles["label"] = np.arange(1, len(solids) + 1)
    particles["y"], particles["x"] = solids.centres.T
    particles["diameter_nm"] = 2 * radii_nm
    particles["area_nm2"] = area * radii_nm**2
    particles["equivalent_diameter_nm"] = 2 * radii_nm * np.sqrt(area / np.pi)
    particles["feret_max_nm"] = feret * radii_nm
    particles["volume_nm3"] = [body.volume for body in solids.bodies] * radii_nm**3
    particles["shape"] = [shape for shape, _ in names]
    particles["material"] = [material for _, material in names]
    particles["in_frame"] = particles["visible"] = 1
    return particles


def form_image(config: SceneConfig, depth: NDArray, support_nm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the detector collects of particles of an optical depth on their support, blurred by the probe."""
    mode = mode_by_name(config.mode)
    film = support_nm * np.float32(mode.depth_per_nm(material_by_name(config.support.material)))
    return config.probe.blur(collected(film + depth.astype(np.float32), mode), config.pixel_size_nm)


def _check_choice(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{what} is {value!r}{nearest_name(str(value), known)}; expected one of {', '.join(known)}")
