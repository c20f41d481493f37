"""Stationary (undecimated) wavelet transform in torch: a translation-invariant tight frame for images of any size."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from cs_recon.wavelets import filter_pair
from simulate.errors import check_count


class StationaryWavelet:
    r"""The undecimated wavelet transform with periodic borders, a tight frame: :math:`\Psi^T \Psi = I`.

    Equal to ``pywt.swt2(x, name, level, norm=True, trim_approx=True)`` where PyWavelets allows the size (multiples of
    ``2**levels``), and defined for every other one as well: the filters of level :math:`j` have :math:`2^{j-1} - 1`
    zeros between their taps ("à trous"). Computed as products in Fourier space, all bands at once.

    Parameters
    ----------
    name : str
        An orthogonal wavelet of PyWavelets.
    levels : int
        How many levels.

    References
    ----------
    Nason, Silverman, "The stationary wavelet transform and some statistical applications", Lecture Notes in Statistics
    103, 281 (1995), https://doi.org/10.1007/978-1-4612-2544-7_17.
    Coifman, Donoho, "Translation-invariant de-noising", ibid. 125, https://doi.org/10.1007/978-1-4612-2544-7_9.

    Examples
    --------
    >>> x = torch.rand(2, 1, 33, 50)
    >>> frame = StationaryWavelet("haar", 3)
    >>> frame.analysis(x).shape, bool((frame.synthesis(frame.analysis(x)) - x).abs().max() < 1e-5)
    (torch.Size([2, 10, 33, 50]), True)
    """

    def __init__(self, name: str = "sym4", levels: int = 4) -> None:
        filter_pair(name)
        check_count(levels, "wavelet levels", 1)
        self.name, self.levels = name, int(levels)

    def analysis(self, x: Tensor) -> Tensor:
        """Return the coefficients (B, 1 + 3 levels, H, W) of images (B, 1, H, W).

        First the approximation, then horizontal, vertical and diagonal details of every level from coarse to fine.
        """
        bank = _bank(self.name, self.levels, tuple(x.shape[-2:]), x.dtype, x.device)
        return torch.fft.irfft2(torch.fft.rfft2(x) * bank, s=x.shape[-2:])

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the images (B, 1, H, W) of coefficients: the adjoint of `analysis`, and an inverse of it."""
        shape = coefficients.shape[-2:]
        bank = _bank(self.name, self.levels, tuple(shape), coefficients.dtype, coefficients.device)
        spectrum = (torch.fft.rfft2(coefficients) * bank.conj()).sum(dim=1, keepdim=True)
        return torch.fft.irfft2(spectrum, s=shape)

    def level_weights(self, like: Tensor) -> Tensor:
        r"""Return :math:`2^{-j}` for the bands of level :math:`j`, and 0 for the approximation.

        As (1, 1 + 3 levels, 1, 1). White noise of standard deviation 1 has this standard deviation in each band, and
        :math:`\sum_b w_b |c_b|` is the l1 norm of the orthogonal transform averaged over all its translations.
        """
        weights = [0.0] + [2.0**-level for level in range(self.levels, 0, -1) for _ in range(3)]
        return torch.tensor(weights, dtype=like.dtype, device=like.device)[None, :, None, None]


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # what is kept must serve gradients too, whoever asked for it first
def _bank(name: str, levels: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the transfer functions (1, 1 + 3 levels, H, W // 2 + 1) of all bands."""
    responses = [_responses(name, levels, side) for side in shape]
    half = shape[1] // 2 + 1
    approximation = [torch.ones(side, dtype=torch.complex128) for side in shape]
    bands = []
    for (row_low, row_high), (col_low, col_high) in zip(*responses, strict=True):
        rows, cols = approximation
        row_bands, col_bands = (rows * row_low, rows * row_high), (cols * col_low, cols * col_high)
        kinds = ((1, 0), (0, 1), (1, 1))  # horizontal, vertical, diagonal detail
        bands.append([torch.outer(row_bands[r], col_bands[c][:half]) for r, c in kinds])
        approximation = [rows * row_low, cols * col_low]
    bank = [torch.outer(approximation[0], approximation[1][:half])]
    bank += [band for level in reversed(bands) for band in level]
    return torch.stack(bank)[None].to(device, torch.complex64 if dtype == torch.float32 else torch.complex128)


def _responses(name: str, levels: int, side: int) -> list[tuple[Tensor, Tensor]]:
    """Return, for each level from fine to coarse, the transfer functions of both filters along a side."""
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    low, high = filter_pair(name)
    # PyWavelets centres the filter: coefficient k sees samples k - L/2 + 1 ... k + L/2, spread by the level's step.
    taps = torch.arange(len(low)) - len(low) // 2 + 1
    found = []
    for level in range(levels):
        wave = torch.exp(2j * torch.pi * frequency[:, None] * (taps * 2**level))
        found.append(tuple(wave @ (f.to(wave) / 2**0.5) for f in (low, high)))
    return found
