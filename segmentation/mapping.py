"""The input mapping: three ways from a scan, or an image, into the same detector.

=========== ================================================================================== ========
mapping     what the detector sees                                                             stride
=========== ================================================================================== ========
reconstruct the reconstructed (or any full) image, and its uncertainty                         1 px
features    the features and the last iterate of the unrolled network, no image in between     2 px
sparse      the samples, the mask and the noise alone: the baseline                            1 px
=========== ================================================================================== ========

All are at native scale: nothing is resized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from cs_recon.batch import make_batch
from cs_recon.learned import UNROLLED, LoadedNetwork, load_network
from cs_recon.noise import estimate_noise
from cs_recon.reconstruction import Reconstruction
from cs_recon.tiles import WHOLE_PIXELS, run_tiled, window
from cs_recon.unrolled import UnrolledISTA
from cs_recon.wavelets import pad_to_multiple
from segmentation.methods import full_image
from segmentation.preprocess import level_and_spread
from simulate.errors import InputError, nearest_name
from simulate.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from cs_recon.batch import ScanBatch
    from cs_recon.networks import NetworkOutput


RECONSTRUCT, FEATURES, SPARSE = "reconstruct", "features", "sparse"
MAPPINGS = (RECONSTRUCT, FEATURES, SPARSE)
FEATURE_MAP = "state"
"""What the ``features`` mapping takes of the unrolled network: its last iterate, folded, and the features beside it."""
FEATURE_PRESET = "fast"
"""The preset of the unrolled network whose features the detectors were trained on."""


@dataclass(frozen=True)
class Entry:
    """What a mapping hands to a network: so many channels at this stride in pixels."""

    channels: int
    stride: int


def entry_of(mapping: str, feature_channels: int) -> Entry:
    """Return the channels and the stride of a mapping's maps.

    Examples
    --------
    >>> entry_of("reconstruct", 36)
    Entry(channels=2, stride=1)
    """
    check_mapping(mapping)
    return {RECONSTRUCT: Entry(2, 1), FEATURES: Entry(feature_channels, 2), SPARSE: Entry(3, 1)}[mapping]


def check_mapping(mapping: object) -> None:
    """Raise `InputError` if there is no such mapping."""
    if mapping not in MAPPINGS:
        raise InputError(
            f"mapping is {mapping!r}{nearest_name(str(mapping), MAPPINGS)}; expected one of {', '.join(MAPPINGS)}"
        )


def image_maps(image: NDArray, sigma: NDArray | None = None) -> NDArray[np.float32]:
    r"""Return the maps (2, H, W) of an image and its uncertainty, the same for any unit, gain and offset.

    The image as `preprocess.level_and_spread` normalises it; the standard deviation :math:`\sigma` on the scale of
    its spread :math:`s`, as :math:`\tfrac13 \ln(2 \sigma / s + 0.01)`.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Any unit.
    sigma : ndarray, shape (H, W), optional
        Standard deviation in the image's unit; that of its noise, estimated from the image itself, if None.
    """
    level, spread = level_and_spread(image)
    if sigma is None:
        everywhere = np.ones(image.shape, dtype=bool)
        sigma = np.full(image.shape, estimate_noise(Measurement(image, everywhere)))
    told = np.log(2 * np.asarray(sigma, dtype=np.float64) / spread + 0.01) / 3
    return np.stack([2 * (image - level) / spread, told]).astype(np.float32)


def sparse_maps(batch: ScanBatch) -> Tensor:
    """Return the samples, the mask and the noise (B, 3, H, W) of a batch of scans."""
    return torch.cat([batch.y, batch.scan.mask, torch.log(batch.sigma + 1e-3) / 3], 1)


@dataclass(frozen=True, eq=False)
class Mapped:
    """One frame as a network sees it, window by window, so that a large one never has to be there at once.

    Attributes
    ----------
    window : callable
        From the rows and columns of a window (slices in pixels, their ends multiples of the coarsest stride) to the
        maps in it, (1, C, h, w).
    padded : (int, int)
        The sides that windows cover: those of the frame, rounded up.
    image : ndarray, shape (H, W)
        The image that goes with the maps, on which intensities are measured.
    """

    window: Callable[[slice, slice], Tensor]
    padded: tuple[int, int]
    image: NDArray[np.float64]


def map_frame(
    frame: NDArray[np.float64] | Reconstruction | Measurement,
    mapping: str,
    *,
    multiple: int,
    device: torch.device,
    reconstructor: LoadedNetwork | None = None,
) -> Mapped:
    """Bring a frame to a network by a mapping.

    Parameters
    ----------
    frame : ndarray (H, W), Reconstruction or Measurement
        An image counts as a full scan where the mapping wants a scan.
    mapping : {"reconstruct", "features", "sparse"}
        The way in.
    multiple : int
        What the sides are padded to a multiple of, in pixels of the frame.
    device : torch.device
        Where the maps go.
    reconstructor : LoadedNetwork, optional
        The network that gives features; the shipped one if None.

    Raises
    ------
    InputError
        If the mapping needs what the frame does not have: samples, or features that fit it.
    """
    check_mapping(mapping)
    if mapping == RECONSTRUCT:
        return _from_image(frame, multiple, device)
    if mapping == FEATURES and isinstance(frame, Reconstruction):
        return _from_features(frame, multiple, device, shipped=reconstructor is None)
    scan = _as_scan(frame)
    batch = make_batch([scan], multiple=multiple, device=device)
    padded = (batch.y.shape[-2], batch.y.shape[-1])
    if mapping == SPARSE:
        return Mapped(_slicer(sparse_maps(batch)), padded, batch.denormalise(batch.x0)[0, 0].cpu().numpy())
    loaded = reconstructor or load_network(UNROLLED, "", device)
    batch = batch.with_smooth(fast=True)
    if scan.mask.size <= WHOLE_PIXELS:
        out = fast_output(batch, loaded)
        return Mapped(
            _slicer(*out.features[FEATURE_MAP]), padded, batch.denormalise(out.image.detach())[0, 0].cpu().numpy()
        )
    image, _ = run_tiled(lambda part: fast_output(part, loaded), batch, multiple=multiple)
    return Mapped(
        lambda rows, cols: fast_output(window(batch, rows, cols), loaded).features[FEATURE_MAP][0],
        padded,
        batch.denormalise(image.detach())[0, 0].cpu().numpy(),
    )


def fast_output(batch: ScanBatch, loaded: LoadedNetwork) -> NetworkOutput:
    """Run the first steps of the unrolled network, whose features the ``features`` mapping takes."""
    network = loaded.network
    assert isinstance(network, UnrolledISTA)
    return network(batch, network.config.fast_steps)


def feature_maps(scan: Measurement) -> NDArray[np.float32]:
    """Return what the ``features`` mapping shows of one scan by the shipped reconstruction network, (C, H/2, W/2)."""
    batch = make_batch([scan], multiple=2).with_smooth(fast=True)
    with torch.inference_mode():
        maps, _ = fast_output(batch, load_network(UNROLLED)).features[FEATURE_MAP]
    return maps[0].float().numpy()


def _from_image(
    frame: NDArray[np.float64] | Reconstruction | Measurement, multiple: int, device: torch.device
) -> Mapped:
    sigma = frame.sigma if isinstance(frame, Reconstruction) else None
    image = full_image(frame)
    maps = image_maps(image, sigma)
    # Mirrored: an edge pixel repeated gives streaks, which pass for particles.
    beyond = [(0, 0), *((0, -side % multiple) for side in image.shape)]
    maps = torch.from_numpy(np.pad(maps, beyond, mode="symmetric"))[None].to(device)
    return Mapped(_slicer(maps), (maps.shape[-2], maps.shape[-1]), image)


def _slicer(maps: Tensor, stride: int = 1) -> Callable[[slice, slice], Tensor]:
    def cut(rows: slice, cols: slice) -> Tensor:
        return maps[..., rows.start // stride : rows.stop // stride, cols.start // stride : cols.stop // stride]

    return cut


def _as_scan(frame: NDArray[np.float64] | Reconstruction | Measurement) -> Measurement:
    if isinstance(frame, Measurement):
        return frame
    if isinstance(frame, Reconstruction):
        raise InputError(
            "mapping 'sparse' takes the scan itself and got a reconstruction; give the measurement, or choose another "
            "mapping"
        )
    return Measurement(frame, np.ones(frame.shape, dtype=bool))


def _from_features(frame: Reconstruction, multiple: int, device: torch.device, *, shipped: bool) -> Mapped:
    """Take a reconstruction's features; `InputError` if they are absent, of another network or do not fit its image."""
    if not shipped:
        raise InputError("these weights bring a reconstructor of their own; give the measurement, not a reconstruction")
    if FEATURE_MAP not in frame.features:
        raise InputError(
            f"mapping {FEATURES!r} needs the features of {UNROLLED!r} and the reconstruction, by {frame.method!r}, has "
            "none (frames of more than a million pixels come without); give the measurement itself"
        )
    preset = frame.info.get("preset")
    if preset != FEATURE_PRESET:
        raise InputError(
            f"the features are those of preset {preset!r}; expected a reconstruction with preset={FEATURE_PRESET!r}, "
            "on which the detector was trained"
        )
    maps, stride = frame.features[FEATURE_MAP]
    rows, cols = frame.image.shape
    covered = maps.shape[-2] * stride, maps.shape[-1] * stride
    if not (rows <= covered[0] < rows + multiple and cols <= covered[1] < cols + multiple):
        raise InputError(
            f"the features cover {covered[0]} x {covered[1]} pixels and the frame has {rows} x {cols}; expected "
            "features of this very frame"
        )
    maps = pad_to_multiple(maps.float().to(device), multiple // stride)
    return Mapped(
        _slicer(maps, stride), (maps.shape[-2] * stride, maps.shape[-1] * stride), frame.image.astype(np.float64)
    )
