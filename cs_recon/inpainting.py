"""Learned inpainting: a U-Net of gated convolutions that sees which pixels are samples, alone or with its neighbours.

A gate decides for each feature and place how much of it goes on, so that the network can tell samples from holes and
rely on what was measured; partial convolution does so by a fixed rule. The frames scanned before and after may be
given too: what moves slowly was sampled there as well, at other pixels.

References
----------
Yu, Lin, Yang, Shen, Lu, Huang, "Free-form image inpainting with gated convolution", ICCV 2019,
https://doi.org/10.1109/ICCV.2019.00457.
Liu, Reda, Shih, Wang, Tao, Catanzaro, "Image inpainting for irregular holes using partial convolutions", ECCV 2018,
https://doi.org/10.1007/978-3-030-01252-6_6.
Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, https://doi.org/10.1007/978-3-319-24574-4_28.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from cs_recon.networks import UNSHUFFLE, GatedUnit, NetworkOutput, check_start, first_guesses, scale_down
from simulate.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from cs_recon.batch import ScanBatch

CHANNELS = {"pyramid": 4, "smooth": 5}
"""What the network sees of a scan, by its start: the first guess or guesses, the samples, the mask and the noise."""


@dataclass(frozen=True)
class InpaintingConfig:
    """The shape of the network.

    Parameters
    ----------
    widths : tuple of int
        Channels at strides 2, 4, 8, ... pixels.
    units : int
        Gated units of the encoder at each scale; the decoder has one.
    start : {"pyramid", "smooth"}
        The first guess that the network corrects: `ScanBatch.x0`, or `ScanBatch.smooth` (it then sees both).
    """

    widths: tuple[int, ...] = (48, 64, 96, 128)
    units: int = 2
    start: str = "pyramid"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_start(self.start)
        if len(self.widths) < 1 or min(self.widths) < 1 or self.units < 1:
            raise InputError(f"network of widths {self.widths} and {self.units} units; expected 1 or more of each")

    @property
    def multiple(self) -> int:
        """What the image sides must be a multiple of."""
        return 2 ** len(self.widths)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a plain dictionary, for weight files."""
        return asdict(self)


class InpaintingUNet(nn.Module):
    """The U-Net on a `ScanBatch`; see the module's docstring. Untrained, it returns its first guess."""

    def __init__(self, config: InpaintingConfig | None = None) -> None:
        super().__init__()
        self.config = config or InpaintingConfig()
        widths = self.config.widths
        folded = CHANNELS[self.config.start] * UNSHUFFLE**2
        self.inlet = nn.Conv2d(folded, widths[0], 3, padding=1)
        self.neighbours = nn.Conv2d(2 * folded, widths[0], 3, padding=1, bias=False)
        self.encode = nn.ModuleList(
            nn.Sequential(*(GatedUnit(width) for _ in range(self.config.units))) for width in widths
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(GatedUnit(a) for a in widths[:-1])
        # Out: the correction to the first guess, how far a sample is to be kept as it is, and log sigma.
        self.outlet = nn.Conv2d(widths[0], 3 * UNSHUFFLE**2, 3, padding=1)
        scale_down(self.outlet, 0.0)

    def forward(
        self, batch: ScanBatch, before: ScanBatch | None = None, after: ScanBatch | None = None
    ) -> NetworkOutput:
        """Reconstruct a batch, with the scans of the frames before and after it, normalised alike, if there are any."""
        start, seen = self._seen(batch)
        x = self.inlet(seen)
        if before is not None or after is not None:
            nothing = torch.zeros_like(seen)
            pair = [nothing if scan is None else self._seen(scan)[1] for scan in (before, after)]
            x = x + self.neighbours(torch.cat(pair, 1))
        kept: list[Tensor] = []
        for scale, units in enumerate(self.encode):
            if scale:
                x = self.down[scale - 1](x)
            x = units(x)
            kept.append(x)
        for scale in reversed(range(len(kept) - 1)):
            coarse = F.interpolate(self.up[scale](x), scale_factor=2.0, mode="nearest")
            x = self.decode[scale](kept[scale] + coarse)
        correction, keep, log_sigma = (
            F.pixel_shuffle(part, UNSHUFFLE).float() for part in self.outlet(x).chunk(3, dim=1)
        )
        image = start + correction
        image = image + torch.sigmoid(keep - 2) * batch.scan.mask * (batch.y - image)
        features = {"last": (x, UNSHUFFLE)}
        features |= {f"encoder/{UNSHUFFLE << scale}": (map_, UNSHUFFLE << scale) for scale, map_ in enumerate(kept)}
        return NetworkOutput(image, log_sigma - 1.5, features)

    def _seen(self, batch: ScanBatch) -> tuple[Tensor, Tensor]:
        """Return the first guess, and a scan's channels folded: all zeros if it stands for an absent one."""
        level = torch.log(batch.sigma + 1e-3) / 3
        present = (batch.scan.mask.amax(dim=(1, 2, 3), keepdim=True) > 0).to(level.dtype)
        start, guesses = first_guesses(batch, self.config.start)
        channels = torch.cat([*(guesses or [start]), batch.y, batch.scan.mask, level], 1) * present
        return start, F.pixel_unshuffle(channels, UNSHUFFLE)
