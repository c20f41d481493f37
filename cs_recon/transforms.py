"""Orthonormal cosine transform and finite differences in torch, and the equations they solve in closed form."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_MATRIX = 512
"""Up to this side a GPU multiplies by the transform's matrix: two kernels in place of fifty short ones by the FFT."""


def dct2(x: Tensor) -> Tensor:
    r"""Return the orthonormal 2-D DCT-II of images (..., H, W) of any size.

    .. math:: X_{k} = s_k \sum_n x_n \cos\frac{\pi (2n + 1) k}{2N}, \quad s_0 = \sqrt{1/N},\ s_{k>0} = \sqrt{2/N}

    along both sides: equal to ``scipy.fft.dctn(x, norm="ortho")``. It is an orthogonal matrix: `idct2` is its inverse
    and its adjoint.

    References
    ----------
    Makhoul, "A fast cosine transform in one and two dimensions", IEEE TASSP 28, 27 (1980),
    https://doi.org/10.1109/TASSP.1980.1163351.

    Examples
    --------
    >>> flat = torch.full((1, 1, 3, 5), 2.0)
    >>> round(float(dct2(flat)[0, 0, 0, 0] / 15**0.5), 3)
    2.0
    """
    if _by_matrices(x):
        rows, cols = _matrices(x)
        return _product(rows, x, cols.T)
    return _dct(_dct(x).transpose(-1, -2)).transpose(-1, -2)


def idct2(x: Tensor) -> Tensor:
    """Return the inverse of `dct2`: images (..., H, W) from their coefficients."""
    if _by_matrices(x):
        rows, cols = _matrices(x)
        return _product(rows.T, x, cols)
    return _idct(_idct(x).transpose(-1, -2)).transpose(-1, -2)


def differences(x: Tensor) -> Tensor:
    r"""Return the differences to the next row and the next column, (B, 2, H, W) of images (B, 1, H, W).

    The last row and column have none (zero there): Neumann borders.
    """
    return torch.cat([F.pad(x.diff(dim=-2), (0, 0, 0, 1)), F.pad(x.diff(dim=-1), (0, 1))], dim=1)


def differences_adjoint(d: Tensor) -> Tensor:
    """Return the adjoint of `differences`, minus the divergence: (B, 1, H, W) from (B, 2, H, W)."""
    rows, cols = F.pad(d[:, :1, :-1], (0, 0, 1, 1)), F.pad(d[:, 1:, :, :-1], (1, 1))
    return -rows.diff(dim=-2) - cols.diff(dim=-1)


def laplacian_eigenvalues(x: Tensor) -> Tensor:
    r"""Return the eigenvalues (H, W) of :math:`D^T D`, minus the Laplacian with Neumann borders, for images like `x`.

    `dct2` diagonalises it: :math:`\mu_{kl} = 4 \sin^2\frac{\pi k}{2H} + 4 \sin^2\frac{\pi l}{2W}`.
    """
    rows, cols = (
        4 * torch.sin(math.pi / 2 / side * torch.arange(side, device=x.device, dtype=x.dtype)) ** 2
        for side in x.shape[-2:]
    )
    return rows[:, None] + cols[None, :]


def solve_screened_poisson(x: Tensor, rho: Tensor | float) -> Tensor:
    r"""Return :math:`(I + \rho D^T D)^{-1} x` for images (B, 1, H, W), with :math:`D` of `differences`."""
    return idct2(dct2(x) / (1 + rho * laplacian_eigenvalues(x)))


def _by_matrices(x: Tensor) -> bool:
    if not x.is_cuda or max(x.shape[-2:]) > LARGEST_MATRIX:
        return False
    # A user who lets matrix products be rounded to TF32 would have an inexact transform.
    exact = torch.backends.cuda.matmul.fp32_precision in ("none", "ieee")
    return x.dtype == torch.float64 or (x.dtype == torch.float32 and exact)


def _matrices(x: Tensor) -> tuple[Tensor, Tensor]:
    rows, cols = (_matrix(side, x.dtype, x.device) for side in x.shape[-2:])
    return rows, cols


def _product(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return left @ x @ right


@cache  # for good: kernels that were recorded (`cs_recon.replay`) read it where it lies
@torch.inference_mode(mode=False)  # what is kept must serve gradients too
def _matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix of the transform of length N: a row a frequency."""
    k = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * k[:, None] * (k + 0.5)) * math.sqrt(2 / size)
    matrix[0] *= math.sqrt(0.5)
    return matrix.to(device, dtype)


@cache
@torch.inference_mode(mode=False)
def _twiddle(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    r"""Return :math:`e^{-i \pi k / 2N}` for the frequencies that a real transform of length N has."""
    angle = -math.pi / 2 / size * torch.arange(size // 2 + 1, device=device, dtype=dtype)
    return torch.polar(torch.ones_like(angle), angle)


def _dct(x: Tensor) -> Tensor:
    r"""DCT-II along the last side by one real FFT of the same length: even samples, then odd ones backwards.

    With :math:`z_k = e^{-i \pi k / 2N} V_k` of that FFT, :math:`X_k = \mathrm{Re}\,z_k` and
    :math:`X_{N-k} = -\mathrm{Im}\,z_k`.
    """
    size = x.shape[-1]
    z = torch.fft.rfft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)) * _twiddle(size, x.dtype, x.device)
    coefficients = torch.cat([z.real, -z.imag[..., 1 : (size + 1) // 2].flip(-1)], dim=-1).mul_(math.sqrt(2 / size))
    coefficients[..., 0] *= math.sqrt(0.5)
    return coefficients


def _idct(x: Tensor) -> Tensor:
    size = x.shape[-1]
    half = size // 2
    real = x[..., : half + 1] * math.sqrt(size / 2)
    real[..., 0] *= math.sqrt(2)
    imaginary = F.pad(x[..., size - half :].flip(-1), (1, 0)) * -math.sqrt(size / 2)
    shuffled = torch.fft.irfft(torch.complex(real, imaginary) * _twiddle(size, x.dtype, x.device).conj(), n=size)
    even = (size + 1) // 2
    image = torch.empty_like(shuffled)
    image[..., ::2], image[..., 1::2] = shuffled[..., :even], shuffled[..., even:].flip(-1)
    return image
