"""Train the segmentation networks, by any mapping, from scratch or from other weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.data import DataLoader, get_worker_info

from cs_recon import distributed
from cs_recon.batch import ScanBatch, make_batch
from cs_recon.checkpoint import save_weights
from cs_recon.learned import UNROLLED, load_network
from cs_recon.networks import UNSHUFFLE
from cs_recon.training import LoopConfig, train
from cs_recon.unrolled import UnrolledISTA
from segmentation.learned import MULTIPLE, RECONSTRUCTOR
from segmentation.mapping import FEATURES, IMAGE_MAPS, sparse_maps, trainable_maps
from segmentation.models.family import ARCHITECTURES, make_network
from segmentation.models.settings import MaskFPNConfig, MaskRCNNConfig, MaskRPNConfig, UNetConfig
from segmentation.training_data import LabelledScenes, Sample, SceneData
from segmentation.transfer import Freezing, freeze, hold_statistics, start_from
from simulate.errors import InputError, check_within

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from torch import Tensor

    from segmentation.models.family import ParticleNetwork


def _loop() -> LoopConfig:
    return LoopConfig(learning_rate=7e-4)


@dataclass(frozen=True)
class MaskRCNNTraining:
    """Everything that decides a training run.

    Parameters
    ----------
    network, data, loop, freezing : dataclass
        The network, the images, how long and how fast, and which stages.
    reconstructor : str
        Weights of the unrolled network whose features the ``features`` mapping takes; empty: the shipped ones.
    held_share : float
        Share of the steps, the last ones, in which batch normalisation works with its running statistics, as it does
        when the network is used. A batch's own statistics adapt to its noise, which one frame's cannot: networks that
        never trained with fixed ones see particles in noise.
    joint : bool
        Whether that network is trained along; it then becomes part of the weights. It should have been trained to
        reconstruct before: Wu et al., "Learning task-specific strategies for accelerated MRI", IEEE TCI 10, 1040
        (2024), found the task's loss alone from the start to do worse.
    """

    network: MaskRCNNConfig = field(default_factory=MaskRCNNConfig)
    data: SceneData = field(default_factory=SceneData)
    loop: LoopConfig = field(default_factory=_loop)
    freezing: Freezing = field(default_factory=Freezing)
    reconstructor: str = ""
    held_share: float = 0.5
    joint: bool = False

    def __post_init__(self) -> None:
        check_within(self.held_share, "held_share", 0, 1)


@dataclass(frozen=True)
class MaskRPNTraining(MaskRCNNTraining):
    """As `MaskRCNNTraining`, of the one-stage detector."""

    network: MaskRPNConfig = field(default_factory=MaskRPNConfig)  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclass(frozen=True)
class MaskFPNTraining(MaskRCNNTraining):
    """As `MaskRCNNTraining`, of the semantic pyramid."""

    network: MaskFPNConfig = field(default_factory=MaskFPNConfig)  # pyright: ignore[reportIncompatibleVariableOverride]


@dataclass(frozen=True)
class UNetTraining(MaskRCNNTraining):
    """As `MaskRCNNTraining`, of the U-Net."""

    network: UNetConfig = field(default_factory=UNetConfig)  # pyright: ignore[reportIncompatibleVariableOverride]


SegmentTraining = MaskRCNNTraining | MaskRPNTraining | MaskFPNTraining | UNetTraining

TRAININGS: dict[str, type[SegmentTraining]] = {
    "mask-rcnn": MaskRCNNTraining,
    "mask-rpn": MaskRPNTraining,
    "mask-fpn": MaskFPNTraining,
    "u-net": UNetTraining,
}
"""The networks and the configurations of their training."""


class MappedNetwork(nn.Module):
    """A particle network behind its mapping: from maps, or from scans through a reconstruction network's features.

    Parameters
    ----------
    network : nn.Module
        The particle network.
    reconstructor : UnrolledISTA, optional
        For the ``features`` mapping.
    joint : bool
        Whether gradients reach the reconstructor; else it stays as it is.
    """

    def __init__(
        self, network: ParticleNetwork, reconstructor: UnrolledISTA | None = None, *, joint: bool = False
    ) -> None:
        super().__init__()
        self.network, self.joint = network, joint
        self.reconstructor = reconstructor
        if reconstructor is not None:
            reconstructor.requires_grad_(joint)

    def forward(self, seen: Tensor | ScanBatch, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the losses on maps (B, C, H, W) or scans."""
        return self.network(self.maps(seen), targets)[1]

    def maps(self, seen: Tensor | ScanBatch) -> Tensor:
        """Return what the particle network sees of maps (themselves) or scans."""
        if not isinstance(seen, ScanBatch):
            return seen
        if self.reconstructor is None:
            return sparse_maps(seen)
        # In evaluation mode it would keep no gradient from being computed; in training mode it looks at its preset too.
        with torch.set_grad_enabled(self.joint and torch.is_grad_enabled()):
            return trainable_maps(self.reconstructor.eval()(seen))


