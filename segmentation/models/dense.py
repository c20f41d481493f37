"""Networks that label every pixel: a semantic feature pyramid and a U-Net, with the same heads.

Both predict for each pixel whether it is particle, and how deep inside its particle it lies (0 at the outline, 1 at the
deepest point): level sets of that depth part particles that touch, see `segmentation.split`.

References
----------
Kirillov, Girshick, He, Dollár, "Panoptic feature pyramid networks", CVPR 2019,
https://doi.org/10.1109/CVPR.2019.00656.
Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, https://doi.org/10.1007/978-3-319-24574-4_28.
Naylor, Laé, Reyal, Walter, "Segmentation of nuclei in histopathology images by deep regression of the distance map",
IEEE Trans. Med. Imaging 38, 448 (2019), https://doi.org/10.1109/TMI.2018.2865709.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from segmentation.mapping import entry_of
from segmentation.models.backbone import STEM, Backbone, Encoder, unit
from segmentation.models.settings import MaskFPNConfig, UNetConfig

if TYPE_CHECKING:
    from torch import Tensor

    from segmentation.models.regions import Target

DEPTH_WEIGHT = 4.0


class MaskFPN(nn.Module):
    """A feature pyramid from stride 2 on, whose levels are summed at the finest."""

    def __init__(self, config: MaskFPNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MaskFPNConfig()
        self.entry = entry_of(config.mapping, config.feature_channels)
        self.backbone = Backbone(self.entry, config.widths, config.pyramid, with_stem=True)
        self.heads = DenseHeads(config.pyramid)

    def forward(
        self, maps: Tensor, targets: list[Target] | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return maps or losses; see `dense_output`."""
        finest, *coarser = self.backbone(maps).values()
        summed = finest
        for level in coarser:
            summed = summed + F.interpolate(level, finest.shape[-2:], mode="bilinear", align_corners=False)
        return dense_output(self.heads(summed), targets)

    def stages(self) -> list[nn.Module]:
        """Return the network's parts in order, from the input on, for freezing all but the last ones."""
        return [*self.backbone.parts(), self.heads]


class UNet(nn.Module):
    """The residual encoder of the other networks and a decoder of two convolutions a scale, joined at every scale."""

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UNetConfig()
        self.entry = entry_of(config.mapping, config.feature_channels)
        widths = (STEM, *config.widths)
        self.backbone = Encoder(self.entry, config.widths)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(nn.Sequential(unit(2 * a, a), unit(a, a)) for a in widths[:-1])
        self.heads = DenseHeads(STEM)

    def forward(
        self, maps: Tensor, targets: list[Target] | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return maps or losses; see `dense_output`."""
        kept = self.backbone.encoded(maps)
        x = kept[-1]
        for scale in reversed(range(len(self.decode))):
            # To the finer map's own sides: of a frame padded to multiples of 32, strides beyond 32 leave uneven ones.
            sides = kept[scale].shape[-2:]
            coarse = F.interpolate(self.up[scale](x), sides, mode="bilinear", align_corners=False)
            x = self.decode[scale](torch.cat([kept[scale], coarse], 1))
        return dense_output(self.heads(x), targets)

    def stages(self) -> list[nn.Module]:
        """Return the network's parts in order, from the input on, for freezing all but the last ones."""
        return [self.backbone.stem, *self.backbone.stages, nn.ModuleList([self.up, self.decode]), self.heads]


class DenseHeads(nn.Module):
    """From features at stride 2 to two logits at every pixel: particle, and depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.refine = unit(width, width)
        self.outlet = nn.Conv2d(width, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 2, H, W) of features (B, C, H/2, W/2)."""
        return F.pixel_shuffle(self.outlet(self.refine(x)), 2).float()


def dense_output(logits: Tensor, targets: list[Target] | None) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    r"""Return for each image its maps, or the losses if there are targets.

    Parameters
    ----------
    logits : Tensor, shape (B, 2, H, W)
        Of particle and depth.
    targets : list of dict, for training
        For each image ``label_map`` (H, W) and ``depth`` (H, W), as of `depth_map`.

    Returns
    -------
    maps : list of dict
        ``particle`` and ``depth`` (H, W), each from 0 to 1.
    losses : dict
        ``particle``: cross-entropy plus one minus the soft Dice overlap; ``depth``: the absolute error, over particles
        in full and elsewhere by a fifth.
    """
    if targets is None:
        particle, depth = logits.sigmoid().unbind(1)
        return [{"particle": p, "depth": d} for p, d in zip(particle, depth, strict=True)], {}
    inside = torch.stack([target["label_map"] > 0 for target in targets]).float()
    wanted = torch.stack([target["depth"] for target in targets]).float()
    entropy = F.binary_cross_entropy_with_logits(logits[:, 0], inside)
    particle, depth = logits.sigmoid().unbind(1)
    dice = 1 - (2 * (particle * inside).sum() + 1) / (particle.sum() + inside.sum() + 1)
    error = (depth - wanted).abs() * (0.2 + 0.8 * inside)
    return [], {"particle": entropy + dice, "depth": DEPTH_WEIGHT * error.mean()}
