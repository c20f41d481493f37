r"""Fine-tune a reconstruction network on a microscope's own sparse scans, without any ground truth.

A random part of a scan's samples is held out; the network reconstructs from the rest and is judged where it was not
told the answer. The noise of what it is judged by is independent of all that the network saw, so that

.. math:: E\,(y_i - f_i)^2 = E\,(x_i - f_i)^2 + \mathrm{Var}(n_i)

and to predict the samples better *is* to reconstruct the frame better. Each sample counts by the inverse of what its
squared error should be, noise and uncertainty together.

References
----------
Yaman et al., "Self-supervised learning of physics-guided reconstruction neural networks without fully sampled reference
data", Magn. Reson. Med. 84, 3172 (2020), https://doi.org/10.1002/mrm.28378.
Batson, Royer, "Noise2Self: blind denoising by self-supervision", ICML 2019.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from cs_recon.adapt_choice import Chooser
from cs_recon.adapt_data import HeldOut, HeldOutScans
from cs_recon.checkpoint import save_weights
from cs_recon.device import pick_device
from cs_recon.learned import NETWORKS, UNROLLED, load_network
from cs_recon.training import LoopConfig, train
from simulate.atomic import make_folder
from simulate.errors import InputError, check_count, check_positive, check_within, nearest_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from cs_recon.train_recon import Network
    from simulate.measurement import Measurement

_SIGMA_SHARE = 0.03


@dataclass(frozen=True)
class AdaptConfig:
    """How to adapt.

    Parameters
    ----------
    steps : int
        Optimiser steps at most.
    batch_size : int
        Crops a step.
    learning_rate : float
        Peak learning rate; low, since the network knows most already.
    crop : int
        Side of the crops in pixels (the smallest scan's, if that is smaller).
    check_every, patience : int
        Steps between looks at the validation samples, and after how many looks without a better one to stop.
    validation_share : float
        Share of each scan's samples that training never sees, which choose the best weights.
    validation_crops : int
        On how many crops they are predicted.
    seed : int
        Seed of crops and of what is held out.
    """

    steps: int = 400
    batch_size: int = 4
    learning_rate: float = 3e-4
    crop: int = 128
    check_every: int = 25
    patience: int = 6
    validation_share: float = 0.1
    validation_crops: int = 24
    seed: int = 1

    def __post_init__(self) -> None:
        smallest = {"crop": 16, "seed": 0}
        for name in ("steps", "batch_size", "check_every", "patience", "validation_crops", "crop", "seed"):
            check_count(getattr(self, name), name, smallest.get(name, 1))
            object.__setattr__(self, name, int(getattr(self, name)))
        check_positive(self.learning_rate, "learning_rate")
        check_within(self.validation_share, "validation_share", 0.01, 0.5)


@dataclass(frozen=True)
class Adapted:
    """What an adaptation gave.

    Attributes
    ----------
    weights : Path
        The weights file, for ``reconstruct(..., weights=...)``.
    sha256 : str
        Hash of its tensors.
    steps, best_step : int
        Steps done, and the step whose weights were kept: 0 for those it started from, where none was surely better.
    before, after : float
        Weighted mean squared error of the validation samples; 1 is what noise and uncertainty should make of it.
    sigma_factor : float
        By what the first weights' factors on sigma were multiplied.
    """

    weights: Path
    sha256: str
    steps: int
    best_step: int
    before: float
    after: float
    sigma_factor: float


def adapt(
    measurements: Measurement | Sequence[Measurement],
    folder: str | os.PathLike[str],
    *,
    method: str = UNROLLED,
    weights: str = "",
    config: AdaptConfig | None = None,
    device: str = "auto",
) -> Adapted:
    """Fine-tune a network on sparse scans alone; a run that was killed goes on from its last checkpoint.

    Parameters
    ----------
    measurements : Measurement or sequence of Measurement
        Scans of one kind of sample, microscope and dose, of any shapes; more scans teach more.
    folder : path
        Holds checkpoint, log, its curve, and ``METHOD.safetensors``, the adapted weights.
    method : str
        The network.
    weights : str
        The weights file to start from; the shipped one if empty.
    config : AdaptConfig, optional
        Lengths and rates.
    device : {"auto", "cpu", "cuda"}
        Where to compute.

    Returns
    -------
    Adapted

    Raises
    ------
    InputError
        If a scan has too few samples, or the folder holds an adaptation of other scans or settings.

    Examples
    --------
    >>> adapted = adapt([scan], "my-microscope")  # doctest: +SKIP
    >>> image = reconstruct(scan, "unrolled-ista", weights=str(adapted.weights))  # doctest: +SKIP
    """
    config = config or AdaptConfig()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("adapting runs in one process; expected no torchrun around it")
    scans = list(measurements) if isinstance(measurements, Sequence) else [measurements]
    target = pick_device(device)
    if method not in NETWORKS:
        raise InputError(
            f"unknown network {method!r}{nearest_name(str(method), NETWORKS)}; expected one of {', '.join(NETWORKS)}"
        )
    loaded = load_network(method, weights, target)
    network = copy.deepcopy(loaded.network)  # that of `loaded` is shared by all who reconstruct
    data = HeldOutScans(
        scans, crop=config.crop, multiple=network.config.multiple, share=config.validation_share, seed=config.seed
    )
    temperature = loaded.calibrations["full"].at(
        float(np.exp(np.mean([np.log(scan.ratio) for scan in data.scans]))),
        "told" if all(scan.noise_is_told for scan in data.scans) else "untold",
    )
    folder = make_folder(folder)
    chooser = Chooser(
        network,
        data.validation(config.validation_crops, (config.seed, 2)),
        folder,
        temperature=temperature,
        patience=config.patience * config.check_every,
        identity=_identity(data, config, method, str(loaded.info["weights_sha256"])),
    )

    def batches(start: int) -> Iterator[object]:
        for step in range(start, config.steps):
            if chooser.finished(step):
                return
            yield data.draw(config.batch_size, (config.seed, 0, step))

    def losses(item: object) -> dict[str, Tensor]:
        assert isinstance(item, HeldOut)
        return held_out_losses(network, item.to(target), temperature)

    loop = LoopConfig(
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=20,
        weight_decay=0.0,
        average=0.98,
        save_every=config.check_every,
        seed=config.seed,
    )
    train(network, losses, batches, loop, folder, device=target, check=chooser.check)
    best, factor = chooser.decide()
    sigma = {f"sigma_{preset}": known.times(factor).as_dict() for preset, known in loaded.calibrations.items()}
    file = folder / f"{method}.safetensors"
    sha256 = save_weights(file, best, method, {**network.config.as_dict(), **sigma})
    return Adapted(file, sha256, chooser.step, chooser.best_step, chooser.before, chooser.score, factor)


def held_out_losses(network: Network, item: HeldOut, temperature: float) -> dict[str, Tensor]:
    r"""Return the losses of a network on held-out samples.

    The image by the squared error over the variance that it should have, :math:`\sigma_n^2 + s^2`, of noise and image;
    only squares make the mean over the noise fall where the truth is. The image's :math:`s` by the normal likelihood.
    """
    out = network(item.batch)
    losses: dict[str, Tensor] = {}
    fast = getattr(out, "fast", None)
    for name, pair in (("", (out.image, out.log_sigma)), ("fast_", fast)):
        if pair is None:
            continue
        image, log_sigma = (part[item.held].float() for part in pair)
        variance = (temperature * log_sigma.clamp(-7, 3).exp()).square()
        error = (image - item.values).square()
        weight = 1 / (item.variance + variance.detach() + 1e-6)
        losses[f"{name}image"] = (1.0 if not name else 0.5) * (item.share * weight * error).sum()
        total = item.variance + variance + 1e-6
        losses[f"{name}sigma"] = _SIGMA_SHARE * (item.share * (total.log() + error.detach() / total)).sum()
    return losses


def _identity(data: HeldOutScans, config: AdaptConfig, method: str, digest: str) -> str:
    """Return a hash of everything that decides a run but its length and rate."""
    # What may be changed when a run goes on: how long, and how fast where the loss became infinite.
    settings = {name: value for name, value in asdict(config).items() if name not in ("steps", "learning_rate")}
    sha = hashlib.sha256(json.dumps([method, digest, settings]).encode())
    for scan in data.scans:
        sha.update(scan.values.tobytes() + scan.mask.tobytes())
        sha.update(b"" if scan.exposure is None else scan.exposure.tobytes())
        sha.update(json.dumps([scan.counts_per_unit, scan.black_level, scan.read_noise]).encode())
    return sha.hexdigest()
