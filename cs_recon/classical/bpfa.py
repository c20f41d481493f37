"""Beta-process factor analysis: a Bayesian dictionary learnt from the sparse scan itself, by Gibbs sampling."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from cs_recon.batch import make_batch
from cs_recon.classical.bpfa_gibbs import BetaProcessFactors
from cs_recon.classical.gaussian_process import regress
from cs_recon.classical.patches import largest_projections, patch_grid, principal_atoms
from cs_recon.device import pick_device
from cs_recon.reconstruction import Reconstruction, reconstructors, result
from simulate.errors import InputError, check_count, check_within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cs_recon.classical.patches import PatchGrid
    from simulate.measurement import Measurement

MOST_ATOMS = 4096
"""Of a dictionary: more would take hours and gigabytes."""

SAMPLES_A_PATCH = 14
SMALLEST_SIDE, LARGEST_SIDE = 8, 16
FIRST_ATOMS = 4
"""Principal components that a patch starts from."""

PATCHES = 16384
"""Patches are taken at every pixel up to about this many, and at every second, third, ... beyond."""


@reconstructors.register("bpfa", "beta-process factor analysis: a dictionary of patches by Gibbs sampling, mean and sd")
def bpfa(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    side: int | None = None,
    atoms: int = 64,
    stride: int | None = None,
    sweeps: int = 12,
    samples: int = 8,
    seed: int = 0,
) -> list[Reconstruction]:
    r"""Reconstruct with a dictionary learnt from the overlapping patches of the scan (BPFA).

    Each patch :math:`x_i`, of which the scanned pixels are seen, is a sparse sum of atoms:

    .. math::

        y_i &= M_i (D (z_i \odot s_i) + \epsilon_i), \quad
        d_k \sim \mathcal N(0, P^{-1} I), \quad s_i \sim \mathcal N(0, \gamma_s^{-1} I), \\
        z_{ik} &\sim \mathrm{Bernoulli}(\pi_k), \quad \pi_k \sim \mathrm{Beta}(1/K, (K - 1)/K)

    with the noise's variance told by the counts at a first guess of the signal or, where nothing is known of it,
    inferred. All is drawn from its conditional posterior in turn, :math:`z` with :math:`s` integrated out. The image is
    the mean over samples and over the patches that overlap, of each patch's expected coefficients.

    Dictionary and coefficients start from the principal components of the patches of a Gaussian process's posterior
    mean. The length of the chain is given, not found: watch ``trace["residual"]`` level off.

    Parameters
    ----------
    measurements : sequence of Measurement
        Scans of one shape.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    side : int, optional
        Side of the patches in pixels; if None such that a patch holds about 14 samples, from 8 to 16.
    atoms : int
        At most this many atoms, :math:`K`; the beta process leaves those unused that the data do not ask for.
    stride : int, optional
        Pixels from patch to patch; if None 1, or more where there would be more than about 16000 patches.
    sweeps, samples : int
        Sweeps of the sampler before the first sample, and samples, one a sweep.
    seed : int
        Of the sampler. Scans of a batch share their random numbers, so that each gets what it would get by itself.

    Returns
    -------
    list of Reconstruction
        ``sigma`` is the spread of the values that the patches over a pixel draw for it. The last dictionary is
        ``features["dictionary"]``, (1, K, side, side), its most used atoms first. ``trace`` holds the mean squared
        residual in units of the noise and the mean number of atoms of a patch, for each sweep.

    References
    ----------
    Zhou et al., "Nonparametric Bayesian dictionary learning for analysis of noisy and incomplete images", IEEE Trans.
    Image Process. 21, 130 (2012), https://doi.org/10.1109/TIP.2011.2160072.
    Stevens, Yang, Carin, Arslan, Browning, "The potential for Bayesian compressive sensing to significantly reduce
    electron dose in high-resolution STEM images", Microscopy 63, 41 (2014), https://doi.org/10.1093/jmicro/dft042.
    """
    for value, name, low in ((atoms, "atoms", 2), (sweeps, "sweeps", 0), (samples, "samples", 1), (seed, "seed", 0)):
        check_count(value, name, low)
    check_within(atoms, "atoms", 2, MOST_ATOMS)
    atoms, sweeps, samples, seed = int(atoms), int(sweeps), int(samples), int(seed)
    if side is not None:
        check_count(side, "side", 2)
    if stride is not None:
        check_count(stride, "stride", 1)
    if side is None:
        options = {"device": device, "atoms": atoms, "sweeps": sweeps, "samples": samples, "seed": seed}
        return by_patch_side(measurements, lambda scans, side: bpfa(scans, side=side, stride=stride, **options))  # pyright: ignore[reportCallIssue]
    batch = make_batch(list(measurements), multiple=1, device=pick_device(device))
    grid = scan_grid(batch.shape, side, stride, batch.y.device)
    unknown = torch.tensor([not m.noise_is_known for m in measurements], device=batch.y.device)
    with torch.inference_mode():
        start = regress(measurements, batch)
        guess = grid.cut(start.mean)
        start_atoms = principal_atoms(guess, atoms)
        factors = BetaProcessFactors(
            grid.cut(batch.scan.mask * batch.y),
            grid.cut(batch.scan.mask / start.process.variance),
            start_atoms,
            largest_projections(guess, start_atoms, FIRST_ATOMS),
            seed=seed,
            unknown_noise=unknown,
        )
        mean, drawn, square = (torch.zeros_like(batch.y) for _ in range(3))
        residuals, sizes = [], []
        for sweep in range(sweeps + samples):
            factors.sweep()
            residuals.append(factors.residual())
            sizes.append((factors.coefficients != 0).sum(dim=(1, 2)) / len(grid.index))
            if sweep >= sweeps:
                mean += grid.mean(factors.expected()) / samples
                patches = factors.drawn()
                drawn += grid.mean(patches) / samples
                square += grid.mean(patches.square()) / samples
        images = batch.denormalise(mean).cpu().numpy()
        sds = ((square - drawn.square()).clamp(min=0).sqrt() * batch.scale).cpu().numpy()
        used = (factors.coefficients != 0).sum(dim=1)
    residual, size = torch.stack(residuals).cpu(), torch.stack(sizes).cpu()
    done = []
    for i, m in enumerate(measurements):
        trace = {"residual": residual[:, i].tolist(), "atoms_per_patch": size[:, i].tolist()}
        info = {
            "side": grid.side,
            "patches": len(grid.index),
            "atoms": int((used[i] > 0).sum()),
            "noise_factor": float(factors.precision[i] ** -0.5),
            "sweeps": sweeps,
            "samples": samples,
            "seed": seed,
        }
        one = result(m, images[i, 0], "bpfa", sigma=sds[i, 0], trace=trace, info=info)
        ordered = factors.atoms[i, used[i].argsort(descending=True)].reshape(1, -1, grid.side, grid.side)
        done.append(replace(one, features={"dictionary": (ordered, 1)}))
    return done


def by_patch_side(
    measurements: Sequence[Measurement], run: Callable[[list[Measurement], int], list[Reconstruction]]
) -> list[Reconstruction]:
    """Return what `run` makes of the scans whose patches have one side, for each side, in the order of the scans."""
    sides = [patch_side(scan.ratio) for scan in measurements]
    done: dict[int, Reconstruction] = {}
    for side in sorted(set(sides)):
        places = [place for place, own in enumerate(sides) if own == side]
        done |= zip(places, run([measurements[place] for place in places], side), strict=True)
    return [done[place] for place in range(len(sides))]


def patch_side(ratio: float) -> int:
    """Return the side of patches that hold about 14 samples at a sampling ratio, from 8 to 16 pixels."""
    return min(LARGEST_SIDE, max(SMALLEST_SIDE, round((SAMPLES_A_PATCH / ratio) ** 0.5)))


def scan_grid(shape: tuple[int, int], side: int, stride: int | None, device: torch.device) -> PatchGrid:
    """Return the patches of a frame, by default at most about 16000 of them and overlapping by half at least."""
    side = int(min(side, *shape))
    if stride is None:
        stride = min(max(1, side // 2), max(1, round((shape[0] * shape[1] / PATCHES) ** 0.5)))
    if stride > side:
        raise InputError(f"stride is {stride}, more than the patches' side of {side}; expected no gaps between patches")
    return patch_grid(shape, side, int(stride), device)
