"""What the parts of the unrolled network are worth: small variants trained alike and judged on the same frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from cs_recon.batch import make_batch
from cs_recon.metrics import psnr
from cs_recon.train_recon import UnrolledTraining, train_recon, validation_pairs
from cs_recon.training import LoopConfig
from cs_recon.training_data import PairConfig
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from simulate.errors import check_count

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

BASE = UnrolledConfig(steps=3, widths=(16, 24, 32), deep=1, fast_steps=1)
VARIANTS: dict[str, UnrolledConfig] = {
    "3 steps, untied, 3 scales": BASE,
    "1 step": replace(BASE, steps=1),
    "5 steps": replace(BASE, steps=5),
    "tied": replace(BASE, tied=True),
    "single scale": replace(BASE, widths=(16,)),
    "single scale, 21 % more parameters": replace(BASE, widths=(38,), deep=1),
    "no second unit": replace(BASE, deep=0),
    "sym4 wavelet": replace(BASE, wavelet="sym4"),
}
"""The base network and what is changed of it."""

RATIOS = (0.03, 0.1, 0.5)


def ablation(
    folder: str | os.PathLike[str],
    *,
    steps: int = 1000,
    frames: int = 60,
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Train every variant on the same simulated pairs and return its validation PSNR.

    Parameters
    ----------
    folder : path
        Holds a folder of its own for each variant's run, which goes on where it stopped.
    steps : int
        Optimiser steps of each variant, of 8 pairs of 64 x 64 pixels.
    frames : int
        Validation frames a sampling ratio.
    progress : callable, optional
        Called with what is under way.

    Returns
    -------
    pandas.DataFrame
        One row a variant (the index): parameters in thousands, and the mean PSNR in dB at each of `RATIOS`.
    """
    check_count(frames, "number of frames", 1)
    rows: dict[str, dict[str, float]] = {}
    for name, network in VARIANTS.items():
        progress(name)
        config = UnrolledTraining(
            network=network,
            data=PairConfig(size=64, real_share=0.0),
            loop=LoopConfig(steps=steps, batch_size=8, learning_rate=1e-3, seed=11),
        )
        run = Path(folder) / name.replace(" ", "-").replace(",", "")
        model, averaged = train_recon(config, run, device=torch.device("cpu"))
        model.load_state_dict(averaged)
        assert isinstance(model, UnrolledISTA)
        rows[name] = {"parameters (k)": sum(p.numel() for p in model.parameters()) / 1000}
        for ratio in RATIOS:
            rows[name][f"PSNR at {ratio:.0%} (dB)"] = validation_psnr(model.eval(), config, ratio, frames)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "variant"
    return table


def validation_psnr(model: UnrolledISTA, config: UnrolledTraining, ratio: float, frames: int) -> float:
    """Return the mean PSNR over validation pairs of a sampling ratio."""
    scores: list[float] = []
    with torch.inference_mode():
        for pair in validation_pairs(config, ratio, frames):
            batch = make_batch([pair.scan], multiple=model.config.multiple)
            scores.append(psnr(pair.clean, batch.denormalise(model(batch).image)[0, 0].numpy()))
    return float(np.mean(scores))