def train_segment(
    config: SegmentTraining,
    folder: str | os.PathLike[str],
    *,
    device: torch.device,
    workers: int = 1,
    init: str | os.PathLike[str] = "",
    pool: str | os.PathLike[str] = "",
) -> tuple[MappedNetwork, dict[str, Tensor]]:
    """Train (or go on training) and return the network behind its mapping, and the averaged weights.

    With `init`, see `transfer.start_from`, a new run starts from other weights, as far as names and shapes agree.
    Images that come again (`SceneData.distinct`) are kept in `pool`, which several runs may share; by default in a
    folder beside the checkpoint.
    """
    torch.manual_seed(config.loop.seed)
    model = make_model(config)
    if init:
        start_from(model.network, init)
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    n_stages = len(model.network.stages())

    def batches(start: int) -> Iterator[object]:
        size = config.loop.batch_size
        mapping, depth = config.network.mapping, not ARCHITECTURES[method_of(config)].regions
        length, kept = config.loop.steps * size, pool or Path(folder) / "images"
        if mapping == FEATURES and (config.joint or config.reconstructor):
            kept = None  # they change, or are another network's
        scenes = LabelledScenes(config.data, config.loop.seed, length, mapping=mapping, depth=depth, pool=kept)
        order, part = distributed.share(size, start, config.loop.steps), distributed.share_size(size)
        collate = _Collate(smooth=model.reconstructor is not None and model.reconstructor.config.start == "smooth")
        loader = DataLoader(scenes, part, sampler=order, num_workers=workers, collate_fn=collate)
        return enumerate(loader, start)  # pyright: ignore[reportReturnType]

    def losses(item: object) -> dict[str, Tensor]:
        step, (seen, targets) = item  # pyright: ignore[reportGeneralTypeIssues]
        freeze(model.network, config.freezing.trained_at(step, n_stages))
        if step >= (1 - config.held_share) * config.loop.steps:
            hold_statistics(model.network)
        seen = seen.to(device)
        if not isinstance(seen, ScanBatch):
            seen = seen.to(memory_format=torch.channels_last)
        return model(seen, [{name: value.to(device) for name, value in target.items()} for target in targets])

    averaged = train(model, losses, batches, config.loop, folder, device=device)
    return model, averaged


def make_model(config: SegmentTraining) -> MappedNetwork:
    """Return the untrained network of a configuration behind its mapping."""
    network = make_network(method_of(config), config.network)
    if config.network.mapping != FEATURES:
        if config.joint or config.reconstructor:
            raise InputError(
                f"joint is {config.joint} and reconstructor {config.reconstructor!r} with mapping "
                f"{config.network.mapping!r}; expected them with mapping {FEATURES!r} alone: choose it or drop them"
            )
        return MappedNetwork(network)
    reconstructor = load_network(UNROLLED, config.reconstructor).network
    assert isinstance(reconstructor, UnrolledISTA)
    given = IMAGE_MAPS * UNSHUFFLE**2 + reconstructor.config.widths[0]
    if config.network.feature_channels != given:
        raise InputError(
            f"feature_channels is {config.network.feature_channels}; expected {given}, which is what this "
            "reconstruction network gives: set it so under [network]"
        )
    # A copy: the loaded one is shared with everyone who reconstructs.
    own = UnrolledISTA(reconstructor.config)
    own.load_state_dict(reconstructor.state_dict())
    return MappedNetwork(network, own, joint=config.joint)


def save_segmenter(
    file: str | os.PathLike[str], averaged: dict[str, Tensor], config: SegmentTraining, operating_point: float
) -> str:
    """Write a trained network's weights, with its reconstructor's unless that is the shipped one; return their hash."""
    record = {**config.network.as_dict(), "operating_point": operating_point}
    tensors = {name.removeprefix("network."): value for name, value in averaged.items() if name.startswith("network.")}
    if (config.joint or config.reconstructor) and config.network.mapping == FEATURES:
        reconstructor = load_network(UNROLLED, config.reconstructor).network
        record["reconstructor"] = reconstructor.config.as_dict()
        tensors |= {name: value for name, value in averaged.items() if name.startswith(RECONSTRUCTOR)}
    return save_weights(file, tensors, method_of(config), record)


def method_of(config: SegmentTraining) -> str:
    """Return the method that a configuration trains."""
    return next(name for name, kind in TRAININGS.items() if type(config) is kind)


class _Collate:
    """Samples to what the network sees and its targets (picklable, for loader processes)."""

    def __init__(self, *, smooth: bool) -> None:
        self.smooth = smooth

    def __call__(self, samples: list[Sample]) -> tuple[Tensor | ScanBatch, list[dict[str, Tensor]]]:
        if get_worker_info() is not None:
            torch.set_num_threads(1)  # of a loader's process; the process that trains keeps its own
        targets = [sample.target for sample in samples]
        maps = [sample.seen for sample in samples if isinstance(sample.seen, torch.Tensor)]
        if maps:
            return torch.stack(maps), targets
        batch = make_batch(
            [sample.seen for sample in samples if not isinstance(sample.seen, torch.Tensor)], multiple=MULTIPLE
        )
        # The first guess is the one from which a scan starts in use, see `mapping.map_frames`.
        return (batch.with_smooth(fast=True) if self.smooth else batch), targets
