"""Particles of a frame by the trained networks, by any mapping, on frames of any size."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from cs_recon.calibrate import SigmaCalibration
from cs_recon.checkpoint import build
from cs_recon.device import pick_device, quick_precision
from cs_recon.learned import UNROLLED, LoadedNetwork
from cs_recon.reconstruction import Reconstruction
from cs_recon.tiles import WHOLE_PIXELS
from cs_recon.unrolled import UnrolledConfig, UnrolledISTA
from cs_recon.views import MIRRORS, check_views
from segmentation.instances import Instances, compact_labels
from segmentation.mapping import (
    FEATURE_PRESET,
    FEATURES,
    RECONSTRUCT,
    SPARSE,
    check_mapping,
    has_features,
    map_frames,
)
from segmentation.methods import Frame, segmenters, shape_of
from segmentation.models.family import ARCHITECTURES, architecture_of, make_network
from segmentation.paste import paste
from segmentation.scales import surest
from segmentation.shipped import read_weights, shipped_file, shipped_name
from segmentation.split import split
from segmentation.views import DEFAULT_VIEWS, run_views
from segmentation.visibility import found_snr
from segmentation.windows import dense_maps, detections
from simulate.errors import InputError, check_count, check_positive, check_shape, check_within
from simulate.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from cs_recon.checkpoint import Weights
    from segmentation.mapping import Mapped
    from segmentation.models.family import ParticleNetwork
    from segmentation.windows import Run

MULTIPLE = 32
"""What frames are padded to a multiple of: the coarsest stride of every network."""
_LOADING = Lock()
"""Threads that want a network at once wait for one of them to load it."""
RECONSTRUCTOR = "reconstructor."
"""Prefix of a reconstructor's tensors in the weights of a detector that was trained together with one."""


@dataclass(frozen=True, eq=False)
class LoadedSegmenter:
    """A network ready to run, with what its weights file says.

    Attributes
    ----------
    method : str
        The architecture's name.
    network : nn.Module
        In evaluation mode.
    reconstructor : LoadedNetwork, optional
        The unrolled network trained together with it, if there is one.
    info : dict
        Name and hash of the weights, for provenance.
    """

    method: str
    network: ParticleNetwork
    reconstructor: LoadedNetwork | None
    info: dict[str, object]


