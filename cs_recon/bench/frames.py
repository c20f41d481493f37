"""Clean frames to judge reconstructions on, none of which any training draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cs_recon.real_images import labelled_images
from simulate.crystal_frames import crystal_frame
from simulate.errors import InputError, check_count, nearest_name
from simulate.materials import MATERIALS, MODES
from simulate.optics import Probe
from simulate.random_scenes import ordinary_config, random_config, random_crystal
from simulate.scenes import SceneConfig, make_scene
from simulate.support import Support

if TYPE_CHECKING:
    from numpy.typing import NDArray

BENCH_SEED = 202_600_000
"""Seeds of the bench's scenes start here; training draws from ``(seed, index)`` pairs, which are other streams."""

GENERATORS = {
    "bench": "particle scenes with other parameters than training's: `bench_config`",
    "ordinary": "micrographs as one would take them, particles apart or touching on a fair film: `ordinary_config`",
    "training": "particle scenes of training's generator, other seeds",
    "crystal": "atomic columns of training's generator, other seeds",
}

SHRINK = 2
"""Real images are shrunk by this, which averages their noise: the truth must be cleaner than what is made from it."""


@dataclass(frozen=True)
class FrameSource:
    """How to make one frame; small and picklable, so that each process makes its own.

    Parameters
    ----------
    kind : str
        One of `GENERATORS`, or "real".
    index : int
        The number of the frame in its kind.
    size : int
        Side of the square frame in pixels.
    real_folder : str
        Where real images are (see `real_images.labelled_images`).
    """

    kind: str
    index: int
    size: int = 256
    real_folder: str = ""

    @property
    def name(self) -> str:
        """The frame's name in tables."""
        return f"{self.kind}-{self.index}-{self.size}px"

    def make(self) -> NDArray[np.float32]:
        """Return the clean frame, shape (size, size)."""
        if self.kind == "real":
            return real_frame(_real_images(self.real_folder, self.size)[self.index], self.size)
        rng = np.random.default_rng(BENCH_SEED + self.index)
        shape = (self.size, self.size)
        if self.kind == "crystal":
            return crystal_frame(random_crystal(rng, shape), rng=rng).frame
        draw = {"bench": bench_config, "ordinary": ordinary_config, "training": random_config}[self.kind]
        return make_scene(draw(rng, shape), rng=rng).frame


def frame_sources(
    n_frames: int, *, generator: str = "bench", size: int = 256, real_folder: str = "", n_real: int = 6
) -> list[FrameSource]:
    """Return the sources of simulated frames and, with a folder, of real ones.

    Real images are those of the test split, at half size; ones too small for it are left out.

    Raises
    ------
    InputError
        For an unknown generator, no frames at all, or a folder without a test image large enough.
    """
    if generator not in GENERATORS:
        raise InputError(
            f"unknown frame generator {generator!r}{nearest_name(generator, GENERATORS)}; "
            f"expected one of {', '.join(GENERATORS)}"
        )
    check_count(n_frames, "number of frames", 0)
    check_count(n_real, "number of real frames", 0)
    check_count(size, "frame size", 16)
    sources = [FrameSource(generator, index, size) for index in range(n_frames)]
    if real_folder and n_real:
        found = len(_real_images(real_folder, size))
        if not found:
            raise InputError(
                f"no test image in {real_folder} has sides of {SHRINK * size} pixels, twice the frame's {size}; "
                "give a smaller frame size or larger images"
            )
        sources += [FrameSource("real", index, size, real_folder) for index in range(min(n_real, found))]
    if not sources:
        raise InputError("no frames to judge on; give a number of simulated ones or a folder of real ones")
    return sources


