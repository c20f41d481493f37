r"""Crops of sparse scans in which some samples are held out: what the network sees, and what it must predict.

A held-out sample judges the network where it saw nothing. Where it did see a sample, that sample cannot judge, since it
shares its noise with the input; but two noisier copies of it, :math:`y + \alpha \sigma z` to see and
:math:`y - \sigma z / \alpha` to judge by, with :math:`z` drawn anew, have uncorrelated noise. Both kinds count as much
as their pixels do in the frame.

References
----------
Pang et al., "Recorrupted-to-recorrupted: unsupervised deep learning for image denoising", CVPR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import ScanBatch, make_batch
from cs_recon.noise import usual_exposures
from cs_recon.noise_levels import with_noise
from simulate.errors import InputError
from simulate.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

LEAST_SAMPLES = 100
BLOCK_PX = 8
"""Side of the blocks that are taken for independent of one another."""
_LEAST_SEEN, _LEAST_HELD = 8, 2
_TRIES = 200
_HELD_SHARES = (0.1, 0.5)
_ALPHA = 0.5
_BLOCKS = (1, 2, 4)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A batch of what is left of scans, and the samples to judge by, normalised like it.

    Attributes
    ----------
    batch : ScanBatch
        Without the held-out samples, the others noisier than they were measured.
    held : Tensor of bool, shape (B, 1, H, W)
        Where there is a sample to judge by.
    values, variance : Tensor, shape (N,)
        Their values and the variance of their noise, in the order of `held`.
    share : Tensor, shape (N,)
        How much each counts; those of all sum to 1.
    block : Tensor of int, shape (N,)
        Which part of which scan it lies in (`BLOCK_PX`): crops overlap, and errors nearby are alike, so that what is in
        one block counts as one observation.
    """

    batch: ScanBatch
    held: Tensor
    values: Tensor
    variance: Tensor
    share: Tensor
    block: Tensor

    def to(self, device: torch.device | str) -> HeldOut:
        """Return it on another device."""
        tensors = (self.held, self.values, self.variance, self.share, self.block)
        return HeldOut(self.batch.to(device), *(tensor.to(device) for tensor in tensors))


@dataclass(frozen=True, eq=False)
class _Crop:
    """What the network sees, and where (0: nowhere), by what value and with what variance and share it is judged."""

    seen: Measurement
    values: NDArray
    variance: NDArray
    share: NDArray
    block: NDArray


class HeldOutScans:
    """Scans to adapt to, of which a fixed part of the samples is kept for validation.

    Parameters
    ----------
    scans : sequence of Measurement
        Of any shapes.
    crop : int
        Side of the crops in pixels; the shortest side of the scans if that is less.
    multiple : int
        What the sides of a batch are padded to.
    share : float
        Share of the samples of each scan that is kept for validation.
    seed : int
        Seed of that part.
    """

    def __init__(self, scans: Sequence[Measurement], *, crop: int, multiple: int, share: float, seed: int) -> None:
        if not scans:
            raise InputError("no scan to adapt to; expected at least one")
        for scan in scans:
            if not isinstance(scan, Measurement):
                raise InputError(f"got {type(scan).__name__} to adapt to; expected a Measurement")
            if (count := int(np.count_nonzero(scan.mask))) < LEAST_SAMPLES:
                raise InputError(
                    f"scan {scan.name!r} has {count} samples; expected at least {LEAST_SAMPLES}, to hold some out"
                )
        self.scans = [with_noise(scan) for scan in scans]
        self.kept = [
            scan.mask & (np.random.default_rng([seed, 1, index]).random(scan.shape) < share)
            for index, scan in enumerate(self.scans)
        ]
        self.noise = [_noise_map(scan, scan.mask & ~kept) for scan, kept in zip(self.scans, self.kept, strict=True)]
        self.blocks = _numbered_blocks([scan.shape for scan in self.scans])
        self.side = min(crop, *(min(scan.shape) for scan in self.scans))
        self.multiple = multiple

    def draw(self, n: int, seed: Sequence[int]) -> HeldOut:
        """Return `n` random crops, turned and mirrored, with a random part of the training samples held out."""
        rng = np.random.default_rng(list(seed))
        return self._stack([self._crop(rng, validation=False) for _ in range(n)])

    def validation(self, n: int, seed: Sequence[int], batch_size: int = 8) -> list[HeldOut]:
        """Return `n` crops as they are, whose held-out samples are those kept for validation."""
        rng = np.random.default_rng(list(seed))
        crops = [self._crop(rng, validation=True) for _ in range(n)]
        return [self._stack(crops[first : first + batch_size]) for first in range(0, n, batch_size)]

    def _crop(self, rng: np.random.Generator, *, validation: bool) -> _Crop:
        for _ in range(_TRIES):
            index = int(rng.integers(len(self.scans)))
            scan = self.scans[index]
            row, col = (int(rng.integers(size - self.side + 1)) for size in scan.shape)
            place = slice(row, row + self.side), slice(col, col + self.side)
            usable, kept = scan.mask[place], self.kept[index][place]
            if validation:  # half of the samples kept for it judge where nothing is seen, half where they are
                held = kept & (rng.random(kept.shape) < 0.5)
                seen, judged = usable & ~held, kept & ~held
            else:
                held = usable & ~kept & _random_blocks(kept.shape, rng)
                seen = judged = usable & ~kept & ~held
            if seen.sum() < _LEAST_SEEN or held.sum() < _LEAST_HELD or judged.sum() < _LEAST_HELD:
                continue
            arrays = [scan.values[place], self.noise[index][place], seen, held, judged, self.blocks[index][place]]
            if scan.exposure is not None:
                arrays.append(scan.exposure[place])
            if not validation:
                turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
                arrays = [np.rot90(array.T if mirrored else array, turns).copy() for array in arrays]
            try:
                return _corrupted(scan, rng, *arrays)
            except InputError:  # all its samples are equal: nothing to normalise by, nothing to learn
                continue
        raise InputError(
            f"no crop of {self.side} x {self.side} pixels with at least {_LEAST_SEEN + _LEAST_HELD} samples that "
            f"differ was found in {_TRIES} tries; expected denser scans or a larger crop"
        )

    def _stack(self, crops: list[_Crop]) -> HeldOut:
        batch = make_batch([crop.seen for crop in crops], multiple=self.multiple)
        rows, cols = batch.shape

        def stack(arrays: list[NDArray]) -> Tensor:
            padded = torch.zeros(batch.y.shape, dtype=torch.float64)
            padded[..., :rows, :cols] = torch.from_numpy(np.stack(arrays))[:, None]
            return padded

        shares = stack([crop.share for crop in crops])
        held = shares > 0
        values = (stack([crop.values for crop in crops]) - batch.offset) / batch.scale
        variance = stack([crop.variance for crop in crops]) / batch.scale.square()
        share = shares[held] / shares.sum()
        block = stack([crop.block for crop in crops])[held].long()
        return HeldOut(batch, held, values[held].float(), variance[held].float(), share.float(), block)


