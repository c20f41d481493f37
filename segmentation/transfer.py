"""Transfer learning: start from other weights, and train only the last stages at first.

Yosinski, Clune, Bengio, Lipson, "How transferable are features in deep neural networks?", NeurIPS 2014: the first
stages of a network are much the same whatever it was trained on, so that little data can be spent on the last ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import nn

from segmentation.mapping import FEATURES, IMAGE_MAPS
from segmentation.models.family import ARCHITECTURES, make_network
from segmentation.shipped import read_weights, save_difference, shipped_file
from simulate.errors import InputError, check_count

if TYPE_CHECKING:
    import os

    from torch import Tensor

    from segmentation.models.family import ParticleNetwork

COCO = "coco"
_OF_A_BLOCK = re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)(\.(?:weight|bias))$")
_OF_THE_PROPOSALS = re.compile(r"^(rpn\.head\.conv)(\.(?:weight|bias))$")


@dataclass(frozen=True)
class Freezing:
    """Which stages of a network are trained when.

    Parameters
    ----------
    train_last : int
        Only so many of the last stages are trained; 0: all.
    unfreeze_every : int
        Steps after which one more stage is trained, and again; 0: never.
    """

    train_last: int = 0
    unfreeze_every: int = 0

    def __post_init__(self) -> None:
        check_count(self.train_last, "train_last", 0)
        check_count(self.unfreeze_every, "unfreeze_every", 0)
        if self.unfreeze_every and not self.train_last:
            raise InputError(
                "unfreeze_every adds stages to train_last, which is 0: all are trained; give both, or none"
            )

    def trained_at(self, step: int, n_stages: int) -> int:
        """Return how many of the last stages are trained at a step.

        Examples
        --------
        >>> [Freezing(3, 100).trained_at(step, 5) for step in (0, 99, 100, 250)]
        [3, 3, 4, 5]
        """
        if self.train_last == 0:
            return n_stages
        if self.train_last > n_stages:
            raise InputError(f"train_last is {self.train_last}; expected at most {n_stages}, the stages of the network")
        more = step // self.unfreeze_every if self.unfreeze_every else 0
        return min(n_stages, self.train_last + more)


def freeze(network: ParticleNetwork, trained: int) -> None:
    """Let only the last `trained` stages of a network learn.

    The others keep their weights, and their batch normalisation the means and variances it has: in training mode it
    would go on following the data's.
    """
    stages = network.stages()
    if not 1 <= trained <= len(stages):
        raise InputError(f"{trained} stages are to be trained; expected 1 to {len(stages)}, the stages of the network")
    for index, stage in enumerate(stages):
        learns = index >= len(stages) - trained
        for parameter in stage.parameters():
            parameter.requires_grad_(learns)
        for module in stage.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(learns and network.training)


def hold_statistics(network: nn.Module) -> None:
    """Let batch normalisation use the means and variances it has, as it does after training, and keep them."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def start_from(network: ParticleNetwork, init: str | os.PathLike[str]) -> list[str]:
    """Copy weights into a network where name and shape agree, and return the names of the tensors that were copied.

    A network of features starts with the stem of one of images, see `unfolded_stem`: it then finds exactly what that
    finds on the reconstruction.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    init : path, or ``"coco"``
        A weights file of any member of the family, or torchvision's Mask R-CNN trained on COCO, which fits a
        `MaskRCNN` with ``backbone="resnet50"``.

    Raises
    ------
    InputError
        If the file is no such weights, nothing in it fits, or COCO's weights can't be had.
    """
    given = coco_tensors(network) if init == COCO else read_weights(init, tuple(ARCHITECTURES)).tensors
    state = network.state_dict()
    given = {**given, **unfolded_stem(given, state)}
    fitting = {
        name: value.to(state[name].dtype)
        for name, value in given.items()
        if name in state and state[name].shape == value.shape
    }
    if not fitting:
        raise InputError(
            f"{init} shares no tensor with the network of the configuration; expected a network with such parts, for "
            f'{COCO!r} a mask-rcnn with backbone = "resnet50"'
        )
    network.load_state_dict(fitting, strict=False)
    return sorted(fitting)


