"""The labelled frames that segmentation is judged on, and how they are scanned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cs_recon.real_images import Split, labelled_images
from segmentation.pipeline import ADAPTIVE, adaptive_measure
from segmentation.visibility import visible
from simulate.detector import measure
from simulate.errors import InputError, nearest_name
from simulate.random_scenes import ordinary_config, random_config
from simulate.scenes import SceneConfig, make_scene
from simulate.schemes import scan_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulate.errors import PixelSize
    from simulate.measurement import Measurement

VALIDATION_SEED, TEST_SEED = 303_100_000, 404_200_000
"""Seeds of the scenes start here; training draws from ``(seed, index)`` pairs, which are other streams."""
GENERATORS = ("ordinary", "hard")


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A frame, clean or as a microscope gave it, the label map of its particles, and a seed for its scans.

    Attributes
    ----------
    name, kind : str
        Its own name, and what it is: ``"simulated"`` or ``"real"``.
    image : ndarray, shape (H, W)
        Intensities.
    labels : ndarray of int32, shape (H, W)
        The particles that are asked for.
    seed : int
        Of scan and noise.
    """

    name: str
    kind: str
    image: NDArray
    labels: NDArray[np.int32]
    seed: int

    def scan(self, ratio: float, peak_counts: float, scheme: str = "random", device: str = "auto") -> Measurement:
        """Return a scan of the frame: full at a ratio of 1, else by the scheme; 0 counts stand for no noise.

        ``"adaptive"`` scans pass after pass (`pipeline.adaptive_measure`): it knows of the frame what it has sampled,
        and reconstructs that on `device`.
        """
        rng = np.random.default_rng([self.seed, round(1000 * ratio), round(peak_counts)])
        if scheme == ADAPTIVE and ratio < 1:
            dose = {"peak_counts": peak_counts or None, "name": self.name}
            return adaptive_measure(self.image, ratio, rng=rng, noise_rng=rng, device=device, **dose)
        path = scan_path("raster", self.image.shape) if ratio == 1 else None
        path = path or scan_path(scheme, self.image.shape, ratio, rng=rng)
        return measure(self.image, path, peak_counts=peak_counts or None, rng=rng, name=self.name)


def simulated_frames(
    n: int, split: str = "test", size: int = 256, generator: str = "ordinary"
) -> Iterator[LabelledFrame]:
    """Yield clean scenes that no training saw, with the particles that a full scan of 300 counts can show.

    Parameters
    ----------
    n : int
        How many.
    split : {"test", "validation"}
        Of which seeds.
    size : int
        Their side in pixels.
    generator : {"ordinary", "hard"}
        Micrographs as one would take them, particles apart or touching on a fair film (`ordinary_config`); or
        everything that training draws (`random_config`): heaps, holes, grain as strong as the particles.
    """
    if generator not in GENERATORS:
        raise InputError(
            f"generator is {generator!r}{nearest_name(generator, GENERATORS)}; expected {' or '.join(GENERATORS)}"
        )
    first = TEST_SEED if split == "test" else VALIDATION_SEED
    for index in range(n):
        frame, _ = simulated_frame(f"{generator}-{index}", first + index, size, generator)
        yield frame


def simulated_frame(name: str, seed: int, size: int, generator: str | SceneConfig) -> tuple[LabelledFrame, PixelSize]:
    """Return the frame of a seed by a generator of `simulated_frames` or of one kind of scene, and its pixel size."""
    rng = np.random.default_rng(seed)
    if isinstance(generator, SceneConfig):
        config = generator
    else:
        config = (ordinary_config if generator == "ordinary" else random_config)(rng, (size, size))
    scene = make_scene(config, rng=rng)
    labels = visible(scene.labels, scene.frame, peak_counts=300.0)
    return LabelledFrame(name, "simulated", scene.frame, labels, seed), config.pixel_size_nm


def real_frames(folder: str, split: Split = "test") -> Iterator[LabelledFrame]:
    """Yield the real images of a split, at native scale."""
    for index, item in enumerate(labelled_images(folder, split)):
        yield LabelledFrame(item.name, "real", item.image.astype(np.float64), item.labels, TEST_SEED + index)
