"""Run cases: the work that every executor does, on whichever machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cs_recon.device import pick_device
from cs_recon.learned import INPAINTING, UNROLLED, load_network
from cs_recon.reconstruction import Reconstruction, reconstruct
from segmentation.learned import load_segmenter
from segmentation.mapping import FEATURES, RECONSTRUCT, has_features
from segmentation.methods import segment
from segmentation.study.frames import StudyFrame, load_frame
from segmentation.study.scans import scan_costs, scan_frame
from segmentation.study.scoring import image_scores, particle_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segmentation.instances import Instances
    from segmentation.study.cases import Case, Job
    from simulate.measurement import Measurement

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Example:
    """A case with everything that it made, to be looked at.

    Attributes
    ----------
    frame : StudyFrame
        What was scanned, with its truth.
    scan : Measurement
        The samples.
    image : ndarray, shape (H, W), optional
        What the segmentation saw; None where it goes without an image.
    found : Instances
        The particles.
    """

    frame: StudyFrame
    scan: Measurement
    image: NDArray | None
    found: Instances


def run_example(case: Case, device: str = "auto") -> Example:
    """Run one case as `run_case` does, and return its images and particles instead of a row."""
    frame = load_frame(case.frame)
    scan = scan_frame(frame, case.frame, case.scan, device).scan
    image = None if case.recon is None else _reconstruct(scan, case, device)[0]
    return Example(frame, scan, None if image is None else image.image, _segment(case, scan, image, device))


def run_case(case: Case, device: str = "auto") -> Row:
    """Run one case and return its row; see `run_job`."""
    return run_job((case,), device)[0]


def run_job(job: Job, device: str = "auto") -> list[Row]:
    """Scan and reconstruct once, segment by each case's method, and return one row a case.

    A case that fails gives a row with its error; the others of the job go on without it.

    Parameters
    ----------
    job : tuple of Case
        Cases that share frame, scan and reconstruction.
    device : {"auto", "cpu", "cuda"}
        Where to compute.

    Returns
    -------
    list of dict
        The columns are those of `segmentation.study.store.COLUMNS`; what is not known is left out.
    """
    first = job[0]
    try:
        frame = load_frame(first.frame)
        done = scan_frame(frame, first.frame, first.scan, device)
        scan, shared = done.scan, dict(scan_costs(done, first.scan, frame))
        image = None
        if first.recon is not None:
            image, shared["seconds_reconstruct"] = _reconstruct(scan, first, device)
            shared |= image_scores(frame.image, image.image)
    except Exception as error:
        return failed_rows(job, error)
    return [_run_segmentation(case, frame, scan, image, device) | shared for case in job]


def failed_rows(job: Job, error: Exception | str) -> list[Row]:
    """Return the rows of cases that failed."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return [_told(case) | {"error": " ".join(text.split())} for case in job]


def _run_segmentation(
    case: Case, frame: StudyFrame, scan: Measurement, image: Reconstruction | None, device: str
) -> Row:
    try:
        if case.segment.is_network:
            # Loaded before the clock starts; kept from then on.
            load_segmenter(case.segment.name, weights=_weights(case), mapping=case.mapping, device=pick_device(device))
        began = time.perf_counter()
        found = _segment(case, scan, image, device)
        row: Row = {"seconds_segment": time.perf_counter() - began}
        if image is None and case.mapping == FEATURES and found.intensity is not None:
            row |= image_scores(frame.image, found.intensity)
        return _told(case) | row | particle_scores(frame, found) | {"error": ""}
    except Exception as error:
        return failed_rows((case,), error)[0]


def _reconstruct(scan: Measurement, case: Case, device: str) -> tuple[Reconstruction, float]:
    assert case.recon is not None
    options: dict[str, Any] = dict(case.recon.options)
    if case.recon.name in (UNROLLED, INPAINTING):
        load_network(case.recon.name, options.get("weights", ""), pick_device(device))
    began = time.perf_counter()
    image = reconstruct(scan, case.recon.name, device=device, **options)
    return image, time.perf_counter() - began


def _segment(case: Case, scan: Measurement, image: Reconstruction | None, device: str) -> Instances:
    options: dict[str, Any] = dict(case.segment.options)
    if case.segment.is_network:
        options["mapping"] = case.mapping
    usable = image is not None and (case.mapping == RECONSTRUCT or has_features(image))
    # Large frames come without features: the mapping then computes them from the scan, window by window.
    return segment(image if usable and image is not None else scan, case.segment.name, device=device, **options)


def _weights(case: Case) -> str:
    return str(dict(case.segment.options).get("weights", ""))


def _told(case: Case) -> Row:
    """Return what is known of a case before it runs."""
    plan, paired = case.scan, bool(case.scan.pairing)
    return {
        "key": case.key,
        "frame": case.frame.name,
        "source": case.frame.source,
        "frame_seed": case.frame.seed,
        "scheme": "raster" if paired else plan.scheme,
        "ratio": 1.0 if paired else plan.ratio,
        "peak_counts": plan.peak_counts,
        "pairing": plan.pairing,
        "paired_scheme": plan.scheme,
        "paired_ratio": plan.ratio,
        "recon": "" if case.recon is None else case.recon.label,
        "segmenter": case.segment.label,
        "mapping": case.mapping,
        "model": case.model,
        "read_noise_counts": plan.how.read_noise_counts if plan.peak_counts else 0.0,
    }
