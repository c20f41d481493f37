"""A dictionary of patches learnt from a sparse scan by masked K-SVD."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from cs_recon.batch import make_batch
from cs_recon.classical.bpfa import MOST_ATOMS, by_patch_side, scan_grid
from cs_recon.classical.gaussian_process import regress
from cs_recon.classical.patches import principal_atoms
from cs_recon.device import pick_device
from cs_recon.reconstruction import Reconstruction, reconstructors, result
from simulate.errors import check_count, check_positive, check_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from simulate.measurement import Measurement

RIDGE = 1e-3
"""Of the normal equations, relative to the atoms' energy under the mask: some atoms look alike on few samples."""


@reconstructors.register("ksvd", "K-SVD: a dictionary of patches by masked orthogonal matching pursuit")
def ksvd(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    side: int | None = None,
    atoms: int = 64,
    sparsity: int = 6,
    gain: float = 1.0,
    iterations: int = 8,
) -> list[Reconstruction]:
    r"""Reconstruct with a dictionary learnt from the overlapping patches of the scan by K-SVD.

    Patches are coded by orthogonal matching pursuit on their scanned pixels, weighted by the noise, until the residual
    is the noise's; then each atom and its coefficients are fitted to what the others leave, again on scanned pixels.
    What is coded is the difference to the posterior mean of a Gaussian process: with a few samples in a patch a pursuit
    cannot tell a slope from structure. The image is the mean of the patches where they overlap.

    Parameters
    ----------
    measurements : sequence of Measurement
        Scans of one shape.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    side : int, optional
        Side of the patches in pixels; if None such that a patch holds about 14 samples, from 8 to 16.
    atoms : int
        Size of the dictionary.
    sparsity : int
        At most this many atoms a patch, and no more than one for every three of its samples.
    gain : float
        A patch of n samples is done when its residual, in units of the noise, falls to this times the root of n.
    iterations : int
        Times that codes and dictionary are updated.

    Returns
    -------
    list of Reconstruction
        The dictionary is ``features["dictionary"]``, (1, K, side, side); ``trace["residual"]`` holds the mean squared
        residual of the codes in units of the noise.

    References
    ----------
    Aharon, Elad, Bruckstein, "K-SVD: an algorithm for designing overcomplete dictionaries for sparse representation",
    IEEE Trans. Signal Process. 54, 4311 (2006), https://doi.org/10.1109/TSP.2006.881199.
    Mairal, Elad, Sapiro, "Sparse representation for color image restoration", IEEE Trans. Image Process. 17, 53 (2008),
    https://doi.org/10.1109/TIP.2007.911828 (the masked update).
    """
    for value, name, low in ((atoms, "atoms", 2), (sparsity, "sparsity", 1), (iterations, "iterations", 1)):
        check_count(value, name, low)
    check_within(atoms, "atoms", 2, MOST_ATOMS)
    atoms, sparsity, iterations = int(atoms), int(sparsity), int(iterations)
    if side is not None:
        check_count(side, "side", 2)
    check_positive(gain, "gain")
    if side is None:
        options = {"atoms": atoms, "sparsity": sparsity, "gain": gain, "iterations": iterations}
        return by_patch_side(measurements, lambda scans, side: ksvd(scans, side=side, device=device, **options))  # pyright: ignore[reportCallIssue]
    batch = make_batch(list(measurements), multiple=1, device=pick_device(device))
    grid = scan_grid(batch.shape, side, None, batch.y.device)
    with torch.inference_mode():
        start = regress(measurements, batch)
        weights = grid.cut(batch.scan.mask / start.process.variance)
        data = grid.cut(batch.scan.mask * (batch.y - start.mean))
        dictionary = principal_atoms(grid.cut(start.mean), atoms)
        residuals = []
        codes = matching_pursuit(data, weights, dictionary, sparsity, gain)
        for _ in range(iterations):
            dictionary, codes = update_atoms(data, weights, dictionary, codes)
            codes = matching_pursuit(data, weights, dictionary, sparsity, gain)
            left = weights * (data - torch.bmm(codes, dictionary)).square()
            residuals.append(left.sum(dim=(1, 2)) / (weights > 0).sum(dim=(1, 2)))
        images = batch.denormalise(start.mean + grid.mean(torch.bmm(codes, dictionary))).cpu().numpy()
    trace = torch.stack(residuals).cpu()
    done = []
    for i, m in enumerate(measurements):
        info = {"side": grid.side, "atoms": int(atoms), "iterations": int(iterations), "gain": float(gain)}
        one = result(m, images[i, 0], "ksvd", trace={"residual": trace[:, i].tolist()}, info=info)
        learnt = dictionary[i].reshape(1, -1, grid.side, grid.side)
        done.append(replace(one, features={"dictionary": (learnt, 1)}))
    return done


