"""Mask R-CNN for particles: torchvision's parts at native scale, with label maps in place of mask stacks.

References
----------
He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, https://doi.org/10.1109/ICCV.2017.322.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from segmentation.models.backbone import Backbone
from simulate.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MASK_SIZE = 28
"""Side of a predicted mask, stretched over the particle's box."""


@dataclass(frozen=True)
class MaskRCNNConfig:
    """The shape of the network and the limits of its search.

    Parameters
    ----------
    inputs : int
        Channels of the input image.
    widths : tuple of int
        Channels of the backbone's stages.
    pyramid : int
        Channels of the feature pyramid and the heads.
    anchors_px : tuple of (float, float)
        Anchor sides at each level (strides 4, 8, 16, 32), in pixels; each with aspect ratios 1/2, 1 and 2.
    roi_samples, roi_positive_share : int, float
        How many proposals of an image the heads learn from, and at most which share of them particles: the rest teach
        what is none.
    max_particles : int
        The most particles in one frame.
    min_score, box_nms : float
        Detections scored lower are dropped, and those whose box overlaps a better one by more than this IoU.
    """

    inputs: int = 1
    widths: tuple[int, ...] = (48, 96, 160, 224)
    pyramid: int = 64
    anchors_px: tuple[tuple[float, ...], ...] = ((8, 14), (22, 36), (56, 90), (140, 220))
    roi_samples: int = 96
    roi_positive_share: float = 0.25
    max_particles: int = 3000
    min_score: float = 0.05
    box_nms: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "anchors_px", tuple(tuple(sizes) for sizes in self.anchors_px))
        if len(self.widths) != len(self.anchors_px):
            raise InputError(f"{len(self.widths)} stages but anchors for {len(self.anchors_px)}; expected as many")

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a plain dictionary, for weight files."""
        return asdict(self)


class MaskRCNN(nn.Module):
    """Two stages: proposals, then class, box and mask of each.

    Call it in training mode with targets for its losses, in evaluation mode for its detections.
    """

    def __init__(self, config: MaskRCNNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MaskRCNNConfig()
        self.backbone = Backbone(config.inputs, config.widths, config.pyramid)
        ratios = ((0.5, 1.0, 2.0),) * len(config.anchors_px)
        anchors = AnchorGenerator(config.anchors_px, ratios)  # pyright: ignore[reportArgumentType]
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(config.pyramid, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.6,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 1000, "testing": config.max_particles},
            post_nms_top_n={"training": 500, "testing": config.max_particles},
            nms_thresh=0.7,
            score_thresh=0.02,
        )
        self.heads = ParticleHeads(config)

    def forward(
        self, images: Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return detections and losses (one of them empty) of images (B, C, H, W).

        Parameters
        ----------
        images : Tensor, shape (B, C, H, W)
            Normalised images, sides multiples of 32.
        targets : list of dict, for training
            For each image ``boxes`` (N, 4) as x0, y0, x1, y1, ``labels`` (N,) of ones, ``ids`` (N,) and ``label_map``
            (H, W), in which the pixels of particle i are ``ids[i]``.

        Returns
        -------
        detections : list of dict
            ``boxes`` (N, 4), ``scores`` (N,), best first, and ``masks`` (N, 28, 28), probabilities over the box.
        losses : dict
        """
        features = self.backbone(images)
        sizes = [(images.shape[-2], images.shape[-1])] * len(images)
        # Boxes are regressed and compared in single precision: bfloat16 has steps of 4 pixels at 1000.
        with torch.autocast(images.device.type, enabled=False):
            levels = {name: level.float() for name, level in features.items()}
        proposals, rpn_losses = self.rpn(ImageList(images, sizes), levels, targets)
        detections, head_losses = self.heads(levels, proposals, sizes, targets)
        return detections, {**rpn_losses, **head_losses}