def find(
    method: str,
    images: Sequence[Frame],
    /,
    *,
    device: str = "auto",
    weights: str = "",
    mapping: str = "",
    min_score: float | None = None,
    min_area_px: int = 12,
    min_snr: float = 1.0,
    views: int = DEFAULT_VIEWS,
    scale: float | None = None,
) -> list[Instances]:
    """Segment frames of one shape by a trained network.

    Parameters
    ----------
    method : str
        A name from `ARCHITECTURES`.
    images : sequence of ndarray (H, W), Reconstruction or Measurement
        The frames; an image counts as a full scan where the mapping wants a scan. A GPU looks at all of them together,
        if they have at most a million pixels.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    weights : str
        A weights file of your own training; the shipped one if empty.
    mapping : {"", "reconstruct", "features", "sparse"}
        The way into the network, see `segmentation.mapping`; that of the weights if empty, ``reconstruct`` for the
        shipped ones.
    min_score : float, optional
        Detections scored lower are dropped (of networks that label pixels: a pixel of a lower probability is no
        particle), in [0, 1]; more finds fewer false particles and misses more true ones. If None, what served best on
        validation images.
    min_area_px : int
        Particles with fewer visible pixels are dropped.
    min_snr : float
        Particles whose contrast is fewer standard errors than this are dropped (`visibility.found_snr`; it looks at
        the counts of a scan or reconstruction too): where film is blank, networks see particles of no contrast now
        and then. 0 keeps all.
    views : int
        How often the network looks at the frame, each time mirrored otherwise, 1 to 4: more find more and invent less,
        in as many times the time.
    scale : float, optional
        At what share of its sides the network sees the frame, above 0 and at most 1: what is 300 pixels wide is found
        at a quarter. If None, the one at which the network is surest (`segmentation.scales`; in `info` afterwards).
        Mapping ``sparse`` always sees the full size, ``features`` that of frames beyond a million pixels.

    Returns
    -------
    list of Instances
        With scores, and of the detectors boxes and 28 x 28 masks too. Where particles overlap, each keeps its own mask;
        the label map shows the surer one on top.
    """
    if min_score is not None:
        check_within(min_score, "min_score", 0, 1)
    check_count(min_area_px, "min_area_px", 1)
    check_within(min_snr, "min_snr", 0)
    if scale is not None:
        check_within(check_positive(scale, "scale"), "scale", 0, 1)
    target = pick_device(device)
    loaded = load_segmenter(method, weights=weights, mapping=mapping, device=target)
    network, architecture = loaded.network, architecture_of(method)
    point = network.config.operating_point if min_score is None else min_score
    check_views(views, len(MIRRORS))
    seen = network.config.mapping
    info: dict[str, object] = {
        **loaded.info,
        "mapping": seen,
        "min_score": point,
        "min_snr": min_snr,
        "views": views,
        "scale": 1.0 if scale is None else float(scale),
    }
    run = partial(run_views, network, views=views, regions=architecture.regions)
    draw = _detected if architecture.regions else _labelled

    def together(frames: list[Frame]) -> list[Instances]:
        wholes = map_frames(frames, seen, multiple=MULTIPLE, device=target, reconstructor=loaded.reconstructor)
        shape = check_shape(wholes[0].image.shape, "image", smallest=1)
        if scale is not None and scale < 1:
            _check_scale(scale, shape, wholes[0], seen)

        def look(at: float, which: list[int]) -> list[Instances]:
            mapped = [_at_scale(wholes[index], at) for index in which]
            return draw(run, mapped, shape, point, min_area_px)

        if scale is None and wholes[0].reduced is not None:
            particles = surest(look, shape, len(wholes))
        else:
            particles = [(found, info["scale"]) for found in look(scale or 1.0, list(range(len(wholes))))]
        results: list[Instances] = []
        for (found, at), whole, frame in zip(particles, wholes, frames, strict=True):
            told = {**info, "scale": at}
            if seen == FEATURES and not isinstance(frame, Reconstruction):
                told["precision"] = quick_precision(target)
            results.append(_believed(found, whole.image, frame, min_snr, told))
        return results

    if not images:
        return []
    results: list[Instances | None] = [_nothing_on(image, info) for image in images]
    shown = [index for index, found in enumerate(results) if found is None]
    at_once = 1 if target.type == "cpu" or math.prod(shape_of(images[0])) > WHOLE_PIXELS else len(images)
    with torch.inference_mode():
        for start in range(0, len(shown), at_once):
            chosen = shown[start : start + at_once]
            for index, found in zip(chosen, together([images[index] for index in chosen]), strict=True):
                results[index] = found
    return results  # pyright: ignore[reportReturnType]


def _nothing_on(image: Frame, info: dict[str, object]) -> Instances | None:
    """Return that there is no particle on an image of one value; None of any other frame."""
    blank = image.image if isinstance(image, Reconstruction) else image
    if isinstance(blank, np.ndarray) and np.ptp(blank) == 0:
        return Instances(np.zeros(blank.shape, dtype=np.int32), intensity=blank, info=info)  # pyright: ignore[reportArgumentType]
    return None


def _at_scale(whole: Mapped, scale: float) -> Mapped:
    return whole if scale == 1 or whole.reduced is None else whole.reduced(scale)


def _believed(
    found: Instances, image: NDArray[np.float64], frame: Frame, min_snr: float, info: dict[str, object]
) -> Instances:
    """Return what was found on a frame less what its noise could be, numbered anew."""
    scan = frame.scan if isinstance(frame, Reconstruction) else frame if isinstance(frame, Measurement) else None
    kept = found.only(found_snr(image, found.labels, scan) >= min_snr)
    return replace(kept, labels=compact_labels(kept.labels, kept.ids), intensity=image, info=info)


def _check_scale(scale: float, shape: tuple[int, int], whole: Mapped, mapping: str) -> None:
    """Raise `InputError` if a frame cannot be seen at a scale below 1."""
    if whole.reduced is None:
        raise InputError(
            f"scale is {scale:g} with mapping {mapping!r}, which sees this frame at full size; expected 1, or mapping "
            f"{RECONSTRUCT!r}"
        )
    if min(shape) * scale < MULTIPLE:
        least = MULTIPLE / min(shape)
        raise InputError(
            f"scale is {scale:g}, at which a frame of {shape[0]} x {shape[1]} pixels has fewer than {MULTIPLE} a side; "
            f"expected {'1, the full size' if least >= 1 else f'{np.ceil(1000 * least) / 1000:g} or more'}"
        )


def _detected(
    run: Run, frames: list[Mapped], shape: tuple[int, int], point: float, min_area_px: int
) -> list[Instances]:
    """Return what a network detects on each frame, drawn on the pixels of the full one."""
    rows, cols = frames[0].image.shape
    enlarged = np.array([shape[1] / cols, shape[0] / rows] * 2, dtype=np.float32)
    drawn: list[Instances] = []
    for found in detections(run, frames, multiple=MULTIPLE, min_score=point):
        boxes, scores, masks = (found[name].float().cpu().numpy() for name in ("boxes", "scores", "masks"))
        drawn.append(paste(shape, boxes * enlarged, scores, masks, min_area_px=min_area_px))
    return drawn


