"""Training state on disk and finished weights: written atomically, checked when read, never unpickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from simulate.atomic import atomic_path
from simulate.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from torch import Tensor

CHECKPOINT_VERSION = 1
Network = TypeVar("Network", bound=torch.nn.Module)


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors by name, the architecture they belong to, its configuration, and the hash of the tensors."""

    tensors: dict[str, Tensor]
    architecture: str
    config: dict[str, object]
    sha256: str


def save_weights(
    path: str | os.PathLike[str], state: dict[str, Tensor], architecture: str, config: dict[str, object]
) -> str:
    """Write a state dictionary as safetensors (see `stored`) and return the hash of its tensors.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    tensors = {name: stored(value).contiguous().clone() for name, value in sorted(state.items())}
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            bad = int((~torch.isfinite(value)).sum())
            raise InputError(
                f"{bad} of the {value.numel()} numbers of the weights {name!r} are NaN or infinite; expected finite "
                "ones: train again at a lower learning rate"
            )
    digest = digest_of(tensors)
    metadata = {"architecture": architecture, "config": json.dumps(config), "sha256": digest}
    with atomic_path(path) as temporary:
        # The library's own writing to a file leaves it to its owner alone.
        temporary.write_bytes(save(tensors, metadata))
    return digest


def load_weights(path: str | os.PathLike[str], architecture: str) -> Weights:
    """Read weights, check their hash and that they are of the asked architecture.

    Raises
    ------
    InputError
        If the file is missing, damaged, altered, or holds another architecture.
    """
    return load_any_weights(path, (architecture,))


def load_any_weights(path: str | os.PathLike[str], architectures: Sequence[str]) -> Weights:
    """Do what `load_weights` does, for weights of any of several architectures."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no weights file at {file}; expected a .safetensors file made by 'cs-stem train'")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read {file.name} as safetensors ({error}); is it truncated? get it again") from None
    found = metadata.get("architecture", "")
    if found not in architectures:
        raise InputError(
            f"{file.name} holds weights of {found or 'an unknown network'}; expected {' or '.join(architectures)}"
        )
    digest = digest_of(tensors)
    if digest != metadata.get("sha256"):
        raise InputError(
            f"{file.name} has hash {digest[:12]}..., but it says it should be {str(metadata.get('sha256'))[:12]}...; "
            "the file is damaged or was altered: get it again"
        )
    try:
        config = json.loads(metadata["config"])
        if not isinstance(config, dict):
            raise ValueError
    except (KeyError, ValueError):
        raise InputError(f"{file.name} holds no settings of its network that can be read; get it again") from None
    return Weights(tensors, found, config, digest)


def build(weights: Weights, make: Callable[[], Network]) -> Network:
    """Return the network that `make` gives, holding the weights; `InputError` where they do not fit it."""
    try:
        network = make()
        network.load_state_dict({n: v.float() if v.is_floating_point() else v for n, v in weights.tensors.items()})
    except (TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"the weights do not fit the {weights.architecture} network ({reason}); train them again"
        ) from None
    return network


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, object]) -> None:
    """Write a training state; the last good one stays if writing fails."""
    with atomic_path(path) as temporary:
        torch.save({"version": CHECKPOINT_VERSION, **state}, temporary)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, object]:
    """Read a training state, without running any code that it may hold."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read the checkpoint {path} ({first_line}); delete it to start again") from None
    version = state.get("version") if isinstance(state, dict) else None
    if version != CHECKPOINT_VERSION:
        raise InputError(f"checkpoint {path} is of version {version}; expected {CHECKPOINT_VERSION}: start a new run")
    return state


def stored(tensor: Tensor) -> Tensor:
    """Return a tensor as weights files hold it: on the CPU, real numbers in half precision where all of them fit.

    Some do not: variances that batch normalisation has seen can pass 65504.
    """
    value = tensor.detach().cpu()
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if bool(torch.isfinite(half).all()) else value.float()


def digest_of(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of tensors, their names, types and shapes, in their order."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
