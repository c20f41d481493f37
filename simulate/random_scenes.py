"""Scenes and crystals with parameters drawn over the range of micrographs, for training and benchmarks."""

from __future__ import annotations

import numpy as np

from simulate.crystal import CRYSTALS
from simulate.crystal_config import PARTICLES, CrystalConfig
from simulate.materials import MATERIALS, MODES
from simulate.optics import Probe
from simulate.projection import project_columns
from simulate.scenes import SceneConfig
from simulate.shapes import bodies
from simulate.support import Support

_ARRANGEMENTS = {"random": 0.22, "hard-core": 0.38, "clustered": 0.35, "lattice": 0.05}
_MODES = {"haadf": 0.7, "adf": 0.1, "bf": 0.2}
_ZONE_AXES = ((0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 0, 0), (1, 1, 2))
_LARGEST_DEPTH = 2.5
"""Particles of a larger optical depth would be flat: their thickness no longer shows."""


def ordinary_config(rng: np.random.Generator, shape: tuple[int, int] = (256, 256)) -> SceneConfig:
    """Draw a scene as a microscopist would choose it: 3 to 150 clear particles of 8 to 32 pixels, apart or touching.

    Parameters, return value
        As of `random_config`.

    Examples
    --------
    >>> 3 <= ordinary_config(np.random.default_rng(0)).n_particles <= 150
    True
    """
    pixel_nm = float(rng.uniform(0.2, 0.8))
    diameter_px = float(np.exp(rng.uniform(np.log(8.0), np.log(max(8.0, min(32.0, min(shape) / 5))))))
    coverage = float(rng.uniform(0.05, 0.18))
    n_particles = int(np.clip(coverage * shape[0] * shape[1] / (np.pi / 4 * diameter_px**2), 3, 150))
    mode = str(rng.choice(["haadf", "bf"], p=[0.8, 0.2]))
    particle_depth = MODES[mode].depth_per_nm(MATERIALS["Au"]) * diameter_px * pixel_nm
    film_depth = min(particle_depth, 2.0) / float(rng.uniform(1.5, 6.0))
    return SceneConfig(
        shape=shape,
        pixel_size_nm=pixel_nm,
        n_particles=n_particles,
        diameter_nm=diameter_px * pixel_nm,
        diameter_spread=float(rng.uniform(0.05, 0.25)),
        shapes=tuple(rng.choice(["sphere", "ellipsoid", "cube", "rod", "octahedron"], 2, replace=False)),
        materials=("Au",),
        arrangement=str(rng.choice(["hard-core", "random", "clustered"], p=[0.6, 0.25, 0.15])),
        support=Support(
            thickness_nm=film_depth / MODES[mode].depth_per_nm(MATERIALS["C"]),
            texture=float(rng.uniform(0.01, 0.06)),
            texture_nm=float(rng.uniform(1.0, 4.0)) * pixel_nm,
            ramp=float(rng.uniform(0, 0.3)),
        ),
        probe=Probe(float(rng.uniform(0.8, 2.0)) * pixel_nm),
        mode=mode,
    )


def random_config(rng: np.random.Generator, shape: tuple[int, int] = (256, 256)) -> SceneConfig:
    """Draw scene parameters.

    Diameters from 7 px to a third of the frame, one to three shapes of any kind and material, few to crowded, weak to
    strong contrast, sharp to blurred, HAADF mostly; some films with holes, some contaminated, some out of focus.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : (int, int)
        Frame shape in pixels.

    Returns
    -------
    SceneConfig

    Examples
    --------
    >>> random_config(np.random.default_rng(0)).shape
    (256, 256)
    """
    pixel_nm = float(np.exp(rng.uniform(np.log(0.1), np.log(2.0))))
    diameter_px = float(np.exp(rng.uniform(np.log(7.0), np.log(max(7.0, min(90.0, min(shape) / 3))))))
    diameter_nm = diameter_px * pixel_nm
    spread = float(rng.uniform(0.02, 0.45))
    arrangement = str(rng.choice(list(_ARRANGEMENTS), p=list(_ARRANGEMENTS.values())))
    hole_share = float(rng.uniform(0.1, 0.5)) if rng.random() < 0.12 else 0.0
    # Apart, log-normal particles with their large ones get no denser than this on what the holes leave of the film.
    coverage = float(rng.uniform(0.02, 0.45 if arrangement in ("random", "clustered") else 0.3)) * (1 - hole_share)
    mean_square = diameter_px**2 * np.exp(2 * spread**2)
    n_particles = int(np.clip(coverage * shape[0] * shape[1] / (np.pi / 4 * mean_square), 1, 400))
    mode = str(rng.choice(list(_MODES), p=list(_MODES.values())))
    materials, depth = _materials(rng, mode, diameter_nm)
    contrast = float(np.exp(rng.uniform(np.log(0.4), np.log(20.0))))
    film_per_nm = MODES[mode].depth_per_nm(MATERIALS["C"])
    support = Support(
        thickness_nm=min(depth / contrast, 1.5) / film_per_nm,
        texture=float(rng.uniform(0, 0.2)) * float(rng.uniform(0.2, 1.0)),
        texture_nm=float(np.exp(rng.uniform(np.log(0.6), np.log(7.0)))) * pixel_nm,
        ramp=float(rng.uniform(0, 0.6)),
        hole_share=hole_share,
        hole_nm=float(rng.uniform(0.3, 1.0)) * min(shape) * pixel_nm,
        contamination_nm=depth / film_per_nm * float(rng.uniform(0.05, 0.5)) if rng.random() < 0.15 else 0.0,
    )
    return SceneConfig(
        shape=shape,
        pixel_size_nm=pixel_nm,
        n_particles=n_particles,
        diameter_nm=diameter_nm,
        diameter_spread=spread,
        shapes=tuple(rng.choice(bodies.names, int(rng.integers(1, 4)), replace=False)),
        materials=materials,
        material_spread=float(rng.uniform(0, 0.25)),
        arrangement=arrangement,
        cluster_size=float(rng.uniform(2, 12)),
        support=support,
        probe=_probe(rng, pixel_nm),
        mode=mode,
    )


