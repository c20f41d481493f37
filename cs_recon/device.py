"""Which device to compute on."""

from __future__ import annotations

import torch

from simulate.errors import InputError


def pick_device(device: str) -> torch.device:
    """Return the torch device for ``"auto"``, ``"cpu"`` or ``"cuda"``; `InputError` where there is no such device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}; expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device is 'cuda' but torch finds no CUDA device here; use --device cpu or auto")
    return torch.device(device)
