"""Pairs of a sparse noisy scan and its clean frame, made on the fly: any index gives the same pair for ever."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.ndimage import gaussian_filter
from torch.utils.data import Dataset

from cs_recon.real_images import Split, labelled_images
from cs_recon.training_frames import Frames, crystal_frames, real_frames, scene_frames
from simulate.detector import measure
from simulate.errors import InputError, check_count, check_positive, check_within
from simulate.schemes import scan_path, schemes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from simulate.measurement import Measurement
    from simulate.scan import ScanPath

T = TypeVar("T")
MOST_DRAWS = 300
"""So many refused draws in a row are no chance: settings and images give none that could be taken."""
_LINES = ("raster", "lines", "line-hop")
SCHEMES = {
    "random": 0.25, "jittered-grid": 0.1, "bernoulli": 0.05, "hilbert": 0.03, "uniform-grid": 0.03,
    "variable-density": 0.04, "adaptive": 0.04, "poisson-disc": 0.08, "sobol": 0.03, "halton": 0.02, "r2": 0.03,
    "spiral": 0.06, "lissajous": 0.05, "radial": 0.03, "random-walk": 0.02, "raster": 0.02, "lines": 0.04,
    "line-hop": 0.08,
}  # fmt: skip
"""The scan schemes of training, which are all there are, and how often each is drawn."""


@dataclass(frozen=True)
class PairConfig:
    """What training pairs look like.

    Parameters
    ----------
    size : int
        Side of the square frames in pixels.
    real_folder : str
        Folder of real images (see `real_images.labelled_images`), of which the training split is used; without
        one their share is simulated too.
    real_share, crystal_share : float
        Shares of pairs from real images and from crystals; the rest are particle scenes.
    min_ratio, max_ratio : float
        Range of the sampling ratio, drawn log-uniformly.
    min_counts, max_counts : float
        Range of the peak counts, drawn log-uniformly.
    noise_free_share : float
        Share of pairs without noise.
    unknown_share : float
        Share of the noisy pairs whose counts are not told, so that the noise must be estimated.
    movie_share : float
        Share of pairs that bring the scans of the frames before and after along.
    """

    size: int = 128
    real_folder: str = ""
    real_share: float = 0.4
    crystal_share: float = 0.1
    min_ratio: float = 0.02
    max_ratio: float = 1.0
    min_counts: float = 3.0
    max_counts: float = 2000.0
    noise_free_share: float = 0.12
    unknown_share: float = 0.25
    movie_share: float = 0.0

    def __post_init__(self) -> None:
        check_count(self.size, "size", 16)
        shares = ("real_share", "crystal_share", "noise_free_share", "unknown_share", "movie_share")
        for name in shares:
            check_within(getattr(self, name), name, 0, 1)
        if self.real_share + self.crystal_share > 1:
            raise InputError(
                f"real_share is {self.real_share} and crystal_share {self.crystal_share}; "
                "expected shares of at least 0 that sum to at most 1"
            )
        if not 0 < self.min_ratio <= self.max_ratio <= 1:
            raise InputError(
                f"min_ratio is {self.min_ratio} and max_ratio {self.max_ratio}; expected 0 < min <= max <= 1"
            )
        for name in ("min_counts", "max_counts"):
            check_positive(getattr(self, name), name)
        if self.min_counts > self.max_counts:
            raise InputError(
                f"min_counts is {self.min_counts} and max_counts {self.max_counts}; expected 0 < min <= max"
            )


@dataclass(frozen=True, eq=False)
class Pair:
    """A scan, the clean frame it was made from (H, W), and the scans before and after it, if there are any."""

    scan: Measurement
    clean: NDArray[np.float32]
    before: Measurement | None = None
    after: Measurement | None = None


class ScanPairs(Dataset[Pair]):
    """An endless, reproducible data set: item `i` is drawn from the seed ``(seed, i)``."""

    def __init__(self, config: PairConfig, seed: int, length: int, split: Split = "train") -> None:
        self.config, self.seed, self.length = config, seed, length
        self.real = [item.image for item in labelled_images(config.real_folder, split)] if config.real_folder else []
        if config.real_folder and config.real_share and split == "train" and not self.real:
            raise InputError(
                f"none of the images of {config.real_folder} belongs to the training split; expected images "
                "(images/NAME.*, labels/NAME.png), of which four in five do"
            )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        rng = np.random.default_rng([self.seed, index])
        # Particles that found no room, a blank crop, or a scan so sparse that all its samples are equal, which teaches
        # nothing: draw another.
        return first_taken(lambda: self._pair(rng))

    def _pair(self, rng: np.random.Generator) -> Pair:
        frames = self._frames(rng)
        scans = random_scans(frames, rng, self.config)
        if len(scans) == 1:
            return Pair(scans[0], frames[0])
        return Pair(scans[1], frames[1], before=scans[0], after=scans[2])

    def _frames(self, rng: np.random.Generator) -> Frames:
        size, n = self.config.size, 3 if rng.random() < self.config.movie_share else 1
        kind = rng.random()
        if self.real and kind < self.config.real_share:
            return real_frames(self.real[rng.integers(len(self.real))], size, n, rng)
        # Without real images their share is one of scenes: crystals keep theirs.
        if self.config.real_share <= kind < self.config.real_share + self.config.crystal_share:
            return crystal_frames(size, n, rng)
        return scene_frames(size, n, rng)


def first_taken(draw: Callable[[], T]) -> T:
    """Return the first of what `draw` gives that it does not refuse; `InputError` after `MOST_DRAWS` in a row."""
    reason = ""
    for _ in range(MOST_DRAWS):
        try:
            return draw()
        except InputError as error:
            reason = str(error)
    raise InputError(
        f"{MOST_DRAWS} training images in a row could not be made, the last because {reason}; expected settings and "
        "images of which some can: change those under [data]"
    )


def random_scans(frames: Frames, rng: np.random.Generator, config: PairConfig) -> list[Measurement]:
    """Scan frames with a random scheme, ratio and dose, each at its own places."""
    scheme = str(rng.choice(list(SCHEMES), p=list(SCHEMES.values())))
    ratio = float(np.exp(rng.uniform(np.log(config.min_ratio), np.log(config.max_ratio))))
    noise_free = rng.random() < config.noise_free_share
    counts = None if noise_free else float(np.exp(rng.uniform(np.log(config.min_counts), np.log(config.max_counts))))
    read_noise = float(rng.uniform(0, 1)) if counts and rng.random() < 0.3 else 0.0
    known = noise_free or rng.random() >= config.unknown_share
    scans: list[Measurement] = []
    for frame in frames:
        path = random_path(scheme, frame, ratio, rng)
        scan = measure(frame, path, peak_counts=counts, read_noise_counts=read_noise, rng=rng)
        scans.append(scan if known else replace(scan, counts_per_unit=None, read_noise=0.0))
    return scans


def random_path(scheme: str, frame: NDArray[np.float32], ratio: float, rng: np.random.Generator) -> ScanPath:
    """Lay a scan over a frame; line schemes get two lines at least, guided ones look at the blurred frame."""
    if scheme in _LINES:
        ratio = max(ratio, 2 / frame.shape[0])
    prior = edge_prior(frame) if schemes[scheme].needs_prior else None
    return scan_path(scheme, frame.shape, ratio, rng=rng, prior=prior)  # pyright: ignore[reportArgumentType]


def edge_prior(frame: NDArray) -> NDArray[np.float64]:
    """Return what a guided scheme is told of a frame (H, W): the gradient of its blurred image, nowhere zero."""
    down, right = np.gradient(gaussian_filter(frame, 3.0))
    edges = np.hypot(down, right)
    return edges + 0.1 * edges.mean() + 1e-6
