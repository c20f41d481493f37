"""Reconstruction by trained networks: loading weights, running them, bringing the result back to the input's unit."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import as_file, files
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import torch

from cs_recon.batch import make_batch
from cs_recon.calibrate import SigmaCalibration
from cs_recon.checkpoint import build, load_weights
from cs_recon.device import full_precision, pick_device, quick_arithmetic, quick_precision
from cs_recon.inpainting import InpaintingConfig, InpaintingUNet
from cs_recon.networks import NetworkOutput
from cs_recon.reconstruction import Reconstruction, reconstructors
from cs_recon.replay import Replayed
from cs_recon.tiles import WHOLE_PIXELS, run_tiled
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from cs_recon.views import check_views, mean_of_views
from cs_recon.widening import widened
from simulate.errors import InputError, check_kind, check_positive, nearest_name

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import Tensor

    from cs_recon.batch import ScanBatch
    from simulate.measurement import Measurement

UNROLLED = "unrolled-ista"
INPAINTING = "inpainting"
NETWORKS = (UNROLLED, INPAINTING)
"""The methods with a network: they tell a sigma, can be adapted, and are fast enough to run twice on a movie."""
PRESETS = ("full", "fast")
CPU_PIXELS = 1 << 19
"""Pixels that a CPU computes together: more leave its caches, and take up to twice the time."""
_LOADING = Lock()
"""Threads that want a network at once wait for one of them to load it."""
INPAINTING_VIEWS = 4
"""How often `inpainting` looks at a scan if it is not told: who asks for it rather than the default has the time."""


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A network ready to run, with what its weights file says.

    Attributes
    ----------
    method : str
        The method's name.
    network : UnrolledISTA or InpaintingUNet
        In evaluation mode.
    calibrations : dict of str to SigmaCalibration
        The factors on sigma, by preset.
    info : dict
        Name and hash of the weights, for provenance.
    """

    method: str
    network: UnrolledISTA | InpaintingUNet
    calibrations: dict[str, SigmaCalibration]
    info: dict[str, object]


@reconstructors.register(UNROLLED, "ISTA unrolled into a trained network, with a per-pixel uncertainty (default)")
def unrolled_ista(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    preset: str = "full",
    within_noise: float | None = None,
    views: int = 1,
    graph: bool = False,
    weights: str = "",
) -> list[Reconstruction]:
    """Reconstruct by the trained unrolled network; one set of weights serves every scheme, ratio and dose.

    Parameters
    ----------
    measurements : sequence of Measurement
        Scans of one shape, at least 8 x 8 pixels.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    preset : {"full", "fast"}
        All steps of the network, or its first few (`UnrolledConfig.fast_steps`), in bfloat16 where the device has it
        (`device.quick_arithmetic`): some tenths of a dB for a quarter to a third of the time. ``full`` is in single
        precision, on a GPU with convolutions in TF32 if torch is not told otherwise.
    within_noise : float, optional
        Move the image at each sample to within so many standard deviations of its noise, if it is further away.
    views : int
        Average so many mirrored and turned views of the scan (`views.mean_of_views`), 1 to 8: four are worth about
        0.1 dB in four times the time.
    graph : bool
        On a GPU, record the kernels (a CUDA graph) at the first scans of a shape and replay them for the next ones,
        which saves the time of launching them one by one; for frames of at most a million pixels.
    weights : str
        A weights file of your own training; the shipped one if empty.

    Returns
    -------
    list of Reconstruction
        With a calibrated `sigma` that, where the noise is told (`Measurement.counts_per_unit` or `read_noise`), is
        widened by what the samples tell of errors (`Reconstruction.widened_by`; ``info["sigma_widened"]`` says how many
        times it grew), and the features of the last step: ``"last"``, ``"codes/2"``, ``"codes/4"``, ....
        Frames of more than a million pixels are computed by tiles, and come without features.
    """
    if preset not in PRESETS:
        raise InputError(
            f"preset is {preset!r}{nearest_name(str(preset), PRESETS)}; expected one of {', '.join(PRESETS)}"
        )
    loaded = load_network(UNROLLED, weights, pick_device(device))
    check_kind(graph, "graph", bool)
    if not graph:
        return _reconstruct(measurements, loaded, _passes(loaded, preset, views), preset, within_noise)
    check_views(views)
    _check_graph(measurements[0], pick_device(device), loaded.network.config.multiple)
    with _LOADING:
        replayed = _replayed(loaded, preset, views)

    def run(batch: ScanBatch) -> NetworkOutput:
        return replayed(batch, preset == "fast" and batch.all_noisy())

    return _reconstruct(measurements, loaded, run, preset, within_noise, with_start=False)


