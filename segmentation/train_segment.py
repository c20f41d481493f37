"""Train the particle detector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader

from cs_recon import distributed
from cs_recon.training import LoopConfig, train
from segmentation.models.mask_rcnn import MaskRCNN, MaskRCNNConfig
from segmentation.training_data import LabelledScenes, SceneData

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from torch import Tensor

    from segmentation.training_data import Sample


@dataclass(frozen=True)
class SegmentTraining:
    """Everything that decides a training run of the detector."""

    network: MaskRCNNConfig = field(default_factory=MaskRCNNConfig)
    data: SceneData = field(default_factory=SceneData)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(learning_rate=7e-4))


def train_segment(
    config: SegmentTraining, folder: str | os.PathLike[str], *, device: torch.device, workers: int = 1
) -> tuple[MaskRCNN, dict[str, Tensor]]:
    """Train (or go on training) and return the network and its averaged weights."""
    torch.manual_seed(config.loop.seed)
    model = MaskRCNN(config.network).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def batches(start: int) -> Iterator[object]:
        size = config.loop.batch_size
        scenes = LabelledScenes(config.data, config.loop.seed, config.loop.steps * size)
        order, part = distributed.share(size, start, config.loop.steps), distributed.share_size(size)
        return iter(DataLoader(scenes, part, sampler=order, num_workers=workers, collate_fn=_collate))

    def losses(item: object) -> dict[str, Tensor]:
        images, targets = item  # pyright: ignore[reportGeneralTypeIssues]
        images = images.to(device, memory_format=torch.channels_last)
        return model(images, [{name: value.to(device) for name, value in target.items()} for target in targets])[1]

    averaged = train(model, losses, batches, config.loop, folder, device=device)
    return model, averaged


def _collate(samples: list[Sample]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    return torch.stack([image for image, _ in samples]), [target for _, target in samples]
