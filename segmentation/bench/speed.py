"""How fast the whole way is, from sparse scan to label map, by model, one frame after the other."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cs_recon.bench.memory import measured
from cs_recon.device import pick_device
from segmentation.bench.frames import LabelledFrame
from segmentation.methods import segment
from simulate.scenes import SceneConfig, make_scene
from simulate.support import Support

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segmentation.bench.compare import Model


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
    models: Sequence[Model], *, side: int = 512, particles: int = 100, repeats: int = 5, device: str = "auto"
) -> pd.DataFrame:
    """Time every model on a frame: the detector alone on the full frame, and all from a scan of 10 % on.

    Returns
    -------
    pandas.DataFrame
        One row a model: medians of seconds and frames a second, the largest memory above the start, and how many
        particles came out.
    """
    target = pick_device(device)
    frame = dense_frame(side, particles)
    scan, full = frame.scan(0.1, 50), frame.scan(1.0, 50)
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
            "frames_per_s": 1 / median(whole), "peak_mb": max(memory),
        })  # fmt: skip
    return pd.DataFrame(rows)
