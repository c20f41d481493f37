"""The input mapping: three ways from a scan, or an image, into the same detector.

=========== ================================================================================== ========
mapping     what the detector sees                                                             stride
=========== ================================================================================== ========
reconstruct the reconstructed (or any full) image, and its uncertainty                         1 px
features    what the unrolled network leaves of a scan: image, sigma and the features beneath   2 px
sparse      the samples, the mask and the noise alone: the baseline                            1 px
=========== ================================================================================== ========

The uncertainty is that of the method itself (`Reconstruction.own_sigma`), on which detectors are trained: what the
samples of one scan add to it shifts a whole map.

All are at native scale: no model resizes what it is given. Where the user wants it, or lets `segmentation.scales`
choose, ``reconstruct`` and ``features`` show a frame reduced (`Mapped.reduced`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from cs_recon.batch import make_batch
from cs_recon.device import quick_arithmetic
from cs_recon.learned import UNROLLED, LoadedNetwork, denormalised, load_network, scan_batch
from cs_recon.networks import UNSHUFFLE, NetworkOutput
from cs_recon.noise import estimate_noise
from cs_recon.reconstruction import Reconstruction
from cs_recon.tiles import WHOLE_PIXELS, run_tiled, window
from cs_recon.wavelets import pad_to_multiple
from segmentation.methods import Frame, full_image
from segmentation.preprocess import level_and_spread
from segmentation.scales import shrunk
from simulate.errors import InputError, nearest_name
from simulate.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from cs_recon.batch import ScanBatch


RECONSTRUCT, FEATURES, SPARSE = "reconstruct", "features", "sparse"
MAPPINGS = (RECONSTRUCT, FEATURES, SPARSE)
FEATURE_MAP = "last"
"""The features of the unrolled network that the ``features`` mapping takes."""
FEATURE_PRESET = "full"
"""The preset of the unrolled network whose features the detectors were trained on: on those of two steps they found a
tenth fewer particles at 5 % sampling."""
IMAGE_MAPS = 2
"""Channels of `image_maps`."""
FARTHEST = 30.0
"""How far from its median, in half spreads, an image is seen."""


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
    entries = {RECONSTRUCT: Entry(IMAGE_MAPS, 1), FEATURES: Entry(feature_channels, UNSHUFFLE), SPARSE: Entry(3, 1)}
    return entries[mapping]


def check_mapping(mapping: object) -> None:
    """Raise `InputError` if there is no such mapping."""
    if mapping not in MAPPINGS:
        raise InputError(
            f"mapping is {mapping!r}{nearest_name(str(mapping), MAPPINGS)}; expected one of {', '.join(MAPPINGS)}"
        )


def image_maps(image: NDArray, sigma: NDArray | None = None) -> NDArray[np.float32]:
    r"""Return the maps (2, H, W) of an image and its uncertainty, the same for any unit, gain and offset.

    The image as `preprocess.level_and_spread` normalises it, cut at 30 (a hot pixel of thousands would blind a network
    to all around); the standard deviation :math:`\sigma` on the scale of
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
    return np.stack([np.clip(2 * (image - level) / spread, -FARTHEST, FARTHEST), told]).astype(np.float32)


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
    reduced : callable, optional
        From a scale below 1 to the frame at this share of its sides; None where a mapping has full size alone: that of
        samples, and of features that are computed window by window.
    """

    window: Callable[[slice, slice], Tensor]
    padded: tuple[int, int]
    image: NDArray[np.float64]
    reduced: Callable[[float], Mapped] | None = None


def map_frames(
    frames: Sequence[Frame],
    mapping: str,
    *,
    multiple: int,
    device: torch.device,
    reconstructor: LoadedNetwork | None = None,
) -> list[Mapped]:
    """Bring frames of one shape to a network by a mapping.

    Parameters
    ----------
    frames : sequence of ndarray (H, W), Reconstruction or Measurement
        An image counts as a full scan where the mapping wants a scan. Of scans whose features are wanted, all go
        through the reconstruction network together; one that is too large for it goes alone.
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
        If the mapping needs what a frame does not have: samples, or features that fit it.
    """
    check_mapping(mapping)
    if mapping == RECONSTRUCT:
        sigmas = [frame.own_sigma if isinstance(frame, Reconstruction) else None for frame in frames]
        images = [full_image(frame) for frame in frames]
        return [_from_image(image, sigma, multiple, device) for image, sigma in zip(images, sigmas, strict=True)]
    if mapping == SPARSE:
        batch = make_batch([_as_scan(frame) for frame in frames], multiple=multiple, device=device)
        padded = (batch.y.shape[-2], batch.y.shape[-1])
        images = batch.denormalise(batch.x0)[:, 0].cpu().numpy()
        parts = zip(sparse_maps(batch).split(1), images, strict=True)
        return [Mapped(_slicer(maps), padded, image) for maps, image in parts]
    seen: dict[int, Mapped] = {}
    scans: dict[int, Measurement] = {}
    for index, frame in enumerate(frames):
        if isinstance(frame, Reconstruction):
            _check_features(frame, multiple, shipped=reconstructor is None)
            seen[index] = _from_features(frame, multiple, device)
        else:
            scans[index] = _as_scan(frame)
    if scans:
        loaded = reconstructor or load_network(UNROLLED, "", device)
        seen |= zip(scans, _through_network(list(scans.values()), multiple, device, loaded), strict=True)
    return [seen[index] for index in range(len(frames))]


def has_features(frame: Reconstruction) -> bool:
    """Return whether a reconstruction carries the features that the shipped detectors were trained on."""
    return (
        frame.method == UNROLLED
        and FEATURE_MAP in frame.features
        and frame.info.get("preset") == FEATURE_PRESET
        and frame.info.get("weights_sha256") == load_network(UNROLLED).info["weights_sha256"]
    )


def feature_maps(frame: Reconstruction, multiple: int = UNSHUFFLE, device: torch.device | str = "cpu") -> Tensor:
    """Return what the ``features`` mapping shows of a reconstruction by the unrolled network, (1, C, h, w) at stride 2.

    The maps of its image and uncertainty, folded, and beside them the features; at the lower and the right edge they
    go on to sides that are multiples of `multiple` pixels. A detector of images thus has all that it knows here too
    (`transfer.start_from`), and what it learns of the features is gain.
    """
    maps, stride = frame.features[FEATURE_MAP]
    return _image_beside(maps, stride, full_image(frame), frame.own_sigma, multiple, device)


def _image_beside(
    features: Tensor,
    stride: int,
    image: NDArray[np.float64],
    sigma: NDArray | None,
    multiple: int,
    device: torch.device | str,
) -> Tensor:
    seen = _mirrored(image_maps(image, sigma), multiple).to(device)
    return beside(seen, pad_to_multiple(features.float().to(device), multiple // stride))


def beside(seen: Tensor, features: Tensor) -> Tensor:
    """Return images' maps (B, 2, H, W), folded, and features (B, C, H/2, W/2) as one."""
    return torch.cat([F.pixel_unshuffle(seen, UNSHUFFLE), features], 1)


