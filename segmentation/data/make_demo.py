"""Draw the demonstration frame again: ``python -m segmentation.data.make_demo``.

A simulated HAADF frame of facetted and round particles of 8 nm on amorphous carbon, noise-free, 16 bits, and the true
sizes of its particles.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from segmentation.instances import Instances
from segmentation.measure import measure
from simulate import Probe, SceneConfig, Support, make_scene
from simulate.atomic import atomic_path

CONFIG = SceneConfig(
    shape=(512, 512),
    pixel_size_nm=0.3,
    n_particles=75,
    diameter_nm=9.0,
    diameter_spread=0.22,
    shapes=("sphere", "ellipsoid", "truncated-octahedron", "decahedron"),
    arrangement="clustered",
    materials=("Ag",),
    material_spread=0.08,
    support=Support(thickness_nm=60.0, texture=0.06, texture_nm=0.5, ramp=0.3),
    probe=Probe(fwhm_nm=0.6),
)
SEED = 20


def main(folder: Path = Path(__file__).parent) -> None:
    """Write ``demo_frame.tif`` and ``demo_truth.csv`` into a folder."""
    scene = make_scene(CONFIG, rng=SEED)
    frame = np.round(scene.frame / scene.frame.max() * 60000).astype(np.uint16)
    per_um = 1000 / CONFIG.pixel_size_nm
    with atomic_path(folder / "demo_frame.tif") as temporary:
        tifffile.imwrite(
            temporary,
            frame,
            imagej=True,
            resolution=(per_um, per_um),
            metadata={"unit": "um"},
            compression="zlib",
            compressionargs={"level": 9},
        )
    table = measure(Instances(scene.labels, pixel_size_nm=CONFIG.pixel_size_nm))
    with atomic_path(folder / "demo_truth.csv") as temporary:
        table[["label", "x", "y", "area_nm2", "equivalent_diameter_nm"]].round(3).to_csv(temporary, index=False)


if __name__ == "__main__":
    main()
