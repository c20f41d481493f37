"""Unrolled ISTA: K steps of the classical algorithm, each with a learnt multi-scale refinement.

Each step is `ista.ista_step` with a learnt step size and a proximal operator that is wavelet shrinkage (with learnt
thresholds) plus a correction by a small encoder-decoder whose features travel from step to step. The correction starts
at exactly zero, so that an untrained network *is* K iterations of ISTA.

References
----------
Gregor, LeCun, "Learning fast approximations of sparse coding", ICML 2010.
Zhang, Ghanem, "ISTA-Net", CVPR 2018, https://doi.org/10.1109/CVPR.2018.00196 (learnt transform in place of wavelets).
You, Xie, Zhang, "ISTA-Net++", ICME 2021, https://doi.org/10.1109/ICME51207.2021.9428249 (one model for all ratios).
Mou, Wang, Zhang, "Deep generalized unfolding networks", CVPR 2022, https://doi.org/10.1109/CVPR52688.2022.01692
(features that travel between steps).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from cs_recon.ista import ista_step, shrink
from cs_recon.networks import UNSHUFFLE, NetworkOutput, ResidualUnit, check_start, first_guesses
from cs_recon.wavelets import OrthogonalWavelet, soft_threshold
from simulate.errors import InputError, check_count, check_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cs_recon.batch import ScanBatch


@dataclass(frozen=True)
class UnrolledConfig:
    """The shape of the network.

    Parameters
    ----------
    steps : int
        How many ISTA steps (K).
    widths : tuple of int
        Channels of the refinement at strides 2, 4, 8, ... pixels.
    deep : int
        At how many of the finest scales the encoder has a second residual unit.
    finest : int
        How many further residual units the encoder has at the finest scale, where they cost fewest parameters.
    tied : bool
        Whether all steps share the refinement's weights (steps, thresholds and what the first step lacks excepted).
    wavelet, levels : str, int
        The orthogonal wavelet of the classical part.
    start : {"pyramid", "smooth"}
        The first guess: `ScanBatch.x0`, or `ScanBatch.smooth` (every step then sees both).
    fast_steps : int
        After how many steps the ``fast`` preset stops; training looks at the image there too. 0: two, or all if there
        are fewer.
    """

    steps: int = 5
    widths: tuple[int, ...] = (32, 48, 64, 96)
    deep: int = 0
    finest: int = 0
    tied: bool = False
    wavelet: str = "haar"
    levels: int = 3
    start: str = "smooth"
    fast_steps: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.steps < 1 or len(self.widths) < 1 or min(self.widths) < 1:
            raise InputError(f"network of {self.steps} steps and widths {self.widths}; expected 1 or more of each")
        for name in ("deep", "finest"):
            check_count(getattr(self, name), name)
        check_within(self.levels, "levels", 1, 8)
        check_start(self.start)
        if self.fast_steps == 0:
            object.__setattr__(self, "fast_steps", min(2, self.steps))
        elif not 1 <= self.fast_steps <= self.steps:
            raise InputError(f"fast_steps is {self.fast_steps}; expected 1 to {self.steps}, the steps of the network")

    @property
    def multiple(self) -> int:
        """What the image sides must be a multiple of."""
        return max(2 ** len(self.widths), 2**self.levels)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a plain dictionary, for weight files."""
        return asdict(self)


class UnrolledISTA(nn.Module):
    """K unrolled steps of ISTA on a `ScanBatch`; see the module's docstring."""

    def __init__(self, config: UnrolledConfig | None = None) -> None:
        super().__init__()
        self.config = config or UnrolledConfig()
        self.wavelet = OrthogonalWavelet(self.config.wavelet, self.config.levels)
        self.steps = nn.ModuleList(UnrolledStep(self.config, first=k == 0) for k in range(self.config.steps))
        if self.config.tied:
            for step in self.steps[2:]:
                step.refine = self.steps[1].refine
        self.sigma_head = nn.Conv2d(self.config.widths[0], UNSHUFFLE**2, 3, padding=1)
        nn.init.zeros_(self.sigma_head.weight)
        nn.init.constant_(self.sigma_head.bias, -1.5)  # pyright: ignore[reportArgumentType]

    def forward(self, batch: ScanBatch, steps: int | None = None) -> NetworkOutput:
        """Reconstruct a batch, by the first `steps` steps or all of them."""
        x, seen = first_guesses(batch, self.config.start)
        hidden: Tensor | None = None
        codes: dict[str, tuple[Tensor, int]] = {}
        fast: tuple[Tensor, Tensor] | None = None
        # Noise from 1e-3 to 10 standard deviations, on a scale that a convolution can read.
        level = torch.log(batch.sigma + 1e-3) / 3
        context = F.pixel_unshuffle(torch.cat([batch.scan.mask, level, *seen], 1), UNSHUFFLE)
        for k, step in enumerate(self.steps[:steps], start=1):
            assert isinstance(step, UnrolledStep)
            x, hidden, codes = step(x, hidden, batch, context, self.wavelet)
            assert hidden is not None
            if self.training and k == self.config.fast_steps:
                fast = x, self._log_sigma(hidden)
        assert hidden is not None
        return NetworkOutput(x, self._log_sigma(hidden), {"last": (hidden, UNSHUFFLE), **codes}, fast)

    def _log_sigma(self, hidden: Tensor) -> Tensor:
        return F.pixel_shuffle(self.sigma_head(hidden), UNSHUFFLE).float()


