"""The whole chain: sparse scan to reconstruction to particles to table, and everything it writes."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.device import pick_device
from cs_recon.io.provenance import provenance, write_provenance
from cs_recon.io.write import write_image
from cs_recon.learned import NETWORKS, load_network
from cs_recon.reconstruction import reconstruct, reconstructors
from segmentation.learned import frame_to_see, load_segmenter
from segmentation.measure import measure, summary
from segmentation.methods import segment as find_particles
from segmentation.methods import segmenters
from segmentation.models.family import ARCHITECTURES
from segmentation.output import write_coco, write_table
from simulate.atomic import make_folder
from simulate.detector import measure as scan_frame
from simulate.errors import InputError, check_rng, check_shape
from simulate.measurement import Measurement
from simulate.schemes import adaptive_scan

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from cs_recon.reconstruction import Reconstruction
    from segmentation.instances import Instances
    from simulate.hardware import ScanHardware

ADAPTIVE = "adaptive"
"""The guided scan scheme that finds out by itself where to look, see `adaptive_measure`."""


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What the chain made of one scan.

    Attributes
    ----------
    measurement : Measurement
        The scan.
    reconstruction : Reconstruction
        The image computed from it.
    instances : Instances
        The particles found on the image.
    table : pandas.DataFrame
        One row a particle, see `measure`.
    seconds : dict of str to float
        Time of each stage in seconds.
    """

    measurement: Measurement
    reconstruction: Reconstruction
    instances: Instances
    table: pd.DataFrame
    seconds: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Result({self.reconstruction!r}, {self.instances!r})"


def run(
    measurement: Measurement,
    *,
    recon: str = "unrolled-ista",
    segment: str = "mask-rcnn",
    device: str = "auto",
    recon_options: Mapping[str, Any] | None = None,
    segment_options: Mapping[str, Any] | None = None,
    stage: Callable[[str], object] = lambda name: None,
) -> Result:
    """Reconstruct a scan, find its particles and measure them.

    Parameters
    ----------
    measurement : Measurement
        A sparse or full scan.
    recon, segment : str
        Method names: `cs_recon.reconstructors.names` and `segmentation.segmenters.names`.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    recon_options, segment_options : mapping, optional
        Options of the methods. With the segmentation's ``mapping="features"`` the particles are found on features of
        the unrolled network; with ``"sparse"`` on the scan itself. The reconstruction is computed all the same:
        intensities are measured on it.
    stage : callable, optional
        Called with the name of each stage as it begins, for progress displays.

    Returns
    -------
    Result

    Examples
    --------
    >>> from simulate import SceneConfig, make_scene, scan_path
    >>> import simulate
    >>> scene = make_scene(SceneConfig(shape=(96, 96), n_particles=4, diameter_nm=8), rng=3)
    >>> scan = simulate.measure(scene.frame, scan_path("random", (96, 96), 0.5, rng=3), pixel_size_nm=0.5)
    >>> result = run(scan, recon="linear", segment="threshold")
    >>> len(result.table)
    4
    """
    if not isinstance(measurement, Measurement):
        raise InputError(
            f"got a {type(measurement).__name__} to run; expected one Measurement ('stream' takes several)"
        )
    recon_told = as_options(recon_options, "recon_options")
    segment_told = as_options(segment_options, "segment_options")
    reconstructors.check_options(recon, recon_told)
    segmenters.check_options(segment, segment_told)
    seconds: dict[str, float] = {}
    stage("reconstruct")
    began = time.perf_counter()
    reconstruction = reconstruct(measurement, recon, device=device, **recon_told)
    seconds["reconstruct"] = time.perf_counter() - began
    stage("segment")
    began = time.perf_counter()
    instances = find_in(measurement, reconstruction, segment, device=device, **segment_told)
    seconds["segment"] = time.perf_counter() - began
    stage("measure")
    began = time.perf_counter()
    table = measure(instances, sigma=reconstruction.sigma)
    seconds["measure"] = time.perf_counter() - began
    return Result(measurement, reconstruction, instances, table, seconds)


