"""Networks that look at a frame more than once, mirrored: what is seen every time is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from cs_recon.views import MIRRORS
from segmentation.mapping import moved
from simulate.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from segmentation.models.family import ParticleNetwork

Found = dict[str, "Tensor"]
"""What a network makes of a frame: detections or maps by name."""
DEFAULT_VIEWS = 2
SAME_IOU = 0.5
"""Detections of two views whose boxes overlap by this are one particle."""


def run_views(network: ParticleNetwork, maps: Tensor, views: int, *, regions: bool) -> list[Found]:
    """Return what a network makes of frames, of each the mean over mirrored views of it.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    maps : Tensor, shape (B, C, h, w)
        What the network's mapping shows of the frames.
    views : int
        1 to 4.
    regions : bool
        Whether the network finds detections; else maps.

    Returns
    -------
    list of dict of str to Tensor
        Of each frame ``boxes`` (N, 4), ``scores`` (N,), best first, and ``masks`` (N, 28, 28), on the CPU; or maps
        (H, W) by name, where `maps` are.
    """
    if maps.shape[1] != network.entry.channels:
        raise InputError(
            f"the network takes {network.entry.channels} maps and mapping {network.config.mapping!r} gives "
            f"{maps.shape[1]}; expected weights trained on the features of this reconstruction network"
        )
    sides = [side * network.entry.stride for side in maps.shape[-2:]]
    seen = [
        moved(maps, network.config.mapping, lambda x, axes=axes: x.flip(axes)) if axes else maps
        for axes in MIRRORS[:views]
    ]
    if maps.device.type != "cpu":
        seen = [torch.cat(seen)]  # all at once: the fewer and larger its kernels, the less a GPU waits for them
    looks = [one for part in seen for one in network(part.contiguous(memory_format=torch.channels_last))[0]]
    looks = _fetched(looks) if regions else looks
    found: list[Found] = []
    for frame in range(len(maps)):
        own = zip(MIRRORS, looks[frame :: len(maps)], strict=False)
        if regions:
            found.append(merged_detections([_boxes_back(one, axes, sides) for axes, one in own]))
        else:
            back = [{name: value.flip(axes) for name, value in one.items()} for axes, one in own]
            found.append({name: torch.stack([one[name] for one in back]).mean(0) for name in back[0]})
    return found


def _fetched(found: list[Found]) -> list[Found]:
    """Bring the detections of many frames to the CPU in one go: a GPU stops for each."""
    if all(value.device.type == "cpu" for one in found for value in one.values()):
        return found
    counts = [len(one["scores"]) for one in found]
    parts = {name: torch.cat([one[name] for one in found]).cpu().split(counts) for name in found[0]}
    return [{name: part[frame] for name, part in parts.items()} for frame in range(len(found))]


def merged_detections(found: list[Found]) -> Found:
    """Return the detections of several views as one, best first.

    Two of different views are the same particle where each is the other's best by IoU, at least `SAME_IOU`. Boxes and
    masks are means weighted by the scores; the score is the mean over all views, zero where it was not found.

    Examples
    --------
    >>> import torch
    >>> masks = torch.ones(2, 28, 28)
    >>> first = {"boxes": torch.tensor([[0.0, 0, 8, 8], [20, 20, 30, 30]]), "scores": torch.tensor([0.9, 0.4])}
    >>> second = {"boxes": torch.tensor([[0.0, 0, 10, 8]]), "scores": torch.tensor([0.7])}
    >>> both = merged_detections([{**first, "masks": masks}, {**second, "masks": masks[:1]}])
    >>> [round(score, 2) for score in both["scores"].tolist()], both["boxes"][0].tolist()
    ([0.8, 0.2], [0.0, 0.0, 8.875, 8.0])
    """
    from torchvision.ops import nms  # here: see `segmentation.models.family`

    if len(found) == 1:
        return found[0]
    total, *others = (_weighted(one) for one in found)
    for one in others:
        ours, theirs = _pairs(_boxes(total), _boxes(one))
        alone = torch.ones(len(one["scores"]), dtype=torch.bool, device=one["scores"].device)
        alone[theirs] = False
        for name, value in total.items():
            value[ours] += one[name][theirs]
            total[name] = torch.cat([value, one[name][alone]])
    weight = total["scores"].clamp(min=1e-9)
    boxes, scores = _boxes(total), total["scores"] / len(found)
    kept = nms(boxes, scores, SAME_IOU)
    return {"boxes": boxes[kept], "scores": scores[kept], "masks": (total["masks"] / weight[:, None, None])[kept]}


def _weighted(found: Found) -> Found:
    scores = found["scores"].float().clone()  # the sums of all views are added up in these
    masks = found["masks"].float() * scores[:, None, None]
    return {"boxes": found["boxes"].float() * scores[:, None], "scores": scores, "masks": masks}


def _boxes(weighted: Found) -> Tensor:
    return weighted["boxes"] / weighted["scores"].clamp(min=1e-9)[:, None]


def _pairs(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of boxes that are each other's best."""
    from torchvision.ops import box_iou

    if not len(first) or not len(second):
        none = torch.zeros(0, dtype=torch.int64, device=first.device)
        return none, none
    overlap = box_iou(first, second)
    best, there = overlap.max(dim=1)
    back = overlap.argmax(dim=0)
    ours = torch.nonzero((best >= SAME_IOU) & (back[there] == torch.arange(len(first), device=first.device)))[:, 0]
    return ours, there[ours]


def _boxes_back(found: Found, axes: tuple[int, ...], sides: list[int]) -> Found:
    """Return the detections of a mirrored frame where they lie in the frame itself."""
    if not axes:
        return found
    x0, y0, x1, y1 = found["boxes"].unbind(1)
    if -1 in axes:
        x0, x1 = sides[1] - x1, sides[1] - x0
    if -2 in axes:
        y0, y1 = sides[0] - y1, sides[0] - y0
    return {"boxes": torch.stack([x0, y0, x1, y1], 1), "scores": found["scores"], "masks": found["masks"].flip(axes)}
