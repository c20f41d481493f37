"""What transfer learning gains: nuclei, then particles, against particles from scratch, on one budget and one test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cs_recon.training import LoopConfig
from segmentation.bench.compare import AP, Condition, Model, compare
from segmentation.bench.frames import real_frames
from segmentation.operating_point import choose_operating_point
from segmentation.train_segment import MaskRCNNTraining, save_segmenter, train_segment
from segmentation.training_data import SceneData
from segmentation.transfer import Freezing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import torch


@dataclass(frozen=True)
class TransferPlan:
    """The experiment.

    Parameters
    ----------
    nuclei, particles : str
        Folders of labelled images.
    first_steps, steps : int
        Steps on the nuclei, and on the particles of each run.
    train_last, unfreeze_every : int
        Of the run that starts from the nuclei, see `Freezing`.
    seed : int
        Of all runs.
    """

    nuclei: str
    particles: str
    first_steps: int = 400
    steps: int = 300
    train_last: int = 3
    unfreeze_every: int = 75
    seed: int = 7


def transfer_experiment(
    plan: TransferPlan,
    folder: str | os.PathLike[str],
    *,
    device: torch.device,
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Train on nuclei; then on particles from scratch, from the nuclei with stages frozen, and from them unfrozen.

    Returns
    -------
    pandas.DataFrame
        One row a run and test image: ``run, frame`` and the scores of `segmentation.scores.score`.
    """
    root = Path(folder)
    full = SceneData(real_folders=(plan.nuclei,), real_share=1.0, sparse_share=0.0, noisy_share=0.3, denoised_share=0.0)
    nuclei = MaskRCNNTraining(
        data=full,
        loop=LoopConfig(steps=plan.first_steps, learning_rate=7e-4, seed=plan.seed, warmup_steps=50, average=0.99),
    )
    particles = replace(
        nuclei,
        data=replace(nuclei.data, real_folders=(plan.particles,)),
        loop=replace(nuclei.loop, steps=plan.steps, seed=plan.seed + 1),
    )
    frozen = Freezing(plan.train_last, plan.unfreeze_every)
    runs = {"nuclei only": (nuclei, ""), "from scratch": (particles, "")}
    runs["from nuclei, all stages"] = (particles, "nuclei only")
    runs["from nuclei, last stages first"] = (replace(particles, freezing=frozen), "nuclei only")
    files: dict[str, Path] = {}
    for name, (config, init) in runs.items():
        progress(name)
        place = root / name.replace(",", "").replace(" ", "-")
        files[name] = place / "weights.safetensors"
        model, averaged = train_segment(config, place, device=device, init=files[init] if init else "")
        model.load_state_dict(averaged)
        # All are judged where they do best on the particles' validation images.
        point, _ = choose_operating_point(model, particles, device=device, frames=40)
        save_segmenter(files[name], averaged, config, point)
    # At the frames' own size: a network that has hardly been trained is no judge of what it is sure of.
    models = {name: Model("mask-rcnn", weights=str(file), scale=1.0) for name, file in files.items()}
    parts = []
    for name, model in models.items():
        progress(f"judge {name}")
        rows = compare(real_frames(plan.particles), [model], [Condition(1.0, 0.0)], device=device.type)
        parts.append(rows.assign(run=name).drop(columns="model"))
    return pd.concat(parts, ignore_index=True)


def transfer_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean scores of each run."""
    columns = [AP, "average_precision@0.75", "f1@0.5", "panoptic_quality@0.5"]
    return pd.DataFrame(rows.groupby("run", sort=False)[columns].mean())
