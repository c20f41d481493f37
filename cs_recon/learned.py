"""Reconstruction by trained networks: loading weights, running them, bringing the result back to the input's unit."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import make_batch
from cs_recon.checkpoint import build, load_weights
from cs_recon.device import pick_device
from cs_recon.reconstruction import Reconstruction, register_each
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA

if TYPE_CHECKING:
    from simulate.measurement import Measurement

UNROLLED = "unrolled-ista"


@register_each(UNROLLED, "ISTA unrolled into a trained network, with a per-pixel uncertainty (default)")
def unrolled_ista(measurement: Measurement, *, device: str = "auto", weights: str = "") -> Reconstruction:
    """Reconstruct by the trained unrolled network; one set of weights serves every scheme, ratio and dose.

    Parameters
    ----------
    measurement : Measurement
        The scan, at least 8 x 8 pixels.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    weights : str
        A weights file of your own training; the shipped one if empty.

    Returns
    -------
    Reconstruction
        With a calibrated `sigma`, and the features ``"last"``, ``"codes/2"``, ``"codes/4"``, ... of the last step.
    """
    target = pick_device(device)
    network, digest, temperature = _load(weights, target)
    with torch.inference_mode():
        batch = make_batch([measurement], multiple=network.config.multiple, device=target)
        out = network(batch)
        image = batch.denormalise(out.image)[0, 0].cpu().numpy()
        rows, cols = measurement.shape
        sigma = out.log_sigma[0, 0, :rows, :cols].double().exp() * batch.scale[0, 0] * temperature
    return Reconstruction(
        image.astype(np.float32),
        sigma.cpu().numpy().astype(np.float32),
        UNROLLED,
        pixel_size_nm=measurement.pixel_size_nm,
        features=out.features,
        info={"weights": Path(weights).name or f"{UNROLLED}.safetensors", "weights_sha256": digest},
        name=measurement.name,
    )


def load_unrolled(weights: str = "", device: torch.device | str = "cpu") -> UnrolledISTA:
    """Return the network with weights from a file, or the shipped ones; in evaluation mode."""
    return _load(weights, torch.device(device))[0]


@lru_cache(maxsize=4)
def _load(weights: str, device: torch.device) -> tuple[UnrolledISTA, str, float]:
    if weights:
        loaded = load_weights(weights, UNROLLED)
    else:
        with as_file(files("cs_recon") / "weights" / f"{UNROLLED}.safetensors") as path:
            loaded = load_weights(path, UNROLLED)
    config = dict(loaded.config)
    temperature = float(config.pop("sigma_temperature", 1.0))  # pyright: ignore[reportArgumentType]
    network = build(loaded, lambda: UnrolledISTA(UnrolledConfig(**config)))  # pyright: ignore[reportArgumentType]
    network = network.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
    return network, loaded.sha256, temperature
