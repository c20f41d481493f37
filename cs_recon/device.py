"""Which device to compute on, and in which precision."""

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


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 natively, which is up to twice as fast as in single precision."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public way to ask a processor.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(torch.backends.mkldnn.enabled and supported())


def full_precision(device: torch.device) -> str:
    """Return in which precision networks compute if nothing else is asked for, for provenance."""
    # Convolutions of GPUs that know bfloat16 take numbers rounded to 10 bits if torch is not told otherwise.
    rounded = torch.backends.cudnn.conv.fp32_precision == "tf32"  # pyright: ignore[reportAttributeAccessIssue]
    return "tf32" if device.type == "cuda" and has_bfloat16(device) and rounded else "float32"


def quick_precision(device: torch.device) -> str:
    """Return in which precision `quick_arithmetic` computes, for provenance."""
    return "bfloat16" if has_bfloat16(device) else "float32"


def quick_arithmetic(device: torch.device) -> torch.autocast:
    """Return a context in which networks compute in bfloat16 where the device does so natively, else as ever.

    The networks are trained so. An image changes by 0.001 to 0.003 standard deviations of its samples (rms), which
    costs less than 0.01 dB, but for all steps on full scans without noise: there 0.1 dB of 51.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
