"""Train the reconstruction networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info

from cs_recon import distributed
from cs_recon.batch import ScanBatch, make_batch, neighbour_batch
from cs_recon.calibrate import Z90
from cs_recon.checkpoint import load_weights
from cs_recon.inpainting import InpaintingConfig, InpaintingUNet
from cs_recon.training import LoopConfig, train
from cs_recon.training_data import Pair, PairConfig, ScanPairs
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from simulate.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from torch import Tensor


SMALLEST_ERROR = 1e-4
"""Mean square errors below this (of a variance of 1) count as none: some frames can be known exactly."""
FAST_SHARE = 0.3
SIGMA_SHARE = 0.5
SMALLEST_DEVIATION = 1e-4
"""Errors well below this (of a standard deviation of 1) count alike in the loss of sigma."""

Network = UnrolledISTA | InpaintingUNet


@dataclass(frozen=True)
class UnrolledTraining:
    """Everything that decides a training run of the unrolled network."""

    network: UnrolledConfig = field(default_factory=UnrolledConfig)
    data: PairConfig = field(default_factory=PairConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)


@dataclass(frozen=True)
class InpaintingTraining:
    """Everything that decides a training run of the inpainting network."""

    network: InpaintingConfig = field(default_factory=InpaintingConfig)
    data: PairConfig = field(default_factory=lambda: PairConfig(movie_share=0.3))
    loop: LoopConfig = field(default_factory=LoopConfig)


ReconTraining = UnrolledTraining | InpaintingTraining

TRAININGS: dict[str, type[UnrolledTraining] | type[InpaintingTraining]] = {
    "unrolled-ista": UnrolledTraining,
    "inpainting": InpaintingTraining,
}
"""The learned methods and the configurations of their training."""


def make_network(config: UnrolledConfig | InpaintingConfig) -> Network:
    """Return the untrained network of a configuration."""
    return UnrolledISTA(config) if isinstance(config, UnrolledConfig) else InpaintingUNet(config)


def train_recon(
    config: ReconTraining,
    folder: str | os.PathLike[str],
    *,
    device: torch.device,
    workers: int = 1,
    init: str | os.PathLike[str] = "",
) -> tuple[Network, dict[str, Tensor]]:
    """Train (or go on training) and return the network and its averaged weights.

    With `init`, a weights file of the same method, a new run starts from its weights, as far as names and shapes agree.
    """
    torch.manual_seed(config.loop.seed)
    model = make_network(config.network)
    if init:
        start_from(model, init)
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def batches(start: int) -> Iterator[object]:
        size = config.loop.batch_size
        pairs = ScanPairs(config.data, config.loop.seed, config.loop.steps * size)
        order = distributed.share(size, start, config.loop.steps)
        part = distributed.share_size(size)
        collate = _Collate(model.config.multiple, smooth=model.config.start == "smooth")
        return iter(DataLoader(pairs, part, sampler=order, num_workers=workers, collate_fn=collate))

    def losses(item: object) -> dict[str, Tensor]:
        assert isinstance(item, Item)
        return recon_losses(model, item.to(device))

    averaged = train(model, losses, batches, config.loop, folder, device=device)
    return model, averaged


def start_from(model: Network, file: str | os.PathLike[str]) -> list[str]:
    """Copy a file's tensors into a network where name and shape agree; return the names left as they were."""
    method = "unrolled-ista" if isinstance(model, UnrolledISTA) else "inpainting"
    given = load_weights(file, method).tensors
    state = model.state_dict()
    fitting = {
        name: value.float() for name, value in given.items() if name in state and state[name].shape == value.shape
    }
    if not fitting:
        raise InputError(f"{file} shares no tensor with the network of the configuration; expected a similar network")
    model.load_state_dict(fitting, strict=False)
    return [name for name in state if name not in fitting]


