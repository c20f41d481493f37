"""The family of networks: one table of architectures, their settings, and what their output becomes.

The networks' own modules are imported where one is made: torchvision beneath them takes a second, which a command that
runs none need not spend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from segmentation.models.settings import MaskFPNConfig, MaskRCNNConfig, MaskRPNConfig, UNetConfig
from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from segmentation.models.dense import MaskFPN, UNet
    from segmentation.models.mask_rcnn import MaskRCNN
    from segmentation.models.mask_rpn import MaskRPN

    ParticleNetwork = MaskRCNN | MaskRPN | MaskFPN | UNet

NetworkConfig = MaskRCNNConfig | MaskRPNConfig | MaskFPNConfig | UNetConfig


@dataclass(frozen=True)
class Architecture:
    """One member of the family.

    Attributes
    ----------
    config : type
        Its settings.
    regions : bool
        Whether it finds particles one by one (boxes, scores and masks), or labels every pixel (particle and depth).
    summary : str
        One line for lists.
    """

    config: type[NetworkConfig]
    regions: bool
    summary: str


ARCHITECTURES: dict[str, Architecture] = {
    "mask-rcnn": Architecture(
        MaskRCNNConfig, True, "two stages: proposals, then score, box and mask of each (default)"
    ),
    "mask-rpn": Architecture(MaskRPNConfig, True, "one stage: proposals straight to a mask head"),
    "mask-fpn": Architecture(MaskFPNConfig, False, "semantic feature pyramid, split into particles by depth"),
    "u-net": Architecture(UNetConfig, False, "U-Net with the same heads, split into particles by depth"),
}
"""The networks by name."""


def architecture_of(name: str) -> Architecture:
    """Return an architecture by its name, or raise `InputError` with the nearest one."""
    if name not in ARCHITECTURES:
        raise InputError(
            f"unknown network {name!r}{nearest_name(str(name), ARCHITECTURES)}; expected one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]


def make_network(name: str, settings: NetworkConfig | Mapping[str, object]) -> ParticleNetwork:
    """Return the untrained network of an architecture with its settings, given as such or as a mapping of fields."""
    architecture = architecture_of(name)
    if not isinstance(settings, architecture.config):
        settings = architecture.config(**settings)  # pyright: ignore[reportCallIssue]
    return _network_of(settings)


def _network_of(config: NetworkConfig) -> ParticleNetwork:
    from segmentation.models.dense import MaskFPN, UNet
    from segmentation.models.mask_rcnn import MaskRCNN
    from segmentation.models.mask_rpn import MaskRPN

    match config:
        case MaskRCNNConfig():
            return MaskRCNN(config)
        case MaskRPNConfig():
            return MaskRPN(config)
        case MaskFPNConfig():
            return MaskFPN(config)
        case UNetConfig():
            return UNet(config)