def matching_pursuit(data: Tensor, weights: Tensor, atoms: Tensor, sparsity: int, gain: float) -> Tensor:
    r"""Code patches by orthogonal matching pursuit on their scanned pixels, all at once.

    Each step takes the atom that lowers :math:`\|x - D^T c\|_W^2` most by itself, then fits all atoms taken so far.

    Parameters
    ----------
    data, weights : Tensor, shape (B, N, P)
        Patches, and the inverse variance of their noise: 0 where not scanned.
    atoms : Tensor, shape (B, K, P)
    sparsity : int
        At most this many atoms a patch; no more than one for every three samples, but one at least.
    gain : float
        Stop where :math:`\|x - D^T c\|_W^2 \le g^2 n` for n samples.

    Returns
    -------
    Tensor, shape (B, N, K)
        The coefficients :math:`c`.

    References
    ----------
    Pati, Rezaiifar, Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993,
    https://doi.org/10.1109/ACSSC.1993.342465.
    """
    seen = (weights > 0).sum(dim=-1)
    target = gain**2 * seen
    allowed = (seen // 3).clamp(min=1, max=sparsity)
    energy = torch.bmm(weights, atoms.square().transpose(1, 2))
    codes = torch.zeros_like(energy)
    support = torch.zeros_like(energy, dtype=torch.int64)[..., :0]
    residual, values = data, codes[..., :0]
    going = seen > 0
    for step in range(min(sparsity, atoms.shape[1])):
        going = going & (step < allowed) & ((weights * residual.square()).sum(dim=-1) > target)
        if not bool(going.any()):
            break
        match = torch.bmm(weights * residual, atoms.transpose(1, 2))
        gains = match.square() / (energy + RIDGE * energy.amax(dim=-1, keepdim=True).clamp(min=1e-12))
        gains = gains.scatter(-1, support, -1.0)
        support = torch.cat([support, gains.argmax(dim=-1, keepdim=True)], dim=-1)
        fitted, code = _fit(data, weights, atoms, support)
        residual = torch.where(going[..., None], data - fitted, residual)
        values = torch.where(going[..., None], code, torch.nn.functional.pad(values, (0, 1)))
    return codes.scatter_add(-1, support, values) if support.shape[-1] else codes


def update_atoms(data: Tensor, weights: Tensor, atoms: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Fit each atom, and then its coefficients, to what the others leave of the scanned pixels.

    Both are weighted least squares with the other held: the masked form of K-SVD's rank-one fit. Atoms come back with
    norm 1; one that no patch uses stays as it is.
    """
    atoms, codes = atoms.clone(), codes.clone()
    residual = weights * (data - torch.bmm(codes, atoms))
    for k in range(atoms.shape[1]):
        atom, code = atoms[:, None, k], codes[..., k, None]
        used = code != 0
        residual = residual + weights * (code * atom)
        energy = (weights * code.square()).sum(dim=1, keepdim=True)
        new = (residual * code).sum(dim=1, keepdim=True) / energy.clamp(min=1e-12)
        # Pixels that no patch of this atom has seen keep their value.
        new = torch.where(energy > 1e-9, new, atom)
        norm = new.norm(dim=-1, keepdim=True)
        new = torch.where(norm > 1e-6, new / norm.clamp(min=1e-12), atom)
        fit = (residual * new).sum(dim=-1, keepdim=True)
        code = torch.where(used, fit / (weights * new.square()).sum(dim=-1, keepdim=True).clamp(min=1e-12), 0.0)
        residual = residual - weights * (code * new)
        atoms[:, k], codes[..., k] = new[:, 0], code[..., 0]
    return atoms, codes


def _fit(data: Tensor, weights: Tensor, atoms: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
    """Fit patches by the atoms of their support (B, N, L): return the patches and the coefficients."""
    scans = torch.arange(len(data), device=data.device)[:, None, None]
    chosen = atoms[scans, support]
    weighted = chosen * weights[..., None, :]
    normal = weighted @ chosen.transpose(-1, -2)
    ridge = RIDGE * normal.diagonal(dim1=-2, dim2=-1).amax(dim=-1).clamp(min=1e-6)
    eye = torch.eye(support.shape[-1], dtype=data.dtype, device=data.device)
    right = (weighted * data[..., None, :]).sum(dim=-1, keepdim=True)
    code = torch.linalg.solve(normal + ridge[..., None, None] * eye, right)
    return (code.transpose(-1, -2) @ chosen)[..., 0, :], code[..., 0]
