"""Orthogonal wavelet transforms in torch, with PyWavelets' filters and periodic borders."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pywt
import torch
import torch.nn.functional as F

from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_pywt: Any = pywt  # its names come from a compiled module that type checkers cannot read

Coefficients = list["Tensor"]
"""The approximation (B, 1, h, w) of the coarsest level, then details (B, 3, h, w) from coarse to fine: the horizontal,
vertical and diagonal details of PyWavelets."""


class OrthogonalWavelet:
    """A multi-level 2-D orthogonal wavelet transform, equal to PyWavelets' ``periodization`` mode for every size.

    Where the sides are multiples of ``2**levels``, periodic borders make the transform an orthogonal matrix: its
    inverse is its adjoint, norms are kept, and the proximal operator of the l1 norm of the coefficients is exact
    thresholding. Otherwise an odd side is lengthened at its level by repeating the last row or column, as PyWavelets
    does: `synthesis` still inverts `analysis`, but is no longer its adjoint. The solvers therefore pad by pixels that
    were not scanned (see `pad_to_multiple`).

    Parameters
    ----------
    name : str
        An orthogonal wavelet of PyWavelets: ``"haar"``, ``"db4"``, ``"sym4"``, ``"coif1"``...
    levels : int
        How many levels.

    References
    ----------
    Mallat, "A theory for multiresolution signal decomposition", IEEE TPAMI 11, 674 (1989),
    https://doi.org/10.1109/34.192463.
    """

    def __init__(self, name: str = "sym4", levels: int = 4) -> None:
        filter_pair(name)
        if levels < 1:
            raise InputError(f"wavelet levels is {levels}; expected 1 or more")
        self.name, self.levels = name, levels

    def analysis(self, x: Tensor) -> Coefficients:
        """Return the coefficients of images (B, 1, H, W)."""
        bank = _bank(self.name, x.dtype, x.device)
        details: Coefficients = []
        for _ in range(self.levels):
            bands = _down(x, bank)
            x = bands[:, :1]
            details.append(bands[:, 1:])
        return [x, *reversed(details)]

    def synthesis(self, coefficients: Sequence[Tensor], shape: tuple[int, int] | None = None) -> Tensor:
        """Return the images (B, 1, H, W) of coefficients: the inverse of `analysis`.

        `shape` is the images' (H, W); needed where one is odd, since coefficients do not tell 2n - 1 from 2n.
        """
        x = coefficients[0]
        bank = _bank(self.name, x.dtype, x.device)
        for details in coefficients[1:]:
            x = _up(torch.cat([_crop(x, details.shape), details], dim=1), bank)
        return x if shape is None else _crop(x, shape)


def soft_threshold(x: Tensor, threshold: Tensor | float) -> Tensor:
    r"""Return :math:`\mathrm{sign}(x) \max(|x| - t, 0)`, the proximal operator of :math:`t \|x\|_1`."""
    return torch.sign(x) * F.relu(x.abs() - threshold)


def pad_to_multiple(x: Tensor, multiple: int, mode: str = "replicate") -> Tensor:
    """Pad images (B, C, H, W) at the bottom and right so that both sides are multiples of `multiple`."""
    rows, cols = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, cols, 0, rows), mode=mode) if rows or cols else x


@cache
@torch.inference_mode(mode=False)
def filter_pair(name: str) -> tuple[Tensor, Tensor]:
    """Return the low- and high-pass analysis filters (L,) of an orthogonal wavelet, as correlations, in float64."""
    known = [wavelet for wavelet in _pywt.wavelist(kind="discrete") if _is_orthogonal(wavelet)]
    if name not in known:
        raise InputError(
            f"unknown orthogonal wavelet {name!r}{nearest_name(name, known)}; expected one of PyWavelets', e.g. sym4"
        )
    wavelet = _pywt.Wavelet(name)
    # Correlation (torch) instead of convolution (PyWavelets): the filters are reversed.
    low = torch.tensor(wavelet.dec_lo[::-1], dtype=torch.float64)
    high = torch.tensor(wavelet.dec_hi[::-1], dtype=torch.float64)
    return low, high


def _is_orthogonal(name: str) -> bool:
    """Return whether a wavelet's filter is: PyWavelets says so of its ``dmey`` too, which misses it by 2e-3."""
    wavelet = _pywt.Wavelet(name)
    if not wavelet.orthogonal:
        return False
    low = torch.tensor(wavelet.dec_lo, dtype=torch.float64)
    shifted = F.conv1d(low[None, None], low[None, None], padding=len(low) - 1).flatten()[(len(low) - 1) % 2 :: 2]
    wanted = torch.zeros_like(shifted)
    wanted[len(wanted) // 2] = 1
    return bool((shifted - wanted).abs().max() < 1e-6)


@cache
@torch.inference_mode(mode=False)  # what is kept must serve gradients too, whoever asked for it first
def _bank(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the four 2-D analysis filters (4, 1, L, L): approximation, horizontal, vertical, diagonal detail.

    Kept where they are used: a copy at every call would stall a GPU, and no CUDA graph could hold it.
    """
    low, high = filter_pair(name)
    outer = [torch.outer(rows, cols) for rows, cols in ((low, low), (high, low), (low, high), (high, high))]
    return torch.stack(outer)[:, None].to(device, dtype)


def _crop(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x[..., : shape[-2], : shape[-1]]


def _down(x: Tensor, bank: Tensor) -> Tensor:
    x = pad_to_multiple(x, 2)
    # PyWavelets centres the filter: coefficient k is aligned with samples 2k - L/2 + 1 ... 2k + L/2.
    before = bank.shape[-1] // 2 - 1
    with torch.autocast(x.device.type, enabled=False):  # rounded bands would not give the image back
        return F.conv2d(_wrap(x, before), bank, stride=2)


def _wrap(x: Tensor, margin: int) -> Tensor:
    """Pad periodically by `margin` on every side, also where the margin is wider than the image."""
    if margin == 0:
        return x
    rows = torch.arange(-margin, x.shape[-2] + margin, device=x.device) % x.shape[-2]
    cols = torch.arange(-margin, x.shape[-1] + margin, device=x.device) % x.shape[-1]
    return x[..., rows[:, None], cols[None, :]]


def _up(bands: Tensor, bank: Tensor) -> Tensor:
    rows, cols = 2 * bands.shape[-2], 2 * bands.shape[-1]
    before = bank.shape[-1] // 2 - 1
    with torch.autocast(bands.device.type, enabled=False):
        full = F.conv_transpose2d(bands, bank, stride=2)
    # Adjoint of the periodic padding: what fell outside the image is added to the pixel it was copied from.
    return _fold(_fold(full, before, rows, -2), before, cols, -1)


def _fold(x: Tensor, before: int, size: int, dim: int) -> Tensor:
    if x.shape[dim] == size:
        return x
    index = (torch.arange(x.shape[dim], device=x.device) - before) % size
    shape = list(x.shape)
    shape[dim] = size
    return x.new_zeros(shape).index_add(dim, index, x)
