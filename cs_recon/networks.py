"""What the learned methods share: their output, their building blocks and the table of architectures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from torch import Tensor

    from cs_recon.batch import ScanBatch

UNSHUFFLE = 2
"""Networks work on pixels folded into channels by this factor: half the resolution, four times the channels."""

STARTS = ("pyramid", "smooth")


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """What a reconstruction network makes of a `ScanBatch`.

    Attributes
    ----------
    image, log_sigma : Tensor, shape (B, 1, H, W)
        The normalised image and the logarithm of its standard deviation, sides padded as the batch's.
    features : dict of str to (Tensor, int)
        Named feature maps (B, C, h, w) and their strides in pixels.
    fast : (Tensor, Tensor), optional
        Image and log sigma of a network's shorter preset, which training looks at too.
    """

    image: Tensor
    log_sigma: Tensor
    features: dict[str, tuple[Tensor, int]]
    fast: tuple[Tensor, Tensor] | None = None


def check_start(start: str) -> None:
    """Raise `InputError` if there is no such first guess."""
    if start not in STARTS:
        raise InputError(f"start is {start!r}{nearest_name(str(start), STARTS)}; expected {' or '.join(STARTS)}")


def first_guesses(batch: ScanBatch, start: str) -> tuple[Tensor, list[Tensor]]:
    """Return the image that a network starts from, and what it sees of first guesses besides (each (B, 1, H, W))."""
    if start == "pyramid":
        return batch.x0, []
    smooth = batch.with_smooth().smooth
    assert smooth is not None
    return smooth, [batch.x0, smooth]


class ResidualUnit(nn.Module):
    """Two 3 x 3 convolutions around a ReLU, the second times `gain` at the start, added to the input."""

    def __init__(self, width: int, gain: float = 0.3) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        scale_down(self.second, gain)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + second(relu(first(x)))``."""
        return x + self.second(F.relu(self.first(x)))


class GatedUnit(nn.Module):
    """A residual unit whose inner features are each multiplied by a gate from 0 to 1, computed from the input too."""

    def __init__(self, width: int, gain: float = 0.3) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        scale_down(self.second, gain)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x + second(relu(a) * sigmoid(g))`` with ``a, g = first(x)``."""
        a, gate = self.first(x).chunk(2, dim=1)
        return x + self.second(F.relu(a) * torch.sigmoid(gate))


@torch.no_grad()
def scale_down(layer: nn.Conv2d, gain: float) -> None:
    """Multiply a layer's weights by `gain`, so that what it adds starts small or at zero."""
    layer.weight.mul_(gain)
    if layer.bias is not None:
        layer.bias.mul_(gain)
