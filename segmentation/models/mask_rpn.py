"""Mask-RPN: one stage, in which the proposals themselves are the particles and each gets a mask.

It is Mask R-CNN without its second stage: no head looks at a proposal again to class it or mend its box. What the
second stage is worth shows in comparison.

References
----------
Ren, He, Girshick, Sun, "Faster R-CNN", IEEE TPAMI 39, 1137 (2017), https://doi.org/10.1109/TPAMI.2016.2577031 (the
proposals).
He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, https://doi.org/10.1109/ICCV.2017.322 (the mask branch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import batched_nms, box_iou

from segmentation.mapping import entry_of
from segmentation.models.backbone import Backbone
from segmentation.models.regions import MaskHead, mask_loss, proposal_network, pyramid_of, scored_detections
from segmentation.models.settings import MaskRPNConfig

if TYPE_CHECKING:
    from torch import Tensor
    from torchvision.models.detection.image_list import ImageList

    from segmentation.models.regions import Target


class MaskRPN(nn.Module):
    """Proposals straight to a mask branch; called as `MaskRCNN` is."""

    def __init__(self, config: MaskRPNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MaskRPNConfig()
        self.entry = entry_of(config.mapping, config.feature_channels)
        self.backbone = Backbone(self.entry, config.widths, config.pyramid)
        # No second stage weeds out boxes that lie half beside a particle: here they must count as background.
        self.rpn = proposal_network(config, background_iou=0.5)
        self.mask_head = MaskHead([f"p{index + 2}" for index in range(len(config.widths))], config.pyramid)

    def forward(
        self, maps: Tensor, targets: list[Target] | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections and losses (one of them empty) of maps (B, C, h, w); see `MaskRCNN.forward`."""
        levels, sizes, frames = pyramid_of(self.backbone, maps, self.entry)
        if self.training:
            assert targets is not None
            proposals, losses = self.rpn(frames, levels, targets)
            boxes, matches = self._mask_samples(proposals, targets)
            return [], {**losses, "mask": mask_loss(self.mask_head, levels, boxes, matches, sizes, targets)}
        found = [self._distinct(boxes, scores) for boxes, scores in self._scored(frames, levels)]
        masks = self.mask_head(levels, [boxes for boxes, _ in found], sizes).sigmoid()
        parts = masks.split([len(boxes) for boxes, _ in found])
        scoring = self.config.mask_scoring
        return [
            scored_detections(boxes, scores, mask, mask_scoring=scoring)
            for (boxes, scores), mask in zip(found, parts, strict=True)
        ], {}

    def stages(self) -> list[nn.Module]:
        """Return the network's parts in order, from the input on, for freezing all but the last ones."""
        return [*self.backbone.parts(), self.rpn, self.mask_head]

    def _scored(self, frames: ImageList, levels: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return the proposals of each image with their scores, which torchvision's own call keeps to itself."""
        features = list(levels.values())
        objectness, deltas = self.rpn.head(features)
        anchors = self.rpn.anchor_generator(frames, features)
        counts = [level[0].numel() for level in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        proposals = self.rpn.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        boxes, scores = self.rpn.filter_proposals(proposals, objectness, frames.image_sizes, counts)
        return list(zip(boxes, scores, strict=True))

    def _distinct(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Drop unlikely proposals and those that a better one overlaps; the rest best first."""
        boxes, scores = boxes[scores >= self.config.min_score], scores[scores >= self.config.min_score]
        kept = batched_nms(boxes, scores, torch.zeros_like(scores, dtype=torch.int64), self.config.box_nms)
        return boxes[kept], scores[kept]

    def _mask_samples(self, proposals: list[Tensor], targets: list[Target]) -> tuple[list[Tensor], list[Tensor]]:
        """Return boxes to learn masks over, and which target each belongs to: the true ones and proposals near them."""
        boxes, matches = [], []
        for found, target in zip(proposals, targets, strict=True):
            true = target["boxes"]
            candidates = torch.cat([true, found.detach()])
            if len(true) == 0:
                boxes.append(candidates[:0])
                matches.append(torch.zeros(0, dtype=torch.int64, device=candidates.device))
                continue
            overlap, match = box_iou(candidates, true).max(dim=1)
            near = torch.nonzero(overlap >= 0.5)[:, 0]
            chosen = near[torch.randperm(len(near), device=near.device)[: self.config.masks_per_image]]
            boxes.append(candidates[chosen])
            matches.append(match[chosen])
        return boxes, matches
