"""From measurements to the normalised tensors that every torch method works on, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from cs_recon.fill import pyramid_fill
from cs_recon.linear_estimate import FAST_ITERATIONS, NOISY, linear_estimate
from cs_recon.noise import exposure_weights, usual_exposures
from cs_recon.noise_levels import with_noise
from cs_recon.noise_models import LARGEST_VARIANCE, noise_variance
from cs_recon.operator import MaskedScan
from cs_recon.wavelets import pad_to_multiple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from simulate.measurement import Measurement


@dataclass(frozen=True, eq=False)
class ScanBatch:
    """A batch of scans of one shape, normalised so that the samples of each have mean 0 and variance 1.

    Normalising by the samples makes every method equivariant to the scale and offset of the input's unit.

    Attributes
    ----------
    y : Tensor, shape (B, 1, H, W)
        Normalised samples, zero where nothing was scanned; sides padded (unscanned) to the asked multiple.
    scan : MaskedScan
        The operator, with the mask and the weights by exposure.
    sigma : Tensor, shape (B, 1, H, W)
        Standard deviation of the noise that a sample has, or would have, at each pixel, normalised.
    x0 : Tensor, shape (B, 1, H, W)
        First guess by `pyramid_fill`.
    noise : Tensor, shape (B, 1, 1, 1)
        Root mean square of `sigma` over the frame: one figure that parts of a frame share.
    offset, scale : Tensor, shape (B, 1, 1, 1)
        What was subtracted and divided by.
    shape : (int, int)
        Frame shape before padding.
    smooth : Tensor, shape (B, 1, H, W), optional
        A better first guess by `linear_estimate`, for networks that start from it (`with_smooth`).
    """

    y: Tensor
    scan: MaskedScan
    sigma: Tensor
    x0: Tensor
    noise: Tensor
    offset: Tensor
    scale: Tensor
    shape: tuple[int, int]
    smooth: Tensor | None = None

    def to(self, device: torch.device | str) -> ScanBatch:
        """Return the batch on another device."""
        weights = None if self.scan.weights is None else self.scan.weights.to(device)
        scan = MaskedScan(self.scan.mask.to(device), weights)
        y, sigma, x0, noise, offset, scale = (
            tensor.to(device) for tensor in (self.y, self.sigma, self.x0, self.noise, self.offset, self.scale)
        )
        smooth = None if self.smooth is None else self.smooth.to(device)
        return ScanBatch(y, scan, sigma, x0, noise, offset, scale, self.shape, smooth)

    def moved(self, move: Callable[[Tensor], Tensor], shape: tuple[int, int]) -> ScanBatch:
        """Return the batch with its maps moved alike, for frames of `shape`; what has one value a frame stays."""
        weights, smooth = self.scan.weights, self.smooth
        return replace(
            self,
            y=move(self.y),
            scan=MaskedScan(move(self.scan.mask), None if weights is None else move(weights)),
            sigma=move(self.sigma),
            x0=move(self.x0),
            shape=shape,
            smooth=None if smooth is None else move(smooth),
        )

    def with_smooth(self, *, fast: bool = False, all_noisy: bool | None = None) -> ScanBatch:
        """Return the batch with its `smooth` computed; `fast` spends fewer iterations on noisy scans.

        Whether all are noisy is asked of the device, which it stops for, if it is not told.
        """
        if self.smooth is not None:
            return self
        fewer = {"noisy_iterations": FAST_ITERATIONS, "all_noisy": all_noisy} if fast else {}
        return replace(self, smooth=linear_estimate(self, **fewer))

    def all_noisy(self) -> bool:
        """Return whether all scans count as noisy: `linear_estimate` may spend fewer iterations on such a batch."""
        return bool((self.noise >= NOISY).all())

    def denormalise(self, x: Tensor) -> Tensor:
        """Crop images (B, 1, H, W) to the frame and bring them back to the measurements' unit, in float64."""
        return x[..., : self.shape[0], : self.shape[1]].double() * self.scale + self.offset

    def normalise(self, image: Tensor) -> Tensor:
        """Bring images (B, 1, h, w) in the measurements' unit to the batch's and its padding (by replication)."""
        rows, cols = self.y.shape[-2] - image.shape[-2], self.y.shape[-1] - image.shape[-1]
        normalised = ((image - self.offset) / self.scale).float()
        return F.pad(normalised, (0, cols, 0, rows), mode="replicate") if rows or cols else normalised