class UnrolledStep(nn.Module):
    """One step: a gradient step, wavelet shrinkage, and a learnt correction."""

    def __init__(self, config: UnrolledConfig, *, first: bool) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.ones(()))
        # Thresholds in units of the noise (plus a little, for noise-free scans), coarse to fine.
        self.log_threshold = nn.Parameter(torch.linspace(-2.5, -0.5, config.levels))
        hidden = 0 if first else config.widths[0]
        # In: the point after the gradient step and what shrinkage made of it, the mask, the noise,
        # the first guesses, and the features.
        seen = 4 if config.start == "pyramid" else 6
        self.refine = MultiScaleRefinement(seen * UNSHUFFLE**2 + hidden, config.widths, config.deep, config.finest)

    def thresholds(self, noise: Tensor) -> list[Tensor]:
        """Return the shrinkage thresholds by level, coarse to fine, for noise levels (B, 1, 1, 1)."""
        return [torch.exp(t) * (noise + 0.01) for t in self.log_threshold]

    def forward(
        self,
        x: Tensor,
        hidden: Tensor | None,
        batch: ScanBatch,
        context: Tensor,
        wavelet: OrthogonalWavelet,
    ) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, int]]]:
        """Return the next iterate, the features to carry on, and the sparse codes."""
        classical = shrink(wavelet, self.thresholds(batch.noise))
        kept: list[tuple[Tensor, dict[str, tuple[Tensor, int]]]] = []

        def prox(v: Tensor) -> Tensor:
            shrunk = classical(v)
            seen = F.pixel_unshuffle(torch.cat([v, shrunk], 1), UNSHUFFLE)
            inputs = [seen, context] if hidden is None else [seen, context, hidden]
            correction, features, codes = self.refine(torch.cat(inputs, 1))
            kept.append((features, codes))
            return shrunk + F.pixel_shuffle(correction, UNSHUFFLE).float()

        gradient: Callable[[Tensor], Tensor] = lambda point: batch.scan.gradient(point, batch.y)  # noqa: E731
        new = ista_step(x, gradient, prox, self.step)
        return new, *kept[0]


class MultiScaleRefinement(nn.Module):
    """An encoder-decoder with soft-thresholded codes at each scale; its last layer starts at zero."""

    def __init__(self, inputs: int, widths: tuple[int, ...], deep: int = 0, finest: int = 0) -> None:
        super().__init__()
        self.inlet = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.encode = nn.ModuleList(ResidualUnit(width) for width in widths)
        self.deepen = nn.ModuleList(ResidualUnit(width, gain=0.0) for width in widths[:deep])
        self.finest = nn.Sequential(*(ResidualUnit(widths[0], gain=0.0) for _ in range(finest)))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(nn.Conv2d(a, a, 3, padding=1) for a in widths[:-1])
        # One list of parameters of its own per scale: thresholds shared by accident would be tied in training.
        self.threshold = nn.ParameterList(torch.full((1, width, 1, 1), 0.01) for width in widths)
        self.outlet = nn.Conv2d(widths[0], UNSHUFFLE**2, 3, padding=1)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, int]]]:
        """Return the correction (B, 4, h, w), the features (B, C, h, w) and the sparse codes by scale."""
        x = self.inlet(x)
        codes: list[Tensor] = []
        for scale, unit in enumerate(self.encode):
            if scale:
                x = self.down[scale - 1](codes[-1])
            x = unit(x)
            if scale < len(self.deepen):
                x = self.deepen[scale](x)
            if scale == 0:
                x = self.finest(x)
            codes.append(soft_threshold(x, self.threshold[scale].to(x.dtype).abs()))
        x = codes[-1]
        for scale in reversed(range(len(codes) - 1)):
            coarse = F.interpolate(self.up[scale](x), scale_factor=2.0, mode="nearest")
            x = F.relu(self.decode[scale](codes[scale] + coarse)) + codes[scale]
        named = {f"codes/{UNSHUFFLE << scale}": (code, UNSHUFFLE << scale) for scale, code in enumerate(codes)}
        return self.outlet(x), x, named
