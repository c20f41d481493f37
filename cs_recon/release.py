"""From a finished training run to a weights file: sigma calibrated on validation frames, the settings written along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cs_recon.calibrate import calibrate_sigma
from cs_recon.checkpoint import save_weights
from cs_recon.learned import INPAINTING_VIEWS
from cs_recon.train_recon import TRAININGS, validation_pairs
from cs_recon.unrolled import UnrolledISTA
from cs_recon.views import mean_of_views

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from cs_recon.batch import ScanBatch
    from cs_recon.networks import NetworkOutput
    from cs_recon.train_recon import Network, ReconTraining


def release(
    network: Network,
    averaged: dict[str, Tensor],
    config: ReconTraining,
    file: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    frames: int = 120,
) -> str:
    """Calibrate a trained network at every ratio, write its weights, and return the hash of its tensors.

    Parameters
    ----------
    network : UnrolledISTA or InpaintingUNet
        Gets the averaged weights.
    averaged : dict of str to Tensor
        The averaged state dictionary, as training returns it.
    config : UnrolledTraining or InpaintingTraining
        The configuration of the run.
    file : path
        Where to write.
    device : torch.device or str
        Where the network is.
    frames : int
        Validation frames a ratio.
    """
    network.load_state_dict(averaged)
    network.eval()
    views = 1 if isinstance(network, UnrolledISTA) else INPAINTING_VIEWS
    runs: dict[str, Callable[[ScanBatch], NetworkOutput]] = {"full": mean_of_views(network, views)}
    if isinstance(network, UnrolledISTA):
        # From the first guess that the preset starts from.
        smooth = network.config.start == "smooth"
        runs["fast"] = lambda batch: network(
            batch.with_smooth(fast=True) if smooth else batch, network.config.fast_steps
        )
    record: dict[str, object] = {**config.network.as_dict()}
    for preset, run in runs.items():
        calibration = calibrate_sigma(
            run,
            lambda ratio: validation_pairs(config, ratio, frames),
            multiple=network.config.multiple,
            device=device,
        )
        record[f"sigma_{preset}"] = calibration.as_dict()
    return save_weights(file, averaged, method_of(config), record)


def method_of(config: ReconTraining) -> str:
    """Return the method that a configuration trains."""
    return next(name for name, kind in TRAININGS.items() if isinstance(config, kind))