@dataclass(frozen=True, eq=False)
class Item:
    """A batch of scans, their clean frames (B, 1, H, W) normalised like it, and the neighbours' scans, if any."""

    batch: ScanBatch
    clean: Tensor
    before: ScanBatch | None = None
    after: ScanBatch | None = None

    def to(self, device: torch.device | str) -> Item:
        """Return the item on another device."""
        before, after = (None if scan is None else scan.to(device) for scan in (self.before, self.after))
        return Item(self.batch.to(device), self.clean.to(device), before, after)


def recon_losses(model: Network, item: Item) -> dict[str, Tensor]:
    r"""Return the losses of an item.

    The image by the logarithm of each frame's mean square error, whose mean is the mean PSNR (a loss of Chen et al.,
    "Simple baselines for image restoration", ECCV 2022, https://doi.org/10.1007/978-3-031-20071-7_2): frames differ
    a hundredfold in how well they can be known, and each counts alike. Sigma by `sigma_loss`, which does not act on the
    image.
    """
    out = model(item.batch) if isinstance(model, UnrolledISTA) else model(item.batch, item.before, item.after)
    image, sigma = _image_and_sigma_loss(out.image, out.log_sigma, item.clean)
    losses = {"image": image, "sigma": SIGMA_SHARE * sigma}
    if out.fast is not None:
        image, sigma = _image_and_sigma_loss(out.fast[0], out.fast[1], item.clean)
        losses["fast"] = FAST_SHARE * (image + SIGMA_SHARE * sigma)
    return losses


def _image_and_sigma_loss(image: Tensor, log_sigma: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    rows, cols = clean.shape[-2:]
    error = image[..., :rows, :cols].float() - clean
    log_sigma = log_sigma[..., :rows, :cols].clamp(-7, 3)
    mse = error.square().mean(dim=(1, 2, 3))
    return 0.5 * torch.log(mse + SMALLEST_ERROR).mean(), sigma_loss(error.detach(), log_sigma)


def sigma_loss(error: Tensor, log_sigma: Tensor) -> Tensor:
    r"""Return the quantile (pinball) loss of :math:`\log|e|`, least where 90 % of the errors lie within 1.645 sigma.

    And so wherever the network can tell places, doses and kinds of frames apart, while one factor on sigma
    (`calibrate.calibrate_sigma`) sets their mean right alone: Romano, Patterson, Candès, "Conformalized quantile
    regression", NeurIPS 2019, https://arxiv.org/abs/1905.03222.

    Parameters
    ----------
    error, log_sigma : Tensor
        Of one shape.
    """
    beyond = torch.log(error.abs() + SMALLEST_DEVIATION) - log_sigma - math.log(Z90)
    return torch.maximum(0.9 * beyond, -0.1 * beyond).mean()


class _Collate:
    """Pairs to an item (picklable, for loader processes)."""

    def __init__(self, multiple: int, *, smooth: bool) -> None:
        self.multiple, self.smooth = multiple, smooth

    def __call__(self, pairs: list[Pair]) -> Item:
        if get_worker_info() is not None:
            torch.set_num_threads(1)  # of a loader's process; the process that trains keeps its own
        batch = self._start(make_batch([pair.scan for pair in pairs], multiple=self.multiple))
        clean = torch.from_numpy(np.stack([pair.clean for pair in pairs])[:, None])
        clean = ((clean - batch.offset) / batch.scale).float()
        if all(pair.before is None for pair in pairs):
            return Item(batch, clean)
        of = [pair.scan for pair in pairs]
        before = self._start(neighbour_batch([pair.before for pair in pairs], of, batch))
        after = self._start(neighbour_batch([pair.after for pair in pairs], of, batch))
        return Item(batch, clean, before, after)

    def _start(self, batch: ScanBatch) -> ScanBatch:
        return batch.with_smooth() if self.smooth else batch


def validation_pairs(config: ReconTraining, ratio: float, n: int = 40) -> Iterator[Pair]:
    """Yield pairs of a sampling ratio that training did not see: other seeds, real images of the validation split."""
    data = replace(config.data, min_ratio=ratio, max_ratio=ratio, movie_share=0.0)
    pairs = ScanPairs(data, config.loop.seed + 10_000, n, split="validation")
    return (pairs[index] for index in range(n))
