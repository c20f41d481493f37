"""Overlapping patches of images, and images from overlapping patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class PatchGrid:
    """Where the patches of a frame lie; they cover every pixel, up to the borders.

    Attributes
    ----------
    index : Tensor of int, shape (N, P)
        Row-major pixel index in the frame of the P pixels of each of N patches.
    shape : (int, int)
        Frame shape.
    side : int
        Side of a patch in pixels; P is its square.
    """

    index: Tensor
    shape: tuple[int, int]
    side: int

    def cut(self, images: Tensor) -> Tensor:
        """Return the patches (B, N, P) of images (B, 1, H, W)."""
        return images.flatten(1)[:, self.index]

    def paste(self, patches: Tensor) -> Tensor:
        """Return the images (B, 1, H, W) in which patches (B, N, P) are summed: the adjoint of `cut`."""
        flat = patches.new_zeros(len(patches), self.shape[0] * self.shape[1])
        flat.index_add_(1, self.index.flatten(), patches.flatten(1))
        return flat.reshape(-1, 1, *self.shape)

    def mean(self, patches: Tensor) -> Tensor:
        """Return the images (B, 1, H, W) of patches (B, N, P), averaged where they overlap."""
        return self.paste(patches) / self.paste(torch.ones_like(patches[:1]))


def patch_grid(
    shape: tuple[int, int], side: int, stride: int, device: torch.device | str = "cpu", first: int = 0
) -> PatchGrid:
    """Return the patches of `side` x `side` pixels at every `stride`-th row and column from `first` on.

    Patches at the borders are added where the stride would leave pixels uncovered.

    Examples
    --------
    >>> grid = patch_grid((10, 12), 4, 3)
    >>> image = torch.rand(2, 1, 10, 12)
    >>> grid.cut(image).shape, bool((grid.mean(grid.cut(image)) - image).abs().max() < 1e-6)
    (torch.Size([2, 12, 16]), True)
    """
    starts = []
    for length in shape:
        last = length - side
        some = {0, last, *range(min(first, last), last, stride)}
        starts.append(torch.tensor(sorted(some), device=device))
    corner = (starts[0][:, None] * shape[1] + starts[1]).flatten()
    step = torch.arange(side, device=device)
    return PatchGrid(corner[:, None] + (step[:, None] * shape[1] + step).flatten(), shape, side)


def principal_atoms(patches: Tensor, count: int) -> Tensor:
    """Return `count` atoms (B, K, P) from patches (B, N, P): principal components first, then cosines; unit norm."""
    second = patches.transpose(1, 2) @ patches / patches.shape[1]
    components = torch.linalg.eigh(second.double())[1].flip(-1).transpose(1, 2).to(patches)
    cosines = overcomplete_cosines(round(patches.shape[2] ** 0.5), count).to(patches)
    return torch.cat([components[:, :count], cosines[None].expand(len(patches), -1, -1)], dim=1)[:, :count]


def overcomplete_cosines(side: int, count: int) -> Tensor:
    """Return at least `count` 2-D cosines of unit norm (K, side^2), finer in frequency than the orthogonal ones."""
    frequencies = max(side, int(-(-(count**0.5) // 1)))
    k = torch.arange(frequencies, dtype=torch.float64)
    at = torch.arange(side, dtype=torch.float64)
    basis = torch.cos(torch.pi * k[:, None] * (2 * at + 1) / (2 * frequencies))
    basis[1:] -= basis[1:].mean(dim=1, keepdim=True)
    basis /= basis.norm(dim=1, keepdim=True)
    atoms = torch.kron(basis, basis)
    order = (k[:, None] + k).flatten().argsort(stable=True)
    return atoms[order]


def largest_projections(patches: Tensor, atoms: Tensor, count: int) -> Tensor:
    """Return the `count` largest coefficients of patches (B, N, P) on orthonormal atoms (B, K, P): (B, N, K).

    Atoms beyond the P first, which cannot be orthogonal to them, get none.
    """
    size = min(atoms.shape[1:])
    coefficients = torch.zeros(*patches.shape[:2], atoms.shape[1], dtype=patches.dtype, device=patches.device)
    projected = torch.bmm(patches, atoms[:, :size].transpose(1, 2))
    largest = projected.abs().topk(min(count, size), dim=-1).indices
    return coefficients.scatter(-1, largest, projected.gather(-1, largest))
