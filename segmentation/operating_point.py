"""The score from which on a detection counts: chosen on validation frames, as training degrades them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import make_batch
from segmentation.learned import MULTIPLE
from segmentation.matching import match
from segmentation.models.family import architecture_of
from segmentation.paste import paste
from segmentation.split import split
from segmentation.train_segment import method_of
from segmentation.training_data import LabelledScenes
from segmentation.views import DEFAULT_VIEWS, run_views
from segmentation.visibility import visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segmentation.instances import Instances
    from segmentation.train_segment import MappedNetwork, SegmentTraining

POINTS = tuple(round(0.2 + 0.05 * step, 2) for step in range(15))


def choose_operating_point(
    model: MappedNetwork, config: SegmentTraining, *, frames: int = 80, device: torch.device
) -> tuple[float, float]:
    """Return the score threshold of the largest mean F1 at an IoU of 0.5 on validation frames, and that F1.

    Parameters
    ----------
    model : MappedNetwork
        The trained network.
    config : SegmentTraining
        Its training, whose validation frames (other seeds, real images of the validation split) are drawn.
    frames : int
        How many.
    device : torch.device
        Where the model is.
    """
    model.eval()
    architecture = architecture_of(method_of(config))
    scenes = LabelledScenes(
        config.data, config.loop.seed + 10_000, frames, mapping=config.network.mapping, split="validation"
    )
    counts = np.zeros((len(POINTS), frames))
    for index in range(frames):
        sample = scenes[index]
        truth = visible(sample.target["label_map"].numpy())
        seen = sample.seen
        seen = seen[None] if isinstance(seen, torch.Tensor) else make_batch([seen], multiple=MULTIPLE)
        with torch.inference_mode():
            (found,) = run_views(
                model.network, model.maps(seen.to(device)), DEFAULT_VIEWS, regions=architecture.regions
            )
        found = {name: value.float().cpu().numpy() for name, value in found.items()}
        draw = partial(_paste, truth.shape, found) if architecture.regions else partial(_split, found)
        for row, point in enumerate(POINTS):
            pairs = match(truth, draw(point))
            both = pairs.n_true + pairs.n_pred
            counts[row, index] = 2 * pairs.tp / both if both else 1.0
    means = counts.mean(axis=1)
    best = int(means.argmax())
    return POINTS[best], float(means[best])


def _paste(shape: tuple[int, int], found: dict[str, NDArray[np.float32]], point: float) -> Instances:
    sure = found["scores"] >= point
    return paste(shape, found["boxes"][sure], found["scores"][sure], found["masks"][sure])


def _split(found: dict[str, NDArray[np.float32]], point: float) -> Instances:
    return split(found["particle"], found["depth"], threshold=point)