def _labelled(
    run: Run, frames: list[Mapped], shape: tuple[int, int], point: float, min_area_px: int
) -> list[Instances]:
    """Return the particles of a network's maps of each frame, enlarged to the pixels of the full frame."""
    rows, cols = frames[0].image.shape
    drawn: list[Instances] = []
    for found in dense_maps(run, frames, multiple=MULTIPLE):
        particle, depth = (found[name][:rows, :cols] for name in ("particle", "depth"))
        if (rows, cols) != shape:
            particle, depth = (
                F.interpolate(part[None, None].float(), size=shape, mode="bilinear", align_corners=False)[0, 0]
                for part in (particle, depth)
            )
        drawn.append(split(particle.cpu().numpy(), depth.cpu().numpy(), threshold=point, min_area_px=min_area_px))
    return drawn


def frame_to_see(
    method: str, scan: Measurement, image: Reconstruction, *, weights: str = "", mapping: str = "", **_others: object
) -> Measurement | Reconstruction:
    """Return what of a scan and its reconstruction a segmentation method is to be given.

    The scan where a network's mapping takes samples, or features that the reconstruction does not bring along, or those
    of a reconstructor of its own; the reconstruction else.

    Parameters
    ----------
    method : str
        A name from `segmenters.names`.
    scan, image : Measurement, Reconstruction
        The frame.
    weights, mapping : str
        As given to `find`.
    """
    if method not in ARCHITECTURES:
        return image
    loaded = load_segmenter(method, weights=weights, mapping=mapping)
    seen = loaded.network.config.mapping
    from_scan = seen == SPARSE or (seen == FEATURES and (loaded.reconstructor is not None or not has_features(image)))
    return scan if from_scan else image


for _name, _architecture in ARCHITECTURES.items():
    segmenters.register(_name, _architecture.summary)(partial(find, _name))  # pyright: ignore[reportArgumentType]


def load_segmenter(
    method: str, *, weights: str = "", mapping: str = "", device: torch.device | str = "cpu"
) -> LoadedSegmenter:
    """Return a network with weights from a file, or the shipped ones; in evaluation mode.

    Raises
    ------
    InputError
        If there are no such weights, they are of another architecture, or of another mapping than the asked one.
    """
    architecture_of(method)
    if mapping:
        check_mapping(mapping)
    if not isinstance(weights, str | os.PathLike):
        raise InputError(f"weights is {weights!r}; expected the path of a .safetensors file")
    if weights:
        path = Path(weights)
        with _LOADING:
            loaded = _load(method, str(path), path.stat().st_mtime if path.is_file() else 0.0, torch.device(device))
    else:
        with shipped_file(shipped_name(method, mapping or RECONSTRUCT)) as path, _LOADING:
            loaded = _load(method, str(path), 0.0, torch.device(device))
    if mapping and loaded.network.config.mapping != mapping:
        raise InputError(
            f"{loaded.info['weights']} was trained with mapping {loaded.network.config.mapping!r} and {mapping!r} is "
            "asked for; leave the mapping out, or give other weights"
        )
    return loaded


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)  # what is kept must serve gradients too, whoever asked for it first
def _load(method: str, path: str, written: float, device: torch.device) -> LoadedSegmenter:
    weights = read_weights(path, (method,))
    settings = dict(weights.config)
    joint = settings.pop("reconstructor", None)
    own = {name: value for name, value in weights.tensors.items() if not name.startswith(RECONSTRUCTOR)}
    network = build(_part(weights, own), lambda: make_network(method, settings))
    reconstructor = None
    if isinstance(joint, dict):
        tensors = {
            name.removeprefix(RECONSTRUCTOR): value for name, value in weights.tensors.items() if name not in own
        }
        unrolled = build(_part(weights, tensors), lambda: UnrolledISTA(UnrolledConfig(**joint)))
        reconstructor = LoadedNetwork(UNROLLED, unrolled.to(device).eval(), {FEATURE_PRESET: SigmaCalibration()}, {})
    network = network.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
    info: dict[str, object] = {"weights": Path(path).name, "weights_sha256": weights.sha256}
    return LoadedSegmenter(method, network, reconstructor, info)


def _part(weights: Weights, tensors: dict[str, Tensor]) -> Weights:
    return replace(weights, tensors=tensors)