def _materials(rng: np.random.Generator, mode: str, diameter_nm: float) -> tuple[tuple[str, ...], float]:
    """Draw one or two materials through which the beam still sees thickness, and a particle's depth of the first."""
    depths = {
        name: MODES[mode].depth_per_nm(material) * diameter_nm for name, material in MATERIALS.items() if name != "C"
    }
    seen = [name for name, depth in depths.items() if depth < _LARGEST_DEPTH] or [min(depths, key=depths.__getitem__)]
    chosen = rng.choice(seen, min(len(seen), 1 if rng.random() < 0.7 else 2), replace=False)
    return tuple(str(name) for name in chosen), min(depths[str(chosen[0])], _LARGEST_DEPTH)


def _probe(rng: np.random.Generator, pixel_nm: float) -> Probe:
    fwhm_nm = float(rng.uniform(0.6, 4.0)) * pixel_nm
    if rng.random() < 0.85:
        return Probe(fwhm_nm)
    radius_nm = float(rng.uniform(0.5, 2.5)) * pixel_nm
    return Probe(fwhm_nm, defocus_nm=radius_nm / 0.02, convergence_mrad=20.0)


def random_crystal(rng: np.random.Generator, shape: tuple[int, int] = (256, 256)) -> CrystalConfig:
    """Draw a crystal near a zone axis: columns 3.5 to 16 px apart, foils, wedges and particles, up to three grains.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : (int, int)
        Frame shape in pixels.

    Returns
    -------
    CrystalConfig

    Examples
    --------
    >>> random_crystal(np.random.default_rng(0)).shape
    (256, 256)
    """
    crystal = str(rng.choice(list(CRYSTALS)))
    zone_axis = _ZONE_AXES[int(rng.integers(len(_ZONE_AXES)))]
    spacing_nm = project_columns(crystal, zone_axis).spacing_nm
    spacing_px = float(np.exp(rng.uniform(np.log(3.5), np.log(16.0))))
    pixel_nm = spacing_nm / spacing_px
    side_nm = min(shape) * pixel_nm
    particle = str(rng.choice(PARTICLES)) if rng.random() < 0.35 else ""
    return CrystalConfig(
        crystal=crystal,
        zone_axis=zone_axis,
        shape=shape,
        pixel_size_nm=pixel_nm,
        rotation_deg=float(rng.uniform(0, 360)),
        thickness_nm=max(1.5, float(rng.uniform(0.4, 1.0)) * side_nm) if particle else float(rng.uniform(2.0, 20.0)),
        wedge_mrad=(float(rng.normal(0, 300)), float(rng.normal(0, 300)))
        if not particle and rng.random() < 0.4
        else (0.0, 0.0),
        probe_fwhm_nm=spacing_nm * float(rng.uniform(0.25, 0.8)),
        source_fwhm_nm=spacing_nm * float(rng.uniform(0, 0.2)),
        static_rms_nm=spacing_nm * float(rng.uniform(0, 0.05)),
        vacancy_columns=float(rng.uniform(0, 0.1)) if rng.random() < 0.3 else 0.0,
        vacancy_atoms=float(rng.uniform(0.1, 0.9)),
        n_grains=int(rng.integers(1, 4)),
        particle=particle,
        background=float(rng.uniform(0.02, 0.6)),
        texture=float(rng.uniform(0, 0.1)),
    )