def make_batch(
    measurements: Sequence[Measurement],
    *,
    multiple: int = 16,
    device: torch.device | str = "cpu",
    like: ScanBatch | None = None,
) -> ScanBatch:
    """Stack measurements of one shape into a `ScanBatch` with sides padded to `multiple`.

    With `like`, each is normalised as the scan of that batch at its place was: for other scans of the same scenes.
    """
    if like is None:
        offsets, scales = zip(*(_location_and_scale(m) for m in measurements), strict=True)
        offset = torch.tensor(offsets, dtype=torch.float64).reshape(-1, 1, 1, 1)
        scale = torch.tensor(scales, dtype=torch.float64).reshape(-1, 1, 1, 1)
    else:
        offset, scale = like.offset, like.scale
    offset, scale = offset.to(device), scale.to(device)

    def stack(arrays: Sequence[NDArray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)[:, None]).to(device)

    mask = stack([m.mask for m in measurements]).float()
    y = mask * ((stack([m.values for m in measurements]) - offset) / scale).float()
    weights = None
    if any(m.exposure is not None for m in measurements):
        weights = stack([exposure_weights(m) for m in measurements]).float()
    mask, y = _pad(mask, multiple), _pad(y, multiple)
    x0 = pyramid_fill(y, mask)
    sigma = torch.cat([
        _noise_map(m, x0[i : i + 1].double() * scale[i] + offset[i], scale[i]) for i, m in enumerate(measurements)
    ]).float()  # fmt: skip
    noise = sigma.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    scan = MaskedScan(mask, None if weights is None else _pad(weights, multiple))
    return ScanBatch(y, scan, sigma, x0, noise, offset, scale, measurements[0].shape)


def neighbour_batch(scans: Sequence[Measurement | None], of: Sequence[Measurement], batch: ScanBatch) -> ScanBatch:
    """Stack the scans taken before (or after) those of a batch, normalised alike; an absent one (None) samples nothing.

    Parameters
    ----------
    scans : sequence of Measurement or None
        One for each scan of the batch.
    of : sequence of Measurement
        The scans of the batch.
    batch : ScanBatch
        Made of `of`.
    """
    filled = [own if scan is None else scan for scan, own in zip(scans, of, strict=True)]
    rows, cols = batch.y.shape[-2:]
    made = make_batch(filled, multiple=math.gcd(rows, cols), device=batch.y.device, like=batch)
    present = torch.tensor([scan is not None for scan in scans], device=batch.y.device).reshape(-1, 1, 1, 1).float()
    return replace(made, y=made.y * present, scan=replace(made.scan, mask=made.scan.mask * present))


def _pad(x: Tensor, multiple: int) -> Tensor:
    return pad_to_multiple(x, multiple, mode="constant")


def _location_and_scale(measurement: Measurement) -> tuple[float, float]:
    samples = measurement.samples
    spread = float(samples.std())
    return float(samples.mean()), spread if spread > 0 else abs(float(samples.mean())) or 1.0


def _noise_map(measurement: Measurement, signal: Tensor, scale: Tensor) -> Tensor:
    """Return the noise a sample would have where the signal is `signal`, in units of `scale`, at most a million."""
    exposure: Tensor | float = 1.0
    if measurement.exposure is not None:
        # What was not scanned would have got the mean exposure.
        mean = float(usual_exposures(measurement).mean())
        told = torch.from_numpy(np.where(measurement.mask, measurement.exposure, mean)).to(signal)
        rows, cols = signal.shape[-2] - told.shape[-2], signal.shape[-1] - told.shape[-1]
        exposure = F.pad(told, (0, cols, 0, rows), value=mean)
    known = with_noise(measurement)
    variance = noise_variance(signal, known.counts_per_unit, known.black_level, known.read_noise, exposure)
    sigma = variance.sqrt() / scale
    return sigma.clamp(max=LARGEST_VARIANCE**0.5)
