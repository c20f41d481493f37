"""A compact residual backbone with a feature pyramid, at native scale, for whatever an input mapping hands over."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, resnet50
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from torch import Tensor

    from segmentation.mapping import Entry

STRIDES = (4, 8, 16, 32)
"""Strides of the pyramid's levels in pixels."""
STEM = 32
"""Channels of the stem, at stride 2."""


class Encoder(nn.Module):
    """A stem at stride 2 and residual stages at strides 4 to 32, two basic blocks each.

    Maps that come at stride 2, as a reconstruction network's features do, enter at the stem's own resolution.

    Parameters
    ----------
    entry : Entry
        Channels and stride of the maps.
    widths : tuple of int
        Channels of the stages.

    References
    ----------
    He et al., "Deep residual learning", CVPR 2016, https://doi.org/10.1109/CVPR.2016.90.
    """

    def __init__(self, entry: Entry, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = stem(entry)
        stages: list[nn.Module] = []
        for before, width in pairwise((STEM, *widths)):
            stages.append(nn.Sequential(_block(before, width, stride=2), _block(width, width, stride=1)))
        self.stages = nn.ModuleList(stages)

    def encoded(self, x: Tensor) -> list[Tensor]:
        """Return the maps of the stem and of every stage, finest first."""
        levels = [self.stem(x)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels


class Backbone(Encoder):
    """An encoder whose stages are merged by a feature pyramid.

    Parameters
    ----------
    entry, widths
        Of the encoder.
    out_channels : int
        Channels of every level of the pyramid.
    with_stem : bool
        Whether the stem is a level of the pyramid too, ``p1`` at stride 2.

    References
    ----------
    Lin et al., "Feature pyramid networks", CVPR 2017, https://doi.org/10.1109/CVPR.2017.106.
    """

    def __init__(self, entry: Entry, widths: tuple[int, ...], out_channels: int, *, with_stem: bool = False) -> None:
        super().__init__(entry, widths)
        self.with_stem = with_stem
        self.fpn = FeaturePyramidNetwork([STEM, *widths] if with_stem else list(widths), out_channels)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the pyramid's levels by name, finest first."""
        levels = OrderedDict((f"p{index}", level) for index, level in enumerate(self.encoded(x), start=1))
        if not self.with_stem:
            del levels["p1"]
        return self.fpn(levels)

    def parts(self) -> list[nn.Module]:
        """Return the parts in order, from the input on."""
        return [self.stem, *self.stages, self.fpn]


class ResNetBackbone(nn.Module):
    """torchvision's ResNet-50 with frozen batch normalisation and its feature pyramid, under torchvision's names.

    Parameters
    ----------
    entry : Entry
        Channels of the maps, whose stride must be 1.
    out_channels : int
        Channels of every level of the pyramid; COCO's weights have 256.
    """

    def __init__(self, entry: Entry, out_channels: int) -> None:
        super().__init__()
        if entry.stride != 1:
            raise InputError("backbone 'resnet50' takes images; choose mapping 'reconstruct' or 'sparse', or 'compact'")
        resnet = resnet50(norm_layer=FrozenBatchNorm2d)
        conv1 = nn.Conv2d(entry.channels, 64, 7, stride=2, padding=3, bias=False)
        stages = [(name, getattr(resnet, name)) for name in ("layer1", "layer2", "layer3", "layer4")]
        self.body = nn.Sequential(OrderedDict([("conv1", conv1), ("bn1", resnet.bn1), *stages]))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fpn = FeaturePyramidNetwork([256, 512, 1024, 2048], out_channels)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the pyramid's levels by name, finest first."""
        conv1, bn1, *stages = self.body
        x = self.pool(F.relu(bn1(conv1(x))))
        levels: OrderedDict[str, Tensor] = OrderedDict()
        for index, stage in enumerate(stages):
            x = stage(x)
            levels[f"p{index + 2}"] = x
        return self.fpn(levels)

    def parts(self) -> list[nn.Module]:
        """Return the parts in order, from the input on."""
        conv1, bn1, *stages = self.body
        return [nn.ModuleList([conv1, bn1]), *stages, self.fpn]


def make_backbone(name: str, entry: Entry, widths: tuple[int, ...], out_channels: int) -> Backbone | ResNetBackbone:
    """Return a backbone by its name."""
    if name == "compact":
        return Backbone(entry, widths, out_channels)
    if name == "resnet50":
        return ResNetBackbone(entry, out_channels)
    known = ("compact", "resnet50")
    raise InputError(f"backbone is {name!r}{nearest_name(str(name), known)}; expected {' or '.join(known)}")


def stem(entry: Entry) -> nn.Sequential:
    """Return two convolutions from a mapping's maps to `STEM` channels at stride 2."""
    if entry.stride not in (1, 2):
        raise InputError(f"the maps have stride {entry.stride}; expected 1 or 2 pixels")
    # 3 x 3 without pooling: pooling to stride 4 at once loses particles of 8 pixels.
    between = 24 if entry.stride == 1 else STEM
    return nn.Sequential(unit(entry.channels, between, stride=2 // entry.stride), unit(between, STEM, stride=1))


def unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a 3 x 3 convolution with batch normalisation and a ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _block(inputs: int, outputs: int, stride: int) -> BasicBlock:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    return BasicBlock(inputs, outputs, stride, shortcut)