def as_options(options: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    """Return a method's options, none if None; `InputError` naming them if they are no dictionary."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise InputError(f'{name} is {options!r}; expected a dictionary of options, such as {{"preset": "fast"}}')
    return dict(options)


def find_in(
    scan: Measurement, image: Reconstruction, method: str, *, device: str = "auto", **options: Any
) -> Instances:
    """Find the particles of a scan that was reconstructed, on what the method takes; intensities are the image's."""
    return find_in_each([scan], [image], method, device=device, **options)[0]


def find_in_each(
    scans: Sequence[Measurement], images: Sequence[Reconstruction], method: str, *, device: str = "auto", **options: Any
) -> list[Instances]:
    """Do as `find_in` does for several scans, as many together as there are."""
    frames = [frame_to_see(method, scan, image, **options) for scan, image in zip(scans, images, strict=True)]
    found = find_particles(frames, method, device=device, batch_size=max(1, len(frames)), **options)
    return [
        one if frame is image else replace(one, intensity=image.image)
        for one, frame, image in zip(found, frames, images, strict=True)
    ]


def adaptive_measure(
    frame: ArrayLike | Measurement,
    ratio: float,
    *,
    recon: str = "unrolled-ista",
    n_passes: int = 3,
    rng: np.random.Generator | int | None = None,
    noise_rng: np.random.Generator | int | None = None,
    dwell_us: float = 10.0,
    hardware: ScanHardware | None = None,
    device: str = "auto",
    recon_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Measurement:
    """Scan a frame in passes, each but the first where the reconstruction of the samples so far is least sure.

    Parameters
    ----------
    frame : array_like, shape (H, W), or Measurement
        The frame to scan.
    ratio : float
        Share of the pixels to visit.
    recon : str
        A reconstruction method that gives a sigma.
    n_passes, dwell_us, hardware
        As for `simulate.adaptive_scan`.
    rng, noise_rng : numpy.random.Generator or int, optional
        Sources of randomness of the positions and of the noise.
    device : {"auto", "cpu", "cuda"}
        Where to reconstruct between the passes.
    recon_options : dict, optional
        Options of the reconstruction: ``{"preset": "fast"}`` has the sample wait less.
    **options
        For `simulate.measure`: the dose.

    Returns
    -------
    Measurement

    Examples
    --------
    >>> from simulate import SceneConfig, make_scene
    >>> scene = make_scene(SceneConfig(shape=(64, 64), n_particles=4), rng=0)
    >>> round(adaptive_measure(scene.frame, 0.2, peak_counts=50, rng=0, noise_rng=1).ratio, 2)
    0.2
    """
    pick_device(device)  # an unknown one is refused before the sample sees a beam
    noise, told = check_rng(noise_rng), as_options(recon_options, "recon_options")
    reconstructors.check_options(recon, told)
    shape = frame.shape if isinstance(frame, Measurement) else np.shape(frame)

    def sigma(scan: Measurement) -> NDArray[np.float32]:
        # Where errors are, not how large: what the samples add to sigma is the same everywhere.
        unsure = reconstruct(scan, recon, device=device, **told).own_sigma
        if unsure is None:
            raise InputError(f"method {recon!r} gives no sigma to adapt to; expected a learned one: 'unrolled-ista'")
        return unsure

    return adaptive_scan(
        lambda path: scan_frame(frame, path, rng=noise, **options),
        sigma,
        check_shape(shape),
        ratio,
        n_passes=n_passes,
        rng=rng,
        dwell_us=dwell_us,
        hardware=hardware,
    )


def save_reconstruction(reconstruction: Reconstruction, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write the image and its sigma as calibrated TIFF; return the paths by what they hold."""
    stem = make_folder(folder) / file_stem(reconstruction.name)
    paths = {"reconstruction": stem.with_name(f"{stem.name}_reconstruction.tif")}
    write_image(paths["reconstruction"], reconstruction.image, pixel_size_nm=reconstruction.pixel_size_nm)
    sigma = stem.with_name(f"{stem.name}_sigma.tif")
    if reconstruction.sigma is None:
        sigma.unlink(missing_ok=True)  # that of an earlier run would pass for this one's
    else:
        paths["sigma"] = sigma
        write_image(paths["sigma"], reconstruction.sigma, pixel_size_nm=reconstruction.pixel_size_nm)
    return paths


def save_particles(instances: Instances, table: pd.DataFrame, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write the label map, the table (CSV and Parquet) and the COCO annotations; return the paths."""
    stem = make_folder(folder) / file_stem(instances.name)
    paths = {name: stem.with_name(f"{stem.name}_{suffix}") for name, suffix in _PARTICLE_FILES.items()}
    write_image(paths["labels"], instances.labels, pixel_size_nm=instances.pixel_size_nm)
    write_table(stem.with_name(f"{stem.name}_particles"), table)
    write_coco(paths["coco"], instances)
    return paths


_PARTICLE_FILES = {
    "labels": "labels.tif",
    "table": "particles.csv",
    "parquet": "particles.parquet",
    "coco": "coco.json",
}


def save(
    result: Result, folder: str | os.PathLike[str], *, record: Mapping[str, object] | None = None
) -> dict[str, Path]:
    """Write everything of a result into a folder, each file whole or not at all; return the paths by what they hold.

    Parameters
    ----------
    result : Result
        What to write.
    folder : path
        Made if it is not there.
    record : mapping, optional
        More fields for the provenance, such as the arguments and the seed.

    Returns
    -------
    dict of str to Path
        ``reconstruction``, ``sigma``, ``labels``, ``table``, ``parquet``, ``coco``, ``figure``, ``provenance``.
    """
    from segmentation.figures import result_figure

    stem = make_folder(folder) / file_stem(result.measurement.name)
    paths = save_reconstruction(result.reconstruction, folder)
    paths |= save_particles(result.instances, result.table, folder)
    paths["figure"] = stem.with_name(f"{stem.name}_figure.png")
    result_figure(result.measurement, result.reconstruction, result.instances, result.table, paths["figure"])
    paths["provenance"] = stem.with_name(f"{stem.name}_provenance.json")
    measurement = result.measurement
    scan = {
        "name": measurement.name,
        "shape": measurement.shape,
        "sampling_ratio": measurement.ratio,
        "pixel_size_nm": measurement.pixel_size_nm,
        "counts_per_unit": measurement.counts_per_unit,
        "scheme": None if measurement.path is None else measurement.path.scheme,
    }
    write_provenance(
        paths["provenance"],
        provenance(
            scan=scan,
            reconstruction={"method": result.reconstruction.method, **result.reconstruction.info},
            segmentation={"method": result.instances.method, **result.instances.info},
            summary=summary(result.table),
            seconds={name: round(value, 3) for name, value in result.seconds.items()},
            files={name: path.name for name, path in paths.items()},
            **(record or {}),
        ),
    )
    return paths


def file_stem(name: str) -> str:
    """Return a measurement's name as a file name: ``movie[3]`` becomes ``movie_0003``."""
    numbered = re.sub(r"\[(\d+)\]$", lambda match: f"_{int(match[1]):04d}", name)
    return re.sub(r"[^\w.\-]+", "_", numbered) or "scan"


def means(
    recon: str | None, segment: str, recon_options: Mapping[str, Any], segment_options: Mapping[str, Any]
) -> dict[str, object]:
    """Return the program's version and the weights that results by these methods depend on, beside their options."""
    told: dict[str, object] = {"version": version("cs-stem")}
    if recon in NETWORKS:
        told["recon_weights"] = load_network(recon, recon_options.get("weights", "")).info
    if segment in ARCHITECTURES:
        chosen = {name: segment_options.get(name, "") for name in ("weights", "mapping")}
        # None where the network chooses: results of a program that did not choose yet tell no scale.
        told["scale"] = segment_options.get("scale")
        told["segment_weights"] = load_segmenter(segment, **chosen).info
    return told


def frame_digest(scan: Measurement) -> str:
    """Return a hash of all that a scan says: its values, mask, exposure, scale and noise."""
    told = [scan.pixel_size_nm, scan.counts_per_unit, scan.black_level, scan.read_noise]
    exposure = b"" if scan.exposure is None else scan.exposure.tobytes()
    return hashlib.sha256(repr(told).encode() + exposure + scan.mask.tobytes() + scan.values.tobytes()).hexdigest()
