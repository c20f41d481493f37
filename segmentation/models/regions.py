"""What the region-based detectors share: proposals, masks over boxes, and targets cut from label maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import box_iou

from segmentation.models.roi_align import PyramidRoIAlign

if TYPE_CHECKING:
    from torch import Tensor

    from segmentation.mapping import Entry
    from segmentation.models.backbone import Backbone, ResNetBackbone

MASK_SIZE = 28
"""Side of a predicted mask, stretched over the particle's box."""
OVERLAP_CHUNK = 150_000
"""Pairs of boxes that are compared at once."""
Target = dict[str, "Tensor"]


class RegionConfig(Protocol):
    """The settings that proposals depend on; see `MaskRCNNConfig`."""

    @property
    def pyramid(self) -> int: ...  # noqa: D102
    @property
    def anchors_px(self) -> tuple[tuple[float, ...], ...]: ...  # noqa: D102
    @property
    def max_particles(self) -> int: ...  # noqa: D102


def proposal_network(config: RegionConfig, *, background_iou: float = 0.3) -> RegionProposalNetwork:
    """Return torchvision's region proposal network with room for a frame full of particles.

    Anchors that overlap a particle by less than `background_iou` are background, by 0.6 and more particle; those
    between teach nothing.
    """
    ratios = ((0.5, 1.0, 2.0),) * len(config.anchors_px)
    anchors = AnchorGenerator(config.anchors_px, ratios)  # pyright: ignore[reportArgumentType]
    proposals = RegionProposalNetwork(
        anchors,
        SinglePrecisionHead(config.pyramid, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.6,
        bg_iou_thresh=background_iou,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 1000, "testing": config.max_particles},
        post_nms_top_n={"training": 500, "testing": config.max_particles},
        nms_thresh=0.7,
        score_thresh=0.02,
    )
    proposals.box_similarity = box_overlap  # pyright: ignore[reportAttributeAccessIssue]
    return proposals


class SinglePrecisionHead(RPNHead):
    """torchvision's head, whose boxes are decoded in single precision under autocast too.

    In bfloat16 a corner at 200 pixels is known to a whole pixel, and what the second stage learns with it.
    """

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the logits and the deltas of each level's anchors."""
        logits, deltas = super().forward(x)
        return [level.float() for level in logits], [level.float() for level in deltas]


def box_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of each of M boxes with each of N, as `torchvision.ops.box_iou`, but twice as fast on a CPU.

    That one's temporary arrays of (M, N, 2) numbers leave the cache; these, of a chunk of boxes, stay there.

    Parameters
    ----------
    first, second : Tensor, shapes (M, 4) and (N, 4)
        x0, y0, x1, y1.

    Returns
    -------
    Tensor, shape (M, N)
        0 to 1.
    """
    chunk = max(1, OVERLAP_CHUNK // max(1, len(first)))
    if second.is_cuda or len(second) <= chunk:
        return box_iou(first, second)
    return torch.cat([box_iou(first, part) for part in second.split(chunk)], dim=1)


def pyramid_of(
    backbone: Backbone | ResNetBackbone, maps: Tensor, entry: Entry
) -> tuple[dict[str, Tensor], list[tuple[int, int]], ImageList]:
    """Return the pyramid's levels in single precision, the frames' sizes, and what torchvision wants of the frames."""
    features = backbone(maps)
    rows, cols = maps.shape[-2] * entry.stride, maps.shape[-1] * entry.stride
    sizes = [(rows, cols)] * len(maps)
    # Boxes are regressed and compared in single precision: bfloat16 has steps of 4 pixels at 1000.
    with torch.autocast(maps.device.type, enabled=False):
        levels = {name: level.float() for name, level in features.items()}
    # Of the frames themselves only the shape is looked at.
    return levels, sizes, ImageList(maps.new_empty(1).expand(len(maps), 1, rows, cols), sizes)


class MaskHead(nn.Module):
    """Masks of 28 x 28 cells over boxes, from the pyramid's level that suits each box."""

    def __init__(self, levels: list[str], width: int) -> None:
        super().__init__()
        self.pool = PyramidRoIAlign(levels, MASK_SIZE // 2)
        convolutions = [
            layer for _ in range(3) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True))
        ]
        self.branch = nn.Sequential(
            *convolutions, nn.ConvTranspose2d(width, width, 2, stride=2), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 1)
        )

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Return mask logits (N, 28, 28) of the boxes of all images, in chunks that bound memory."""
        if sum(len(box) for box in boxes) == 0:
            # Nothing times the weights keeps the graph whole when a batch has no particle.
            return sum(p.sum() for p in self.parameters()) * boxes[0].new_zeros((0, MASK_SIZE, MASK_SIZE))
        pooled = self.pool(features, boxes, sizes)
        return torch.cat([self.branch(chunk)[:, 0].float() for chunk in pooled.split(512)])


def scored_detections(boxes: Tensor, scores: Tensor, masks: Tensor, *, mask_scoring: bool) -> dict[str, Tensor]:
    """Return one image's detections, best first, their scores multiplied by what their masks promise if asked for."""
    if mask_scoring:
        scores = scores * expected_iou(masks)
    order = torch.argsort(scores, descending=True, stable=True)
    return {"boxes": boxes[order], "scores": scores[order], "masks": masks[order]}


def expected_iou(masks: Tensor) -> Tensor:
    r"""Return the IoU that masks, cut at a half, can expect with the truth, by their own probabilities.

    .. math:: \sum_{p > 1/2} p \,\Big/\, \Big(\sum_{p > 1/2} 1 + \sum_{p \le 1/2} p\Big)

    A class score does not know how well the outline was found; a network that learns to tell is Huang et al., "Mask
    scoring R-CNN", CVPR 2019, https://doi.org/10.1109/CVPR.2019.00657. A trained mask's own probabilities tell too.

    Parameters
    ----------
    masks : Tensor, shape (N, 28, 28)
        Probabilities.

    Returns
    -------
    Tensor, shape (N,)
        0 (nothing above a half) to 1 (all certain).

    Examples
    --------
    >>> import torch
    >>> masks = torch.zeros(2, 28, 28)
    >>> masks[0, :14], masks[1, :14], masks[1, 14:] = 1.0, 0.8, 0.2
    >>> [round(value, 3) for value in expected_iou(masks).tolist()]
    [1.0, 0.667]
    """
    inside = masks > 0.5
    hit, size = (masks * inside).sum((1, 2)), inside.sum((1, 2))
    return hit / (size + (masks * ~inside).sum((1, 2))).clamp(min=1)


def mask_loss(
    head: MaskHead,
    features: dict[str, Tensor],
    boxes: list[Tensor],
    matches: list[Tensor],
    sizes: list[tuple[int, int]],
    targets: list[Target],
) -> Tensor:
    """Return the cross-entropy of the masks over `boxes`, of which `matches` are the targets' indices."""
    wanted = torch.cat([
        mask_targets(target["label_map"], box, target["ids"][match])
        for target, box, match in zip(targets, boxes, matches, strict=True)
    ])  # fmt: skip
    logits = head(features, boxes, sizes)
    return F.binary_cross_entropy_with_logits(logits, wanted) if len(wanted) else logits.sum()


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