def _passes(loaded: LoadedNetwork, preset: str, views: int) -> Callable[[ScanBatch], NetworkOutput]:
    """Return what runs the unrolled network on a batch."""
    network = loaded.network
    assert isinstance(network, UnrolledISTA)

    def once(batch: ScanBatch) -> NetworkOutput:
        if preset == "full":
            return network(batch)
        with quick_arithmetic(batch.y.device):
            return network(batch, network.config.fast_steps)

    return mean_of_views(once, views)


@lru_cache(maxsize=4)
def _replayed(loaded: LoadedNetwork, preset: str, views: int) -> Replayed:
    """Return what records `_passes`, from the scans' samples on, and replays them."""
    run, smooth = _passes(loaded, preset, views), loaded.network.config.start == "smooth"

    def from_samples(batch: ScanBatch, all_noisy: Hashable) -> NetworkOutput:
        return run(batch.with_smooth(fast=preset == "fast", all_noisy=bool(all_noisy)) if smooth else batch)

    return Replayed(from_samples)


def _check_graph(scan: Measurement, device: torch.device, multiple: int) -> None:
    """Raise `InputError` where no graph can be recorded."""
    if device.type != "cuda":
        raise InputError(f"graph is True and the device is {device.type!r}; expected a GPU, or leave graph out")
    if math.prod(side + -side % multiple for side in scan.shape) > WHOLE_PIXELS:
        raise InputError(
            f"graph is True for a frame of {scan.shape[0]} x {scan.shape[1]} pixels, which is computed by tiles; "
            f"expected at most {WHOLE_PIXELS} pixels, sides rounded up to multiples of {multiple}, or leave graph out"
        )


@reconstructors.register(INPAINTING, "a trained U-Net of gated convolutions, with a per-pixel uncertainty")
def inpainting(
    measurements: Sequence[Measurement],
    /,
    *,
    device: str = "auto",
    within_noise: float | None = None,
    views: int = INPAINTING_VIEWS,
    weights: str = "",
) -> list[Reconstruction]:
    """Reconstruct by the trained inpainting network; parameters as of `unrolled_ista`, but four views.

    Returns
    -------
    list of Reconstruction
        With `sigma` as of `unrolled_ista`, and the features ``"last"``, ``"encoder/2"``, ``"encoder/4"``, ...
    """
    loaded = load_network(INPAINTING, weights, pick_device(device))
    return _reconstruct(measurements, loaded, mean_of_views(loaded.network, views), "full", within_noise)


def load_network(method: str, weights: str = "", device: torch.device | str = "cpu") -> LoadedNetwork:
    """Return a learned method's network with weights from a file, or the shipped ones."""
    if not weights:
        with as_file(files("cs_recon") / "weights" / f"{method}.safetensors") as path, _LOADING:
            return _load(method, path, (), torch.device(device))
    if not isinstance(weights, str | os.PathLike):
        raise InputError(f"weights is {weights!r}; expected the path of a .safetensors file")
    path = Path(weights)
    try:
        path = path.resolve()
        found = path.stat()
    except (OSError, ValueError):
        raise InputError(
            f"no weights file at {str(path)[:200]!r}; expected a .safetensors file made by 'cs-stem train'"
        ) from None
    # These tell a file that was written anew from the one that was read before, even if its time was kept.
    version = found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
    with _LOADING:
        return _load(method, path, version, torch.device(device))


def scan_batch(
    measurements: Sequence[Measurement], loaded: LoadedNetwork, *, multiple: int, preset: str = "full"
) -> ScanBatch:
    """Return scans of one shape as a network takes them: normalised, padded, with the first guess it starts from."""
    device = next(loaded.network.parameters()).device
    batch = make_batch(list(measurements), multiple=multiple, device=device)
    return batch.with_smooth(fast=preset == "fast") if loaded.network.config.start == "smooth" else batch