def moved(maps: Tensor, mapping: str, move: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a mapping's maps (B, C, h, w) turned or mirrored by `move`, folded ones as the pixels they stand for.

    Of `features` the other channels are not quite those of the turned scan, since the filters behind them have an
    orientation: a network takes them so if it was trained so.
    """
    if mapping != FEATURES:
        return move(maps)
    folded = IMAGE_MAPS * UNSHUFFLE**2
    return beside(move(F.pixel_shuffle(maps[:, :folded], UNSHUFFLE)), move(maps[:, folded:]))


def trainable_maps(out: NetworkOutput) -> Tensor:
    """Return `feature_maps` of a batch that a network reconstructs, through which gradients reach it.

    Level and spread of an image are numbers like those of its scan, and give none.
    """
    pairs = [level_and_spread(image[0].numpy()) for image in out.image.detach().float().cpu()]
    level, spread = (out.image.new_tensor(values)[:, None, None, None] for values in zip(*pairs, strict=True))
    told = torch.log(2 * torch.exp(out.log_sigma) / spread + 0.01) / 3
    seen = (2 * (out.image - level) / spread).clamp(-FARTHEST, FARTHEST)
    return beside(torch.cat([seen, told], 1), out.features[FEATURE_MAP][0].float())


def _from_image(image: NDArray[np.float64], sigma: NDArray | None, multiple: int, device: torch.device) -> Mapped:
    def reduced(scale: float) -> Mapped:
        told = None if sigma is None else shrunk(sigma, scale)
        return _from_image(shrunk(image, scale), told, multiple, device)

    maps = _mirrored(image_maps(image, sigma), multiple).to(device)
    return Mapped(_slicer(maps), (maps.shape[-2], maps.shape[-1]), image, reduced)


def _mirrored(maps: NDArray[np.float32], multiple: int) -> Tensor:
    """Return maps (1, C, H, W) that go on mirrored: an edge pixel repeated gives streaks, which pass for particles."""
    beyond = [(0, 0), *((0, -side % multiple) for side in maps.shape[1:])]
    return torch.from_numpy(np.pad(maps, beyond, mode="symmetric"))[None]


@torch.no_grad()
def _through_network(
    scans: Sequence[Measurement], multiple: int, device: torch.device, loaded: LoadedNetwork
) -> list[Mapped]:
    """Take the features of scans; those of a large one window by window, so that they never are there at once."""
    if len(scans) > 1 and scans[0].mask.size > WHOLE_PIXELS:
        return [mapped for scan in scans for mapped in _through_network([scan], multiple, device, loaded)]
    # A first guess of few iterations takes half of the time, and as many particles are found; the image for its own
    # sake is up to 0.06 dB better by more of them, at 5 counts a pixel.
    batch = scan_batch(scans, loaded, multiple=multiple, preset="fast")

    def run(part: ScanBatch) -> NetworkOutput:
        with quick_arithmetic(device):
            return loaded.network(part)

    if scans[0].mask.size <= WHOLE_PIXELS:
        done = denormalised(scans, batch, run(batch), loaded)
        return [_from_features(frame, multiple, device) for frame in done]
    whole = NetworkOutput(*run_tiled(run, batch, multiple=multiple), {})
    frame = denormalised(scans, batch, whole, loaded)[0]
    image = full_image(frame)
    seen = _mirrored(image_maps(image, frame.own_sigma), multiple).to(device)

    @torch.no_grad()
    def cut(rows: slice, cols: slice) -> Tensor:
        return beside(seen[..., rows, cols], run(window(batch, rows, cols)).features[FEATURE_MAP][0].float())

    return [Mapped(cut, (seen.shape[-2], seen.shape[-1]), image)]


def _from_features(frame: Reconstruction, multiple: int, device: torch.device) -> Mapped:
    image, own, maps = full_image(frame), frame.own_sigma, feature_maps(frame, multiple, device)

    def reduced(scale: float) -> Mapped:
        small, sigma = shrunk(image, scale), None if own is None else shrunk(own, scale)
        features, stride = frame.features[FEATURE_MAP]
        within = features[..., : -(-image.shape[0] // stride), : -(-image.shape[1] // stride)].float()
        size = [-(-side // stride) for side in small.shape]
        fewer = F.interpolate(within, size=size, mode="bilinear", antialias=True, align_corners=False)
        return _folded(_image_beside(fewer, stride, small, sigma, multiple, device), small, None)

    return _folded(maps, image, reduced)


def _folded(maps: Tensor, image: NDArray[np.float64], reduced: Callable[[float], Mapped] | None) -> Mapped:
    padded = (maps.shape[-2] * UNSHUFFLE, maps.shape[-1] * UNSHUFFLE)
    return Mapped(_slicer(maps, UNSHUFFLE), padded, image, reduced)


def _slicer(maps: Tensor, stride: int = 1) -> Callable[[slice, slice], Tensor]:
    def cut(rows: slice, cols: slice) -> Tensor:
        return maps[..., rows.start // stride : rows.stop // stride, cols.start // stride : cols.stop // stride]

    return cut


def _as_scan(frame: Frame) -> Measurement:
    if isinstance(frame, Measurement):
        return frame
    if isinstance(frame, Reconstruction):
        raise InputError(
            "mapping 'sparse' takes the scan itself and got a reconstruction; give the measurement, or choose another "
            "mapping"
        )
    return Measurement(frame, np.ones(frame.shape, dtype=bool))


def _check_features(frame: Reconstruction, multiple: int, *, shipped: bool) -> None:
    """Raise `InputError` if a reconstruction's features are absent, of another network or do not fit its image."""
    if not shipped:
        raise InputError("these weights bring a reconstructor of their own; give the measurement, not a reconstruction")
    if frame.method != UNROLLED or FEATURE_MAP not in frame.features:
        raise InputError(
            f"mapping {FEATURES!r} needs the features of {UNROLLED!r} and the reconstruction, by {frame.method!r}, has "
            "none (frames of more than a million pixels come without); give the measurement itself"
        )
    if not has_features(frame):
        raise InputError(
            f"the features are those of preset {frame.info.get('preset')!r} and weights "
            f"{frame.info.get('weights')!r}; expected a reconstruction with preset={FEATURE_PRESET!r} and the shipped "
            "weights, on which the detector was trained"
        )
    maps, stride = frame.features[FEATURE_MAP]
    rows, cols = frame.image.shape
    covered = maps.shape[-2] * stride, maps.shape[-1] * stride
    if not (rows <= covered[0] < rows + multiple and cols <= covered[1] < cols + multiple):
        raise InputError(
            f"the features cover {covered[0]} x {covered[1]} pixels and the frame has {rows} x {cols}; expected "
            "features of this very frame"
        )
