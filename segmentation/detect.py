"""Particles of a frame by the trained Mask R-CNN, pasted into one label map."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.checkpoint import build, load_weights
from cs_recon.device import pick_device
from cs_recon.wavelets import pad_to_multiple
from segmentation.instances import Instances
from segmentation.methods import segmenters
from segmentation.models.mask_rcnn import MASK_SIZE, MaskRCNN, MaskRCNNConfig
from segmentation.preprocess import normalise
from simulate.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MASK_RCNN = "mask-rcnn"
_STRIDE = 32


@segmenters.register(MASK_RCNN, "two-stage detector trained on simulated and real particle images (default)")
def mask_rcnn(
    image: NDArray[np.float64],
    *,
    device: str = "auto",
    weights: str = "",
    min_score: float = 0.7,
    min_area_px: int = 12,
) -> Instances:
    """Segment by the trained Mask R-CNN, at native scale.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        The image, any unit.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    weights : str
        A weights file of your own training; the shipped one if empty.
    min_score : float
        Detections scored lower are dropped, in [0, 1]; more finds fewer false particles and misses more true ones.
    min_area_px : int
        Particles with fewer visible pixels are dropped.

    Returns
    -------
    Instances
        Particles in order of their score; with scores, boxes and 28 x 28 masks.
    """
    if not 0 <= min_score <= 1:
        raise InputError(f"min_score is {min_score}; expected a number from 0 to 1")
    target = pick_device(device)
    network, digest = _load(weights, target)
    info: dict[str, object] = {"weights": Path(weights).name or f"{MASK_RCNN}.safetensors", "weights_sha256": digest}
    if np.ptp(image) == 0:
        return Instances(np.zeros(image.shape, dtype=np.int32), info=info)
    with torch.inference_mode():
        batch = pad_to_multiple(torch.from_numpy(normalise(image))[None, None], _STRIDE).to(target)
        found = network(batch.to(memory_format=torch.channels_last))[0][0]
    scores, boxes, masks = (found[name].cpu().numpy() for name in ("scores", "boxes", "masks"))
    sure = scores >= min_score
    particles = paste(image.shape, boxes[sure], scores[sure], masks[sure], min_area_px=min_area_px)
    return Instances(particles.labels, boxes=particles.boxes, scores=particles.scores, masks=particles.masks, info=info)


def paste(
    shape: tuple[int, ...],
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    masks: NDArray[np.float32],
    *,
    min_area_px: int = 12,
) -> Instances:
    """Draw detections into one label map, the surest on top.

    A detection keeps the pixels that surer ones have not taken; one that keeps less than half of its own was the same
    particle found twice, and is dropped.

    Parameters
    ----------
    shape : (int, int)
        Frame shape.
    boxes : ndarray, shape (N, 4)
        x0, y0, x1, y1 in pixels, best first.
    scores : ndarray, shape (N,)
        In [0, 1], descending.
    masks : ndarray, shape (N, 28, 28)
        Probabilities over each box.
    min_area_px : int
        The fewest pixels to keep.

    Returns
    -------
    Instances
    """
    height, width = shape
    labels = np.zeros((height, width), dtype=np.int32)
    kept: list[int] = []
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        top, bottom = max(0, int(np.floor(y0))), min(height, int(np.ceil(y1)))
        left, right = max(0, int(np.floor(x0))), min(width, int(np.ceil(x1)))
        if top >= bottom or left >= right:
            continue
        rows = _stretch(np.arange(top, bottom) + 0.5, y0, y1)
        cols = _stretch(np.arange(left, right) + 0.5, x0, x1)
        inside = rows @ masks[index] @ cols.T > 0.5
        window = labels[top:bottom, left:right]
        free = inside & (window == 0)
        n_free = np.count_nonzero(free)
        if n_free < max(min_area_px, 0.5 * np.count_nonzero(inside)):
            continue
        kept.append(index)
        window[free] = len(kept)
    return Instances(labels, boxes=boxes[kept], scores=scores[kept], masks=masks[kept])  # pyright: ignore[reportArgumentType]


def _stretch(centres: NDArray, start: float, stop: float) -> NDArray[np.float64]:
    """Return the matrix (len(centres), 28) that interpolates a mask's side linearly at pixel centres."""
    position = np.clip((centres - start) / max(stop - start, 1e-6) * MASK_SIZE - 0.5, 0, MASK_SIZE - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(MASK_SIZE)[None, :]))


def load_mask_rcnn(weights: str = "", device: torch.device | str = "cpu") -> MaskRCNN:
    """Return the network with weights from a file, or the shipped ones; in evaluation mode."""
    return _load(weights, torch.device(device))[0]


@lru_cache(maxsize=4)
def _load(weights: str, device: torch.device) -> tuple[MaskRCNN, str]:
    if weights:
        loaded = load_weights(weights, MASK_RCNN)
    else:
        with as_file(files("segmentation") / "weights" / f"{MASK_RCNN}.safetensors") as path:
            loaded = load_weights(path, MASK_RCNN)
    network = build(loaded, lambda: MaskRCNN(MaskRCNNConfig(**loaded.config)))  # pyright: ignore[reportArgumentType]
    network = network.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
    return network, loaded.sha256