class ParticleHeads(RoIHeads):
    """torchvision's region heads, whose mask targets are cut from a label map.

    The original wants a stack of masks the size of the frame: 4 GB for 500 particles at 1024².
    """

    def __init__(self, config: MaskRCNNConfig) -> None:
        width = config.pyramid
        names = [f"p{index + 2}" for index in range(len(config.widths))]
        super().__init__(
            # The canonical scale sends a box of 28 pixels to stride 4, and each doubling one level up.
            box_roi_pool=MultiScaleRoIAlign(names, 7, 2, canonical_scale=112, canonical_level=4),
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
        self.mask_pool = MultiScaleRoIAlign(names, MASK_SIZE // 2, 2, canonical_scale=112, canonical_level=4)
        convolutions = [
            layer for _ in range(3) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True))
        ]
        self.mask_branch = nn.Sequential(
            *convolutions, nn.ConvTranspose2d(width, width, 2, stride=2), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 1)
        )

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
        masks = self._mask_logits(features, boxes, image_shapes).sigmoid().split([len(found) for found in boxes])
        found = zip(boxes, scores, masks, strict=True)
        return [{"boxes": box, "scores": score, "masks": mask} for box, score, mask in found], {}

    def _losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        proposals, matched, labels, regression_targets = self.select_training_samples(proposals, targets)
        logits, regression = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        classifier, box = fastrcnn_loss(logits.float(), regression.float(), labels, regression_targets)
        positive = [label > 0 for label in labels]
        boxes = [proposal[chosen] for proposal, chosen in zip(proposals, positive, strict=True)]
        ids = [
            target["ids"][match[chosen]] for target, match, chosen in zip(targets, matched, positive, strict=True)
        ]  # fmt: skip
        wanted = torch.cat([
            mask_targets(target["label_map"], box, wanted_ids)
            for target, box, wanted_ids in zip(targets, boxes, ids, strict=True)
        ])  # fmt: skip
        logits = self._mask_logits(features, boxes, image_shapes)
        # The sum of nothing keeps the graph whole when a batch has no particle.
        mask = F.binary_cross_entropy_with_logits(logits, wanted) if len(wanted) else logits.sum()
        return {"classifier": classifier, "box": box, "mask": mask}

    def _mask_logits(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Return mask logits (N, 28, 28) of the boxes of all images, in chunks that bound memory."""
        pooled = self.mask_pool(features, boxes, image_shapes)
        chunks = [self.mask_branch(chunk)[:, 0].float() for chunk in pooled.split(512)]
        return torch.cat(chunks) if chunks else pooled.new_zeros((0, MASK_SIZE, MASK_SIZE))


def mask_targets(label_map: Tensor, boxes: Tensor, ids: Tensor) -> Tensor:
    """Return the share of each cell of a 28 x 28 grid over each box that belongs to the particle.

    Parameters
    ----------
    label_map : Tensor of int, shape (H, W)
    boxes : Tensor, shape (N, 4)
        x0, y0, x1, y1 in pixels.
    ids : Tensor, shape (N,)
        The particle's id in the label map.

    Returns
    -------
    Tensor, shape (N, 28, 28)
        0 to 1, from 2 x 2 sub-samples a cell.
    """
    height, width = label_map.shape
    grid = (torch.arange(2 * MASK_SIZE, device=boxes.device) + 0.5) / (2 * MASK_SIZE)
    x = (boxes[:, 0:1] + grid * (boxes[:, 2:3] - boxes[:, 0:1])).long().clamp(0, width - 1)
    y = (boxes[:, 1:2] + grid * (boxes[:, 3:4] - boxes[:, 1:2])).long().clamp(0, height - 1)
    inside = label_map[y[:, :, None], x[:, None, :]] == ids[:, None, None]
    return F.avg_pool2d(inside.float()[:, None], 2)[:, 0] if len(ids) else boxes.new_zeros((0, MASK_SIZE, MASK_SIZE))
