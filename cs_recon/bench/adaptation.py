"""What adapting to a microscope is worth: on frames unlike those of training, before and after, against the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from cs_recon.adapt import AdaptConfig, adapt
from cs_recon.calibrate import coverage
from cs_recon.metrics import psnr
from cs_recon.reconstruction import reconstruct
from simulate.detector import measure
from simulate.errors import check_count
from simulate.schemes import scan_path

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from simulate.measurement import Measurement

FIRST_TEST_SEED = 500


def labyrinth(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a frame of winding stripes, as of a phase-separated film: no particle in it, and nothing that training drew.

    Noise is filtered to a ring of frequencies, with a preferred direction, and its height made nearly binary.
    """
    frequency = np.fft.fftfreq(size)
    down, right = frequency[:, None], frequency[None]
    period, direction = rng.uniform(7, 11), rng.uniform(0, np.pi)
    ring = np.exp(-(((np.hypot(down, right) * period - 1) / 0.15) ** 2))
    ring *= np.exp(2 * np.cos(2 * (np.arctan2(down, right) - direction)))
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * ring).real
    grain = gaussian_filter(rng.normal(size=(size, size)), 1)
    return np.clip(0.5 + 0.35 * np.tanh(1.2 * field / field.std()) + 0.15 * grain, 0.02, None).astype(np.float32)


def adaptation_table(
    folder: str | os.PathLike[str],
    *,
    method: str = "unrolled-ista",
    steps: int = 150,
    size: int = 256,
    scans: int = 8,
    frames: int = 10,
    ratio: float = 0.1,
    peak_counts: float = 20.0,
) -> pd.DataFrame:
    """Adapt a network to sparse scans of `labyrinth` frames and judge it on other ones.

    Parameters
    ----------
    folder : path
        Holds the adaptation, which goes on where it stopped.
    method : str
        The network.
    steps : int
        Optimiser steps at most.
    size : int
        Side of the frames in pixels.
    scans, frames : int
        How many scans to adapt to, and how many unseen frames to judge on.
    ratio, peak_counts : float
        Sampling ratio and electrons where the frame is brightest.

    Returns
    -------
    pandas.DataFrame
        One row an unseen frame: PSNR (dB) and coverage of the 90 % intervals, before and after.
    """
    check_count(scans, "number of scans", 1)
    check_count(frames, "number of frames", 1)

    def scan_of(seed: int) -> tuple[NDArray[np.float32], Measurement]:
        rng = np.random.default_rng(seed)
        frame = labyrinth(size, rng)
        path = scan_path("random", frame.shape, ratio, rng=rng)
        return frame, measure(frame, path, peak_counts=peak_counts, rng=rng)

    adapted = adapt([scan_of(seed)[1] for seed in range(scans)], folder, method=method, config=AdaptConfig(steps=steps))
    rows: list[dict[str, float]] = []
    for seed in range(FIRST_TEST_SEED, FIRST_TEST_SEED + frames):
        frame, scan = scan_of(seed)
        before, after = (reconstruct(scan, method, weights=file) for file in ("", str(adapted.weights)))
        assert before.sigma is not None
        assert after.sigma is not None
        rows.append({
            "PSNR before (dB)": psnr(frame, before.image),
            "PSNR after (dB)": psnr(frame, after.image),
            "coverage before": coverage(frame, before.image, before.sigma),
            "coverage after": coverage(frame, after.image, after.sigma),
        })  # fmt: skip
    return pd.DataFrame(rows).rename_axis("frame")
