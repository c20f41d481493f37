"""Train the unrolled reconstruction network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader

from cs_recon.batch import ScanBatch, make_batch
from cs_recon.training import LoopConfig, train
from cs_recon.training_data import PairConfig, ScanPairs
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from simulate.measurement import Measurement


@dataclass(frozen=True)
class ReconTraining:
    """Everything that decides a training run of the reconstruction network."""

    network: UnrolledConfig = field(default_factory=UnrolledConfig)
    data: PairConfig = field(default_factory=PairConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)


def train_recon(
    config: ReconTraining, folder: str | os.PathLike[str], *, device: torch.device, workers: int = 1
) -> tuple[UnrolledISTA, dict[str, Tensor]]:
    """Train (or go on training) and return the network and its averaged weights."""
    torch.manual_seed(config.loop.seed)
    model = UnrolledISTA(config.network).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def batches(start: int) -> Iterator[object]:
        size = config.loop.batch_size
        pairs = ScanPairs(config.data, config.loop.seed, config.loop.steps * size)
        order = range(start * size, config.loop.steps * size)
        return iter(
            DataLoader(pairs, size, sampler=order, num_workers=workers, collate_fn=_Collate(model.config.multiple))
        )

    def losses(item: object) -> dict[str, Tensor]:
        batch, clean = item  # pyright: ignore[reportGeneralTypeIssues]
        return recon_losses(model, batch.to(device), clean.to(device))

    averaged = train(model, losses, batches, config.loop, folder, device=device)
    return model, averaged


def recon_losses(model: UnrolledISTA, batch: ScanBatch, clean: Tensor) -> dict[str, Tensor]:
    r"""Return the losses of a batch whose clean frames (B, 1, H, W) are normalised like it.

    The image by the Charbonnier loss :math:`\sqrt{e^2 + \epsilon^2}`; its sigma by the Laplace likelihood of the error,
    which does not act on the image.
    """
    out = model(batch)
    rows, cols = clean.shape[-2:]
    error = out.image[..., :rows, :cols].float() - clean
    log_sigma = out.log_sigma[..., :rows, :cols].clamp(-7, 3)
    charbonnier = torch.sqrt(error.square() + 1e-4)
    nll = charbonnier.detach() * torch.exp(-log_sigma) + log_sigma
    # Frames differ a hundredfold in how well they can be known; without this the hopeless ones would rule the gradient.
    with torch.no_grad():
        weight = 1 / (0.05 + charbonnier.mean(dim=(1, 2, 3), keepdim=True))
        weight = weight / weight.mean()
    return {"image": (weight * charbonnier).mean(), "sigma": 0.03 * nll.mean()}


class _Collate:
    """Pairs to a batch (picklable, for loader processes)."""

    def __init__(self, multiple: int) -> None:
        self.multiple = multiple

    def __call__(self, pairs: list[tuple[Measurement, NDArray[np.float32]]]) -> tuple[ScanBatch, Tensor]:
        torch.set_num_threads(1)
        batch = make_batch([measurement for measurement, _ in pairs], multiple=self.multiple)
        clean = torch.from_numpy(np.stack([frame for _, frame in pairs])[:, None])
        return batch, ((clean - batch.offset) / batch.scale).float()


def validation_pairs(config: ReconTraining, n: int = 60) -> Iterator[tuple[Measurement, NDArray[np.float32]]]:
    """Yield pairs that training did not see: simulated ones of another seed, real ones of the validation split."""
    pairs = ScanPairs(config.data, config.loop.seed + 10_000, n, split="validation")
    return (pairs[index] for index in range(n))