def real_frame(image: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Return the upper left part of a real image at half size, grey values from 0 to 1, shape (size, size)."""
    side = SHRINK * size
    blocks = image[:side, :side].astype(np.float32).reshape(size, SHRINK, size, SHRINK)
    return blocks.mean(axis=(1, 3)) / np.float32(255)


@lru_cache(maxsize=1)
def _real_images(folder: str, size: int) -> list[NDArray[np.uint8]]:
    images = [item.image for item in labelled_images(folder, "test")]
    return [image for image in images if min(image.shape) >= SHRINK * size]


def bench_config(rng: np.random.Generator, shape: tuple[int, int] = (256, 256)) -> SceneConfig:
    """Draw a scene whose parameters are distributed otherwise than those of `simulate.random_config`.

    Sizes are normal or bimodal, not log-normal, from 5 px to 0.4 of the frame; three or four shapes and up to three
    materials in one frame; films of silica, alumina or silicon, mostly with holes, stronger ramps and coarser grain;
    one to 25 particles' depth to the film's; other arrangements' shares; out of focus four times out of ten.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : (int, int)
        Frame shape in pixels.

    Examples
    --------
    >>> bench_config(np.random.default_rng(0)).support.material != "C"
    True
    """
    pixel_nm = float(np.exp(rng.uniform(np.log(0.08), np.log(3.0))))
    diameter_px = float(np.exp(rng.uniform(np.log(5.0), np.log(0.4 * min(shape)))))
    bimodal = rng.random() < 0.5
    second_px = float(np.clip(diameter_px * rng.choice([0.35, 0.5, 1.8]), 4.0, 0.45 * min(shape)))
    spread = float(rng.uniform(0.05, 0.2) if bimodal else rng.uniform(0.1, 0.35))
    arrangement = str(rng.choice(["random", "hard-core", "clustered", "lattice"], p=[0.4, 0.15, 0.25, 0.2]))
    largest_px = max(diameter_px, second_px if bimodal else 0.0) * (1 + spread)
    cover = float(rng.uniform(0.05, 0.25 if arrangement == "hard-core" else 0.4))
    n_particles = int(np.clip(cover * shape[0] * shape[1] / (np.pi / 4 * largest_px**2), 1, 300))
    mode = str(rng.choice(list(MODES), p=[0.5, 0.25, 0.25]))
    film = str(rng.choice(["SiO2", "Al2O3", "Si"]))
    known = [name for name in MATERIALS if name not in ("C", film)]
    materials = tuple(str(name) for name in rng.choice(known, int(rng.integers(1, 4)), replace=False))
    depth = min(MODES[mode].depth_per_nm(MATERIALS[materials[0]]) * diameter_px * pixel_nm, 2.5)
    film_per_nm = MODES[mode].depth_per_nm(MATERIALS[film])
    contrast = float(np.exp(rng.uniform(0.0, np.log(25.0))))
    holes = rng.random() < 0.6
    defocused = rng.random() < 0.4
    return SceneConfig(
        shape=shape,
        pixel_size_nm=pixel_nm,
        n_particles=n_particles,
        diameter_nm=diameter_px * pixel_nm,
        diameter_spread=spread,
        size_distribution="bimodal" if bimodal else "normal",
        second_diameter_nm=second_px * pixel_nm if bimodal else 0.0,
        second_share=float(rng.uniform(0.2, 0.6)) if bimodal else 0.0,
        shapes=_shapes(rng),
        materials=materials,
        shell_material=str(rng.choice(["TiO2", "CeO2", "Al2O3"])),
        material_spread=float(rng.uniform(0.1, 0.4)),
        arrangement=arrangement,
        cluster_size=float(rng.uniform(3, 25)),
        support=Support(
            material=film,
            thickness_nm=min(depth / contrast, 1.5) / film_per_nm,
            texture=float(rng.uniform(0.02, 0.12)),
            texture_nm=float(rng.uniform(2.0, 6.0)) * pixel_nm,
            ramp=float(rng.uniform(0.3, 1.0)),
            hole_share=float(rng.uniform(0.2, 0.6)) if holes else 0.0,
            hole_nm=float(rng.uniform(0.2, 0.6)) * min(shape) * pixel_nm,
            contamination_nm=depth / film_per_nm * float(rng.uniform(0.1, 0.6)) if rng.random() < 0.3 else 0.0,
        ),
        probe=Probe(
            fwhm_nm=float(rng.uniform(0.5, 3.0)) * pixel_nm,
            defocus_nm=float(rng.uniform(0.5, 3.5)) * pixel_nm / 0.03 if defocused else 0.0,
            convergence_mrad=30.0,
        ),
        mode=mode,
    )


def _shapes(rng: np.random.Generator) -> tuple[str, ...]:
    """Draw three or four kinds of bodies, of which one at least is faceted or hollow."""
    round_ones = ("sphere", "ellipsoid", "rod", "core-shell")
    others = ("cube", "octahedron", "truncated-octahedron", "decahedron", "platelet", "hollow", "nanocage")
    chosen = [*rng.choice(round_ones, 2, replace=False), *rng.choice(others, int(rng.integers(1, 3)), replace=False)]
    return tuple(str(name) for name in chosen)
