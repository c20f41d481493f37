"""Mask R-CNN for particles: torchvision's parts at native scale, with label maps in place of mask stacks.

References
----------
He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, https://doi.org/10.1109/ICCV.2017.322.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss

from segmentation.mapping import entry_of
from segmentation.models.backbone import make_backbone
from segmentation.models.regions import MaskHead, mask_loss, proposal_network, pyramid_of, scored_detections
from segmentation.models.roi_align import PyramidRoIAlign
from segmentation.models.settings import MaskRCNNConfig

if TYPE_CHECKING:
    from torch import Tensor


class MaskRCNN(nn.Module):
    """Two stages: proposals, then class, box and mask of each.

    Call it in training mode with targets for its losses, in evaluation mode for its detections.
    """

    def __init__(self, config: MaskRCNNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MaskRCNNConfig()
        self.entry = entry_of(config.mapping, config.feature_channels)
        self.backbone = make_backbone(config.backbone, self.entry, config.widths, config.pyramid)
        self.rpn = proposal_network(config)
        self.heads = ParticleHeads(config)

    def forward(
        self, maps: Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections and losses (one of them empty) of maps (B, C, h, w).

        Parameters
        ----------
        maps : Tensor, shape (B, C, h, w)
            What the mapping gives of frames whose sides are multiples of 32.
        targets : list of dict, for training
            For each image ``boxes`` (N, 4) as x0, y0, x1, y1, ``labels`` (N,) of ones, ``ids`` (N,) and ``label_map``
            (H, W), in which the pixels of particle i are ``ids[i]``.

        Returns
        -------
        detections : list of dict
            ``boxes`` (N, 4), ``scores`` (N,), best first, and ``masks`` (N, 28, 28), probabilities over the box.
        losses : dict
        """
        levels, sizes, frames = pyramid_of(self.backbone, maps, self.entry)
        proposals, rpn_losses = self.rpn(frames, levels, targets)
        detections, head_losses = self.heads(levels, proposals, sizes, targets)
        return detections, {**rpn_losses, **head_losses}

    def stages(self) -> list[nn.Module]:
        """Return the network's parts in order, from the input on, for freezing all but the last ones."""
        return [*self.backbone.parts(), self.rpn, self.heads]


class ParticleHeads(RoIHeads):
    """torchvision's region heads, whose mask targets are cut from a label map.

    The original wants a stack of masks the size of the frame: 4 GB for 500 particles at 1024².
    """

    def __init__(self, config: MaskRCNNConfig) -> None:
        width = config.pyramid
        names = [f"p{index + 2}" for index in range(len(config.widths))]
        super().__init__(
            box_roi_pool=PyramidRoIAlign(names, 7),
            box_head=TwoMLPHead(width * 49, 256),
            box_predictor=FastRCNNPredictor(256, 2),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=config.roi_samples,
            positive_fraction=config.roi_positive_share,
            bbox_reg_weights=None,
            score_thresh=config.min_score,
            nms_thresh=config.box_nms,
            detections_per_img=config.max_particles,
        )
        self.mask_head = MaskHead(names, width)
        self.mask_scoring = config.mask_scoring

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections or losses; see `MaskRCNN.forward`."""
        if self.training:
            assert targets is not None
            return [], self._losses(features, proposals, image_shapes, targets)
        logits, regression = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        boxes, scores, _ = self.postprocess_detections(logits.float(), regression.float(), proposals, image_shapes)
        masks = self.mask_head(features, boxes, image_shapes).sigmoid().split([len(found) for found in boxes])
        found = zip(boxes, scores, masks, strict=True)
        return [scored_detections(*one, mask_scoring=self.mask_scoring) for one in found], {}

    def _losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        proposals, matched, labels, regression_targets = self.select_training_samples(proposals, targets)
        logits, regression = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        if len(logits):
            classifier, box = fastrcnn_loss(logits.float(), regression.float(), labels, regression_targets)
        else:
            # No particle and no proposal in the whole batch, as of blank film: the mean over none is no number.
            classifier, box = logits.float().sum(), regression.float().sum()
        positive = [label > 0 for label in labels]
        boxes = [proposal[chosen] for proposal, chosen in zip(proposals, positive, strict=True)]
        matches = [match[chosen] for match, chosen in zip(matched, positive, strict=True)]
        mask = mask_loss(self.mask_head, features, boxes, matches, image_shapes, targets)
        return {"classifier": classifier, "box": box, "mask": mask}
