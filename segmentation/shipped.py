"""The shipped weights, and weights files that hold only what they do not share with some of those."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cs_recon.checkpoint import digest_of, load_any_weights, save_weights, stored
from segmentation.mapping import RECONSTRUCT
from simulate.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from cs_recon.checkpoint import Weights

BASE, BASE_SHA256 = "base", "base_sha256"
"""Entries of a configuration: the shipped weights that hold the rest of a file's tensors, and their hash."""


def shipped_name(method: str, mapping: str) -> str:
    """Return the name of a shipped weights file: the method's, and the mapping's unless it takes images."""
    return method if mapping == RECONSTRUCT else f"{method}-{mapping}"


def shipped() -> list[str]:
    """Return the names of all shipped weights."""
    folder = files("segmentation") / "weights"
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".safetensors"))


def check_shipped(name: str) -> None:
    """Raise `InputError` if no weights of that name are shipped."""
    if name not in shipped():
        raise InputError(
            f"no weights {name!r} are shipped; give those of your own training, or choose one of {', '.join(shipped())}"
        )


@contextmanager
def shipped_file(name: str) -> Iterator[Path]:
    """Give the file of shipped weights; `InputError` with those that there are if there is none of that name."""
    check_shipped(name)
    with as_file(files("segmentation") / "weights" / f"{name}.safetensors") as path:
        yield path


def read_weights(path: str | os.PathLike[str], architectures: Sequence[str]) -> Weights:
    """Read weights of any of several architectures, with what a file shares with shipped ones.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another network, or shares tensors with weights that are not those
        shipped here.
    """
    weights = load_any_weights(path, architectures)
    config = dict(weights.config)
    base, wanted = config.pop(BASE, None), config.pop(BASE_SHA256, None)
    if base is None:
        return weights
    with shipped_file(str(base)) as file:
        shared = load_any_weights(file, architectures)
    if shared.sha256 != wanted:
        raise InputError(
            f"{Path(path).name} holds only what differs from the weights {base!r} of another version (hash "
            f"{str(wanted)[:12]}..., shipped here is {shared.sha256[:12]}...); train it again, or use that version"
        )
    tensors = dict(sorted({**shared.tensors, **weights.tensors}.items()))
    return replace(weights, tensors=tensors, config=config, sha256=digest_of(tensors))


def save_difference(
    path: str | os.PathLike[str], state: dict[str, Tensor], architecture: str, config: dict[str, object], base: str
) -> str:
    """Write weights without the tensors that shipped ones hold too; return the hash of all of them.

    A detector whose first layers alone differ thus takes a hundredth of the room; `read_weights` puts it together.

    Parameters
    ----------
    path, state, architecture, config
        As of `cs_recon.checkpoint.save_weights`.
    base : str
        Name of the shipped weights.
    """
    with shipped_file(base) as file:
        shared = load_any_weights(file, (architecture,))
    if missing := set(shared.tensors) - set(state):
        raise InputError(f"the weights lack {min(missing)!r}, which {base!r} has; expected a network of its kind")
    tensors = {name: stored(value) for name, value in state.items()}
    own = {name: value for name, value in tensors.items() if not _same(value, shared.tensors.get(name))}
    save_weights(path, own, architecture, {**config, BASE: base, BASE_SHA256: shared.sha256})
    return read_weights(path, (architecture,)).sha256


def _same(value: Tensor, other: Tensor | None) -> bool:
    return other is not None and value.dtype == other.dtype and torch.equal(value, other)
