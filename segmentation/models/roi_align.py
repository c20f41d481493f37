"""RoIAlign over the levels of a pyramid: torchvision's, and the same ten times as fast where a CPU detects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torchvision.ops import MultiScaleRoIAlign

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SAMPLES = 2
"""Points along each side of a cell."""
CANONICAL_PX, CANONICAL_LEVEL = 112, 4
"""A box of so many pixels is looked at on level 4, at stride 16: one of 28 pixels at stride 4."""


class PyramidRoIAlign(nn.Module):
    """Pool boxes to ``cells`` x ``cells`` on the level of a pyramid that suits their size.

    Where gradients are wanted, on a GPU and in bfloat16 this is torchvision's `MultiScaleRoIAlign`. Its CPU kernel goes
    through a map once a channel; `roi_kernel` has the channels innermost, as the networks have them (channels last).

    Parameters
    ----------
    names : list of str
        The levels from the finest on, by the logarithm of their stride: ``"p2"`` at stride 4.
    cells : int
        Side of what a box becomes.

    References
    ----------
    He, Gkioxari, Dollar, Girshick, "Mask R-CNN", ICCV 2017, https://doi.org/10.1109/ICCV.2017.322 (RoIAlign); Lin et
    al., "Feature pyramid networks for object detection", CVPR 2017, https://doi.org/10.1109/CVPR.2017.106 (levels).
    """

    def __init__(self, names: list[str], cells: int) -> None:
        super().__init__()
        self.names, self.cells = names, cells
        self.finest = int(names[0].removeprefix("p"))
        self.reference = MultiScaleRoIAlign(
            names, cells, SAMPLES, canonical_scale=CANONICAL_PX, canonical_level=CANONICAL_LEVEL
        )

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Return (N, C, cells, cells) of the boxes (M, 4) of all images, in pixels of frames of these sizes."""
        maps = [features[name] for name in self.names]
        if torch.is_grad_enabled() or any(level.device.type != "cpu" or level.dtype != torch.float32 for level in maps):
            return self.reference(features, boxes, sizes)
        from segmentation.models.roi_kernel import pool_boxes

        all_boxes = torch.cat(boxes).numpy()
        frames = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
        levels = self._levels(all_boxes)
        pooled = torch.zeros((len(all_boxes), self.cells, self.cells, maps[0].shape[1]))
        for index, level in enumerate(maps):
            shrunk = all_boxes / np.float32(2 ** (self.finest + index))
            inner = level.permute(0, 2, 3, 1).contiguous().numpy()
            for frame in range(len(boxes)):
                places = np.flatnonzero((levels == index) & (frames == frame))
                pool_boxes(inner[frame], shrunk[places], places, self.cells, SAMPLES, pooled.numpy())
        return pooled.permute(0, 3, 1, 2)

    def _levels(self, boxes: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the index of the level that each box is looked at on."""
        areas = np.prod(boxes[:, 2:].astype(np.float64) - boxes[:, :2], axis=1)
        # Boxes of a whole power of two lie between levels: a millionth sends them to the coarser one, as torchvision's.
        level = np.floor(CANONICAL_LEVEL + np.log2(np.sqrt(np.fmax(areas, 1e-6)) / CANONICAL_PX) + 1e-6)
        return np.clip(level - self.finest, 0, len(self.names) - 1).astype(np.int64)
