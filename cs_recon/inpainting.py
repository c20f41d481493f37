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
Li, Wang, Zhang, Du, Tao, "Recurrent feature reasoning for image inpainting", CVPR 2020,
https://doi.org/10.1109/CVPR42600.2020.00778 (one network that looks again at what it made).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from cs_recon.networks import (
    UNSHUFFLE,
    GatedUnit,
    NetworkOutput,
    ResidualUnit,
    check_start,
    first_guesses,
    scale_down,
)
from simulate.errors import InputError, check_count

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
    finest : int
        Further residual units behind the decoder, at the finest scale, where they cost fewest parameters.
    passes : int
        How often the U-Net runs: from the second time on it corrects its own image in place of the first guess, and
        sees its last features too.
    """

    widths: tuple[int, ...] = (48, 64, 96, 128)
    units: int = 2
    start: str = "pyramid"
    finest: int = 0
    passes: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        check_start(self.start)
        if len(self.widths) < 1 or min(self.widths) < 1 or self.units < 1:
            raise InputError(f"network of widths {self.widths} and {self.units} units; expected 1 or more of each")
        check_count(self.finest, "finest")
        check_count(self.passes, "passes", 1)

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
        self.finest = nn.Sequential(*(ResidualUnit(widths[0], gain=0.0) for _ in range(self.config.finest)))
        self.outlet = _outlet(widths[0])
        self.again = nn.ModuleList(_LookAgain(widths[0]) for _ in range(self.config.passes - 1))

    def forward(
        self, batch: ScanBatch, before: ScanBatch | None = None, after: ScanBatch | None = None
    ) -> NetworkOutput:
        """Reconstruct a batch, with the scans of the frames before and after it, normalised alike, if there are any."""
        image, seen = self._seen(batch)
        beside: Tensor | None = None
        if before is not None or after is not None:
            nothing = torch.zeros_like(seen)
            pair = [nothing if scan is None else self._seen(scan)[1] for scan in (before, after)]
            beside = self.neighbours(torch.cat(pair, 1))
        last, kept = self._features(self.inlet(seen), beside)
        image, log_sigma = _corrected(batch, image, self.outlet(last))
        log_sigma = log_sigma - 1.5
        first = image, log_sigma
        for again in self.again:
            assert isinstance(again, _LookAgain)
            _, seen = self._seen(batch, image)
            last, kept = self._features(self.inlet(seen) + again.carry(last), beside)
            image, more = _corrected(batch, image, again.outlet(last))
            log_sigma = log_sigma + more
        features = {"last": (last, UNSHUFFLE)}
        features |= {f"encoder/{UNSHUFFLE << scale}": (map_, UNSHUFFLE << scale) for scale, map_ in enumerate(kept)}
        return NetworkOutput(image, log_sigma, features, first if self.training and len(self.again) else None)

    def _features(self, x: Tensor, beside: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return the last features and the encoder's by scale, of what the inlet made of a scan."""
        if beside is not None:
            x = x + beside
        kept: list[Tensor] = []
        for scale, units in enumerate(self.encode):
            if scale:
                x = self.down[scale - 1](x)
            x = units(x)
            kept.append(x)
        for scale in reversed(range(len(kept) - 1)):
            coarse = F.interpolate(self.up[scale](x), scale_factor=2.0, mode="nearest")
            x = self.decode[scale](kept[scale] + coarse)
        return self.finest(x), kept

    def _seen(self, batch: ScanBatch, image: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the first guess, and a scan's channels folded: all zeros if it stands for an absent one.

        With `image`, that is what the network is to look at in place of its first guess.
        """
        level = torch.log(batch.sigma + 1e-3) / 3
        present = (batch.scan.mask.amax(dim=(1, 2, 3), keepdim=True) > 0).to(level.dtype)
        start, guesses = first_guesses(batch, self.config.start)
        guesses = [*guesses[:-1], start if image is None else image]
        channels = torch.cat([*guesses, batch.y, batch.scan.mask, level], 1) * present
        return start, F.pixel_unshuffle(channels, UNSHUFFLE)


class _LookAgain(nn.Module):
    """What a further pass has of its own: how the last features enter, and its outlet. Untrained, it changes little."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.carry = nn.Conv2d(width, width, 3, padding=1, bias=False)
        scale_down(self.carry, 0.0)
        self.outlet = _outlet(width)
        # The first pass has kept of the samples what it should.
        with torch.no_grad():
            self.outlet.bias[UNSHUFFLE**2 : 2 * UNSHUFFLE**2].fill_(-4.0)  # pyright: ignore[reportOptionalSubscript]


def _outlet(width: int) -> nn.Conv2d:
    """Return a layer for the correction to the image, how far a sample is to be kept as it is, and log sigma."""
    layer = nn.Conv2d(width, 3 * UNSHUFFLE**2, 3, padding=1)
    scale_down(layer, 0.0)
    return layer


def _corrected(batch: ScanBatch, image: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Return the image as an outlet corrects it, and what that adds to log sigma."""
    correction, keep, log_sigma = (F.pixel_shuffle(part, UNSHUFFLE).float() for part in out.chunk(3, dim=1))
    image = image + correction
    return image + torch.sigmoid(keep - 2) * batch.scan.mask * (batch.y - image), log_sigma