def _corrupted(
    scan: Measurement,
    rng: np.random.Generator,
    values: NDArray,
    noise: NDArray,
    seen: NDArray,
    held: NDArray,
    judged: NDArray,
    block: NDArray,
    exposure: NDArray | None = None,
) -> _Crop:
    """Return a crop whose seen samples are noisier, and what judges it; `noise` is each sample's standard deviation."""
    extra = noise * rng.normal(size=values.shape)
    noisier = replace(
        scan,
        values=values + _ALPHA * extra,
        mask=seen,
        counts_per_unit=None if scan.counts_per_unit is None else scan.counts_per_unit / (1 + _ALPHA**2),
        read_noise=scan.read_noise * (1 + _ALPHA**2) ** 0.5,
        exposure=exposure,
        path=None,
    )
    ratio = scan.ratio
    return _Crop(
        noisier,
        np.where(held, values, values - extra / _ALPHA),
        noise**2 * np.where(held, 1.0, 1 + 1 / _ALPHA**2),
        held * ((1 - ratio) / held.sum()) + judged * (ratio / judged.sum()),
        block,
    )


def _numbered_blocks(shapes: Sequence[tuple[int, int]]) -> list[NDArray[np.int64]]:
    """Return for each scan the number of the block that a pixel lies in, counted through all scans."""
    numbered, first = [], 0
    for rows, cols in shapes:
        across = -(-cols // BLOCK_PX)
        numbered.append(first + np.add.outer(np.arange(rows) // BLOCK_PX * across, np.arange(cols) // BLOCK_PX))
        first += -(-rows // BLOCK_PX) * across
    return numbered


def _noise_map(scan: Measurement, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the standard deviation of the noise of each sample (H, W), told from the samples under `mask` alone."""
    part = replace(scan, mask=mask, path=None)
    batch = make_batch([part], multiple=1)
    sigma = (batch.sigma.double() * batch.scale)[0, 0].numpy()
    if scan.exposure is None:
        return sigma
    # The batch's noise of a pixel that `mask` leaves out is that of the mean exposure.
    exposure = np.where(scan.mask & ~mask, scan.exposure, 1.0)
    mean = usual_exposures(part).mean()
    return sigma * np.where(scan.mask & ~mask, np.sqrt(mean / exposure), 1.0)


def _random_blocks(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a random part of the pixels, in blocks of 1, 2 or 4.

    Blocks make the network predict across gaps too, where scan lines or full scans would show it the next pixel.
    """
    share, block = rng.uniform(*_HELD_SHARES), int(rng.choice(_BLOCKS))
    coarse = rng.random([-(-side // block) for side in shape]) < share
    return coarse.repeat(block, 0).repeat(block, 1)[: shape[0], : shape[1]]
