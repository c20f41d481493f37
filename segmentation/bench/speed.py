"""How fast the whole way is, from sparse scan to label map, by model: one frame after the other, and in a stream."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cs_recon.bench.memory import measured
from cs_recon.device import pick_device
from cs_recon.tiles import WHOLE_PIXELS
from segmentation.bench.frames import LabelledFrame
from segmentation.methods import segment
from segmentation.streaming import stream
from simulate.scenes import SceneConfig, make_scene
from simulate.support import Support

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segmentation.bench.compare import Model
    from simulate.measurement import Measurement

RATIO, PEAK_COUNTS = 0.1, 50.0


def dense_frame(side: int, particles: int, seed: int = 1) -> LabelledFrame:
    """Return a frame with so many particles of 12 pixels across, apart."""
    config = SceneConfig(
        shape=(side, side),
        pixel_size_nm=0.5,
        n_particles=particles,
        diameter_nm=6.0,
        diameter_spread=0.15,
        shapes=("sphere",),
        arrangement="hard-core",
        support=Support(thickness_nm=15.0, texture=0.03),
    )
    scene = make_scene(config, rng=seed)
    return LabelledFrame(f"{particles} on {side}", "simulated", scene.frame, scene.labels, seed)


def speed(
    models: Sequence[Model],
    *,
    side: int = 512,
    particles: int = 100,
    repeats: int = 5,
    batch_size: int | None = None,
    device: str = "auto",
) -> pd.DataFrame:
    """Time every model on a frame: the detector alone on the full frame, and all from a scan of 10 % on.

    Parameters
    ----------
    models : sequence of Model
        What to time.
    side, particles : int
        The frame's side in pixels, and the particles on it.
    repeats : int
        How often a single frame is timed, after a first time that does not count.
    batch_size : int, optional
        Scans a batch of the stream (`segmentation.stream`), which is six batches long; if None, 16 on a GPU and 1 on a
        CPU.
    device : {"auto", "cpu", "cuda"}
        Where to compute.

    Returns
    -------
    pandas.DataFrame
        One row a model: medians of seconds and frames a second, the largest memory above the start, how many
        particles came out, and the frames a second of a stream (``stream_per_s``), and of one in which networks see
        frames at full size alone (``stream_scale_1_per_s``); NaN of frames beyond a million pixels, which networks
        look at one by one.
    """
    target = pick_device(device)
    frame = dense_frame(side, particles)
    scan, full = frame.scan(RATIO, PEAK_COUNTS), frame.scan(1.0, PEAK_COUNTS)
    batch = (1 if target.type == "cpu" else 16) if batch_size is None else batch_size
    rows: list[dict[str, object]] = []
    for model in models:
        alone, whole, memory, found = [], [], [], 0
        for repeat in range(repeats + 1):
            with measured(target) as cost:
                segment(full, model.method, device=device, **model.options)
            with measured(target) as all_cost:
                found = len(model.run(scan, device))
            # The first call loads the weights.
            if repeat:
                alone.append(cost.seconds)
                whole.append(all_cost.seconds)
            memory.append(max(cost.peak_mb, all_cost.peak_mb))
        rows.append({
            "model": model.name, "side": side, "particles": len(np.unique(frame.labels)) - 1, "found": found,
            "full_s": median(alone), "scan_to_labels_s": median(whole),
            "frames_per_s": 1 / median(whole), "stream_per_s": _stream_rate(model, scan, batch, device),
            "stream_scale_1_per_s": _stream_rate(replace(model, scale=1.0), scan, batch, device),
            "peak_mb": max(memory),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _stream_rate(model: Model, scan: Measurement, batch_size: int, device: str) -> float:
    """Return how many scans a second a stream of them brings to label maps."""
    if scan.mask.size > WHOLE_PIXELS:
        return float("nan")

    def seconds(batches: int) -> float:
        frames = stream(
            [scan] * (batches * batch_size),
            segment=model.method,
            device=device,
            batch_size=batch_size,
            segment_options=model.options,
        )
        began = time.perf_counter()
        for _ in frames:
            pass
        return time.perf_counter() - began

    seconds(2)  # kernels are chosen and memory is taken
    return 6 * batch_size / seconds(6)
