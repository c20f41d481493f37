"""A compact residual backbone with a feature pyramid, for one-channel images at native scale."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork

if TYPE_CHECKING:
    from torch import Tensor

STRIDES = (4, 8, 16, 32)
"""Strides of the pyramid's levels in pixels."""


class Backbone(nn.Module):
    """Residual stages at strides 4 to 32 (two basic blocks each), merged by a feature pyramid.

    Parameters
    ----------
    inputs : int
        Channels of the input image.
    widths : tuple of int
        Channels of the four stages.
    out_channels : int
        Channels of every level of the pyramid.

    References
    ----------
    He et al., "Deep residual learning", CVPR 2016, https://doi.org/10.1109/CVPR.2016.90.
    Lin et al., "Feature pyramid networks", CVPR 2017, https://doi.org/10.1109/CVPR.2017.106.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        # A 3 x 3 stem at stride 2 without pooling: pooling to stride 4 at once loses particles of 8 pixels.
        self.stem = nn.Sequential(_unit(inputs, 24, stride=2), _unit(24, 32, stride=1))
        stages: list[nn.Module] = []
        before = 32
        for width in widths:
            stages.append(nn.Sequential(_block(before, width, stride=2), _block(width, width, stride=1)))
            before = width
        self.stages = nn.ModuleList(stages)
        self.fpn = FeaturePyramidNetwork(list(widths), out_channels)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the pyramid's levels by name, finest first."""
        x = self.stem(x)
        levels: OrderedDict[str, Tensor] = OrderedDict()
        for index, stage in enumerate(self.stages):
            x = stage(x)
            levels[f"p{index + 2}"] = x
        return self.fpn(levels)


def _unit(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _block(inputs: int, outputs: int, stride: int) -> BasicBlock:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    return BasicBlock(inputs, outputs, stride, shortcut)