def carry_over(file: str | os.PathLike[str], method: str, operating_point: float) -> str:
    """Write the detector of the ``features`` mapping that finds what the shipped one finds on the reconstruction.

    The file holds the first layers alone (`shipped.save_difference`). Returns the hash of all tensors.

    Parameters
    ----------
    file : path
        Where to write.
    method : str
        A name from `ARCHITECTURES`.
    operating_point : float
        The score from which on a detection counts.
    """
    with shipped_file(method) as base:
        weights = read_weights(base, (method,))
        # How many features there are is the reconstruction network's business, not that of the detector of images.
        settings = {name: value for name, value in weights.config.items() if name != "feature_channels"}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the spare channels, which nothing sees yet
            network = make_network(method, {**settings, "mapping": FEATURES, "operating_point": operating_point})
        start_from(network, base)
    return save_difference(file, network.state_dict(), method, network.config.as_dict(), method)


def unfolded_stem(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the stem of a network of images as one of the ``features`` mapping; nothing if the two are not these.

    That mapping shows the image's maps folded, pixel :math:`(2i + a, 2j + b)` of map c as channel :math:`4c + 2a + b`
    at :math:`(i, j)`, so that a 3 x 3 convolution of stride 2 is one of stride 1 there. What looks at the features
    starts at zero, and the spare channels as they are but unseen.

    Parameters
    ----------
    given, wanted : dict of str to Tensor
        Tensors of both networks by name.
    """
    first = next((name for name in wanted if name.endswith("stem.0.0.weight")), "")
    if first not in given or given[first].shape[1] != IMAGE_MAPS or wanted[first].shape[1] <= IMAGE_MAPS * 4:
        return {}
    convolution = given[first].to(wanted[first].dtype)
    n = len(convolution)
    weight = wanted[first].clone()
    weight[:n] = 0
    for c in range(IMAGE_MAPS):
        for a, b in product(range(2), range(2)):
            # Kernel rows -1, 0, 1 of the image: row 2i - 1 is the second of the fold before, 2i and 2i + 1 of this one.
            for row, col in product((0, 2) if a else (1,), (0, 2) if b else (1,)):
                weight[:n, 4 * c + 2 * a + b, min(row, 1), min(col, 1)] = convolution[:, c, row, col]
    stem = {first: weight}
    for name in ("weight", "bias", "running_mean", "running_var"):
        norm = first.replace("0.0.weight", f"0.1.{name}")
        stem[norm] = torch.cat([given[norm].to(wanted[norm].dtype), wanted[norm][n:]])
    second = first.replace("0.0.weight", "1.0.weight")
    stem[second] = torch.zeros_like(wanted[second])
    stem[second][:, :n] = given[second]
    return stem


def coco_tensors(network: ParticleNetwork) -> dict[str, Tensor]:
    """Return the tensors of torchvision's COCO-trained Mask R-CNN under our names, its first layer for our channels."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    try:
        state = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"cannot get COCO's weights through torchvision ({' '.join(str(error).split())[:100]}); they are fetched "
            "once from the internet: connect, or start from a file with --init FILE"
        ) from None
    return renamed_from_torchvision(state, network)


def renamed_from_torchvision(state: dict[str, Tensor], network: ParticleNetwork) -> dict[str, Tensor]:
    """Return torchvision's tensors under our names; the colours of the first layer are summed into the image channel.

    A grey image is one whose three colours are alike, so that the sum gives the same response. Further channels, the
    uncertainty, start at zero. COCO's weights were written before torchvision put the convolutions of the pyramid and
    of the proposals into blocks of their own: those get the names they have since.
    """
    first = "backbone.body.conv1.weight"
    wanted = dict(network.state_dict())
    renamed = {
        _OF_A_BLOCK.sub(r"\1.0\2", _OF_THE_PROPOSALS.sub(r"\1.0.0\2", name)): value
        for name, value in state.items()
        if name.startswith(("backbone.", "rpn.head.conv."))
    }
    if first in renamed and first in wanted:
        weight = torch.zeros_like(wanted[first])
        weight[:, 0] = renamed[first].sum(dim=1)
        renamed[first] = weight
    return renamed