def denormalised(
    measurements: Sequence[Measurement],
    batch: ScanBatch,
    out: NetworkOutput,
    loaded: LoadedNetwork,
    *,
    preset: str = "full",
    within_noise: float | None = None,
) -> list[Reconstruction]:
    """Bring a network's output back to the units of its scans; sigma calibrated, and widened where noise is told."""
    image = out.image
    if within_noise is not None:
        reach = check_positive(within_noise, "within_noise", "it is in standard deviations") * batch.sigma
        kept = torch.minimum(torch.maximum(image, batch.y - reach), batch.y + reach)
        image = torch.where(batch.scan.mask > 0, kept, image)
    rows, cols = batch.shape
    told = [scan.noise_is_told for scan in measurements]
    calibration = loaded.calibrations[preset]
    factors = batch.scale.new_tensor([
        calibration.at(scan.ratio, "widened" if known else "untold")
        for scan, known in zip(measurements, told, strict=True)
    ])  # fmt: skip
    narrow = out.log_sigma.double().exp() * factors.reshape(-1, 1, 1, 1)
    sigma, added = widened(batch, out.image, narrow, told)
    sigma = sigma[..., :rows, :cols]
    times = (sigma.square().mean((1, 2, 3)) / narrow[..., :rows, :cols].square().mean((1, 2, 3))).sqrt().tolist()
    info: dict[str, object] = {**loaded.info, "preset": preset}
    spread = sigma * batch.scale
    widened_by = (added * batch.scale.flatten()).tolist()
    # Rounded where they are: half as many bytes to move.
    images, sigmas = (maps[:, 0].float().cpu().numpy() for maps in (batch.denormalise(image), spread))
    info["precision"] = (quick_precision if preset == "fast" else full_precision)(batch.y.device)
    results: list[Reconstruction] = []
    for index, scan in enumerate(measurements):
        results.append(Reconstruction(
            images[index].copy(),  # a part of the batch's would keep all of it
            sigmas[index].copy(),
            loaded.method,
            pixel_size_nm=scan.pixel_size_nm,
            features={name: (_part(maps, index), stride) for name, (maps, stride) in out.features.items()},
            info={**info, "sigma_widened": round(times[index], 3)},
            name=scan.name,
            scan=scan,
            widened_by=widened_by[index],
        ))  # fmt: skip
    return results


def _part(maps: Tensor, index: int) -> Tensor:
    """Return the maps of one scan of a batch, in memory of their own: a view would keep those of all."""
    return maps.float() if len(maps) == 1 else maps[index : index + 1].to(torch.float32, copy=True)


def _reconstruct(
    measurements: Sequence[Measurement],
    loaded: LoadedNetwork,
    run: Callable[[ScanBatch], NetworkOutput],
    preset: str,
    within_noise: float | None,
    *,
    with_start: bool = True,
) -> list[Reconstruction]:
    multiple = loaded.network.config.multiple
    at_once = len(measurements)
    if next(loaded.network.parameters()).device.type == "cpu":
        at_once = max(1, CPU_PIXELS // measurements[0].mask.size)
    if len(measurements) > at_once:
        parts = (measurements[start : start + at_once] for start in range(0, len(measurements), at_once))
        again = partial(_reconstruct, with_start=with_start)
        return [done for part in parts for done in again(part, loaded, run, preset, within_noise)]
    with torch.inference_mode():
        if with_start:
            batch = scan_batch(measurements, loaded, multiple=multiple, preset=preset)
        else:
            batch = make_batch(measurements, multiple=multiple, device=next(loaded.network.parameters()).device)
        out = run(batch) if batch.y[0].numel() <= WHOLE_PIXELS else _tiled(run, batch, multiple)
        return denormalised(measurements, batch, out, loaded, preset=preset, within_noise=within_noise)


def _tiled(run: Callable[[ScanBatch], NetworkOutput], batch: ScanBatch, multiple: int) -> NetworkOutput:
    image, log_sigma = run_tiled(run, batch, multiple=multiple)
    return NetworkOutput(image, log_sigma, {})


@lru_cache(maxsize=4)
@torch.inference_mode(mode=False)  # what is kept must serve gradients too, whoever asked for it first
def _load(method: str, path: Path, version: tuple[int, ...], device: torch.device) -> LoadedNetwork:
    loaded = load_weights(path, method)
    if not isinstance(loaded.config, dict):
        raise InputError(f"{path.name} holds no settings of a network; was it altered? get it again")
    config = dict(loaded.config)
    calibrations = {preset: SigmaCalibration.of(config.pop(f"sigma_{preset}", None)) for preset in PRESETS}
    make = {UNROLLED: _unrolled, INPAINTING: _inpainting}[method]
    network = build(loaded, lambda: make(config)).to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
    info: dict[str, object] = {
        "weights": path.name,
        "weights_sha256": loaded.sha256,
    }
    return LoadedNetwork(method, network, calibrations, info)


def _unrolled(config: dict[str, object]) -> UnrolledISTA:
    return UnrolledISTA(UnrolledConfig(**config))  # pyright: ignore[reportArgumentType]


def _inpainting(config: dict[str, object]) -> InpaintingUNet:
    return InpaintingUNet(InpaintingConfig(**config))  # pyright: ignore[reportArgumentType]
