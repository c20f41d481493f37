"""Which weights of an adaptation to keep, and how sure they are: told by held-out samples that training never saw."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from cs_recon.checkpoint import load_checkpoint
from cs_recon.training import write_state
from simulate.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from cs_recon.adapt_data import HeldOut
    from cs_recon.train_recon import Network

SIGMA_LIMITS = (0.25, 4.0)
"""How far the factor on sigma may move: little is known about it where the noise rules."""
_LIKELY = 0.5
"""How well the square of that factor must be known to be believed: by this standard error (relative, above 1), half."""
_SIGNIFICANT = 2.5
"""How many standard errors better the weights must be to be kept: a smaller gain may be luck, also since they are the
best of several looks at the same samples."""


class Chooser:
    """Looks at the validation samples now and then, and keeps the weights that predict them best.

    Parameters
    ----------
    network : Network
        With the weights that the run starts from; copied.
    items : list of HeldOut
        The validation samples.
    folder : path
        Holds ``best.pt``, for runs that go on.
    temperature : float
        The factor on sigma that belongs to these weights.
    patience : int
        After how many steps without a better score to stop.
    identity : str
        What the run is of: a folder with another run is refused.
    """

    def __init__(
        self,
        network: Network,
        items: list[HeldOut],
        folder: Path,
        *,
        temperature: float,
        patience: int,
        identity: str,
    ) -> None:
        self.network, self.temperature, self.patience = copy.deepcopy(network).eval(), temperature, patience
        self.file, self.identity = folder / "best.pt", identity
        device = next(network.parameters()).device
        self.items = [item.to(device) for item in items]
        # One set of weights for all looks, so that they differ by the errors alone.
        errors, variances, noise = self._predict()
        share = torch.cat([item.share for item in self.items]).double() / len(self.items)
        self.blocks = torch.cat([item.block for item in self.items])
        self.weights = share / (noise + temperature**2 * variances + 1e-6)
        self.first = self.weights * errors
        self.before = self.score = float(self.first.sum())
        self.start: dict[str, Tensor] = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.best: dict[str, Tensor] = self.start
        self.step = self.best_step = 0
        self._restore(folder / "checkpoint.pt")

    def _restore(self, checkpoint: Path) -> None:
        if not self.file.exists() and not checkpoint.exists():
            self._write()
            return
        stored = load_checkpoint(self.file) if self.file.exists() else {}
        if stored.get("identity") != self.identity:
            raise InputError(
                f"the folder {self.file.parent} holds another run: other scans, settings or first weights; "
                "choose another --out folder"
            )
        self.best_step, self.score = int(stored["step"]), float(stored["score"])  # pyright: ignore[reportArgumentType]
        self.best = stored["best"]  # pyright: ignore[reportAttributeAccessIssue]
        if checkpoint.exists():
            self.step = int(load_checkpoint(checkpoint)["step"])  # pyright: ignore[reportArgumentType]

    def _write(self) -> None:
        state = {"identity": self.identity, "step": self.best_step, "score": self.score, "best": self.best}
        write_state(self.file, state, f"the best weights so far, of step {self.best_step}, stay")

    def finished(self, step: int) -> bool:
        """Return whether the validation samples have not been predicted better for long."""
        return step - self.best_step >= self.patience

    def check(self, step: int, averaged: dict[str, Tensor]) -> dict[str, float]:
        """Score the averaged weights of a step, keep them if they are the best."""
        self.step = step
        self.network.load_state_dict(averaged)
        score = float((self.weights * self._predict()[0]).sum())
        if score < self.score:
            self.best_step, self.score = step, score
            self.best = {name: value.detach().clone() for name, value in averaged.items()}
            self._write()
        return {"validation": score}

    def decide(self) -> tuple[dict[str, Tensor], float]:
        """Return the best weights, or the first ones if they are not surely better, and the factor on sigma."""
        self.network.load_state_dict(self.best)
        errors, variances, noise = self._predict()
        gain = by_block(self.first - self.weights * errors, self.blocks)
        # The standard error of a sum of independent terms.
        if gain.numel() < 2 or float(gain.sum()) <= _SIGNIFICANT * float(gain.std()) * gain.numel() ** 0.5:
            self.best_step, self.score = 0, self.before
            return self.start, 1.0
        return self.best, sigma_factor(errors, self.temperature**2 * variances, noise, self.blocks)

    @torch.inference_mode()
    def _predict(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return squared errors, variances by the network (before the factor) and by the noise, of all samples."""
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for item in self.items:
            out = self.network(item.batch)
            error = (out.image[item.held].float() - item.values).square()
            parts.append((error, (2 * out.log_sigma[item.held].float()).exp(), item.variance))
        errors, variances, noise = (torch.cat(tensors).double() for tensors in zip(*parts, strict=True))
        return errors, variances, noise


def by_block(terms: Tensor, blocks: Tensor) -> Tensor:
    """Return the sums of terms (N,) over the blocks (N,) that they belong to, one for each block that has some."""
    numbers = torch.unique(blocks, return_inverse=True)[1]
    return terms.new_zeros(int(numbers.max()) + 1).index_add(0, numbers, terms)


def sigma_factor(errors: Tensor, variances: Tensor, noise: Tensor, blocks: Tensor) -> float:
    r"""Return the factor :math:`T` with which noise and :math:`T^2 s^2` together explain squared errors :math:`e^2`.

    By weighted moments, :math:`T^2 = \sum w (e^2 - \sigma_n^2) / \sum w s^2`, which no shape of the noise biases;
    drawn towards 1 as far as their standard error leaves it open, and within `SIGMA_LIMITS`. All shapes (N,); what is
    in one of `blocks` counts as one observation.
    """
    weights = 1 / (noise + variances + 1e-6).square()
    scale = (weights * variances).sum()
    squared = (weights * (errors - noise)).sum() / scale
    left = by_block(weights * (errors - noise - squared * variances), blocks)
    standard_error = left.square().sum().sqrt() / scale
    trust = _LIKELY**2 / (_LIKELY**2 + (standard_error / squared.clamp(min=1)).square())
    return float((1 + trust * (squared - 1)).clamp(SIGMA_LIMITS[0] ** 2, SIGMA_LIMITS[1] ** 2).sqrt())
