"""Denoising by block matching and collaborative filtering in three dimensions (BM3D), batched in torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

BLOCK, STRIDE, GROUP = 8, 3, 16
HARD_THRESHOLD = 2.7
CHUNK = 1 << 22
"""Pixels of the blocks that are filtered at once, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of similar blocks.

    Attributes
    ----------
    corners : Tensor of int, shape (B, R, G)
        Row-major index, in the padded image, of the top left pixel of the G blocks of each of R groups.
    shape : (int, int)
        Shape of the padded image.
    block : int
        Side of a block.
    """

    corners: Tensor
    shape: tuple[int, int]
    block: int

    def offsets(self) -> Tensor:
        """Return the indices (block * block,) of a block's pixels, from its corner on."""
        side = torch.arange(self.block, device=self.corners.device)
        return (side[:, None] * self.shape[1] + side).flatten()


def bm3d(image: Tensor, sigma: Tensor, *, search: int = 10) -> Tensor:
    r"""Denoise images with white Gaussian noise by BM3D: hard thresholding, then an empirical Wiener filter.

    For every third pixel the 16 most similar blocks of 8 x 8 pixels within `search` pixels are stacked and transformed
    in 3-D (cosines in the blocks, Walsh-Hadamard across them); what is below :math:`2.7\sigma` is noise. In the second
    pass blocks are matched on the first's result, whose spectrum :math:`P` gives the Wiener weights
    :math:`P^2 / (P^2 + \sigma^2)`.

    Parameters
    ----------
    image : Tensor, shape (B, 1, H, W)
        Noisy images.
    sigma : Tensor, shape (B, 1, 1, 1)
        The noise's standard deviation.
    search : int
        Largest shift of a similar block in rows and columns, in pixels.

    Returns
    -------
    Tensor, shape (B, 1, H, W)

    References
    ----------
    Dabov, Foi, Katkovnik, Egiazarian, "Image denoising by sparse 3-D transform-domain collaborative filtering", IEEE
    Trans. Image Process. 16, 2080 (2007), https://doi.org/10.1109/TIP.2007.901238.

    Examples
    --------
    >>> clean = torch.ones(1, 1, 32, 32)
    >>> noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    >>> bool((bm3d(noisy, torch.full((1, 1, 1, 1), 0.1)) - clean).std() < 0.02)
    True
    """
    first = filter_groups(image, match_blocks(image, search=search), sigma)
    return filter_groups(image, match_blocks(first, search=search), sigma, pilot=first)


def match_blocks(image: Tensor, *, search: int = 10, block: int = BLOCK) -> Groups:
    """Find the blocks most similar to those at every third pixel of each image (B, 1, H, W), by squared distance."""
    block = min(block, *image.shape[-2:])
    padded = _pad(image, block)
    rows, cols = padded.shape[-2:]
    places = [torch.arange(0, side - block + 1, STRIDE, device=image.device) for side in (rows, cols)]
    last = rows - block, cols - block
    shifts = [(r, c) for r in range(-min(search, last[0]), min(search, last[0]) + 1)
              for c in range(-min(search, last[1]), min(search, last[1]) + 1)]  # fmt: skip
    distances = []
    for r, c in shifts:
        moved = torch.roll(padded, (-r, -c), dims=(-2, -1))
        distance = F.avg_pool2d((padded - moved).square(), block, STRIDE)
        outside_r = (places[0] + r < 0) | (places[0] + r > last[0])
        outside_c = (places[1] + c < 0) | (places[1] + c > last[1])
        distances.append(distance[:, 0].masked_fill(outside_r[:, None] | outside_c, torch.inf).flatten(1))
    stacked = torch.stack(distances, dim=-1)
    # In a flat area many are as near as the block itself, which must be in its group: else pixels are in none.
    stacked[..., shifts.index((0, 0))] = -1
    size = GROUP
    while size > int(stacked.isfinite().sum(dim=-1).min()):
        size //= 2
    nearest = stacked.topk(size, dim=-1, largest=False).indices
    moves = torch.tensor([r * cols + c for r, c in shifts], device=image.device)
    corners = (places[0][:, None] * cols + places[1]).flatten()
    return Groups(corners[None, :, None] + moves[nearest], (rows, cols), block)


def filter_groups(image: Tensor, groups: Groups, sigma: Tensor, pilot: Tensor | None = None) -> Tensor:
    """Denoise images (B, 1, H, W) by thresholding the 3-D spectra of groups, or by Wiener weights from a `pilot`."""
    flat = _pad(image, groups.block).flatten(1)
    guide = None if pilot is None else _pad(pilot, groups.block).flatten(1)
    offsets = groups.offsets()
    window = _window(groups.block).to(image).flatten()
    cosines = _cosines(groups.block).to(image)
    across = _hadamard(groups.corners.shape[-1]).to(image)
    sums, weights = torch.zeros_like(flat), torch.zeros_like(flat)
    noise = sigma.reshape(-1, 1, 1, 1).to(image)
    chunk = max(1, CHUNK // (len(image) * groups.corners.shape[-1] * len(offsets)))
    for corners in groups.corners.split(chunk, dim=1):
        index = corners[..., None] + offsets
        spectrum = _spectrum(flat, index, cosines, across)
        if guide is None:
            kept = (spectrum.abs() > HARD_THRESHOLD * noise).to(image)
            kept[:, :, 0, 0] = 1
            power = kept.sum(dim=(-1, -2), keepdim=True)
        else:
            energy = _spectrum(guide, index, cosines, across).square()
            kept = energy / (energy + noise.square()).clamp(min=1e-20)
            power = kept.square().sum(dim=(-1, -2), keepdim=True)
        blocks = across.T @ (kept * spectrum) @ cosines
        weight = window / power.clamp(min=1e-6)
        index = index.flatten(1)
        sums.scatter_add_(1, index, (weight * blocks).flatten(1))
        weights.scatter_add_(1, index, weight.expand_as(blocks).flatten(1))
    rows, cols = image.shape[-2:]
    return (sums / weights.clamp(min=1e-12)).reshape(-1, 1, *groups.shape)[..., :rows, :cols]


def _spectrum(flat: Tensor, index: Tensor, cosines: Tensor, across: Tensor) -> Tensor:
    blocks = flat.gather(1, index.flatten(1)).reshape(index.shape)
    return across @ (blocks @ cosines.T)


def _pad(image: Tensor, block: int) -> Tensor:
    rows, cols = (-(side - block) % STRIDE for side in image.shape[-2:])
    return F.pad(image, (0, cols, 0, rows), mode="replicate")


@cache
def _cosines(side: int) -> Tensor:
    """Return the orthonormal 2-D cosine transform (side^2, side^2) of flattened blocks."""
    k = torch.arange(side, dtype=torch.float64)
    basis = torch.cos(torch.pi * k[:, None] * (2 * k + 1) / (2 * side)) * (2 / side) ** 0.5
    basis[0] /= 2**0.5
    return torch.kron(basis, basis)


@cache
def _hadamard(size: int) -> Tensor:
    """Return the orthonormal Walsh-Hadamard transform, its constant first."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.kron(matrix.new_tensor([[1, 1], [1, -1]]), matrix) / 2**0.5
    return matrix


@cache
def _window(side: int) -> Tensor:
    one = torch.kaiser_window(side, periodic=False, beta=2.0, dtype=torch.float64)
    return torch.outer(one, one)
