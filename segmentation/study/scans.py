"""The scans of a study, and what each costs in time and dose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from cs_recon.training_data import edge_prior
from segmentation.pipeline import adaptive_measure
from segmentation.study.config import SAME_TIME
from simulate.detector import measure
from simulate.distortions import Distortion
from simulate.errors import InputError, pixel_size_pair
from simulate.schemes import scan_path, schemes

if TYPE_CHECKING:
    from segmentation.study.cases import ScanPlan
    from segmentation.study.frames import FrameSpec, StudyFrame
    from simulate.measurement import Measurement
    from simulate.scan import ScanPath

ADAPTIVE = "adaptive"


def scan_frame(frame: StudyFrame, spec: FrameSpec, plan: ScanPlan) -> Measurement:
    """Scan a frame as planned; the same positions for every dose, and the same noise whenever it is asked for.

    A plan with a `pairing` gives the full raster scan whose total dose, or frame time, is that of the scan it is paired
    with: its dwell time is shorter, and so are the counts of each sample, while the read noise of each stays.

    Raises
    ------
    InputError
        If the scan cannot be made; also if no full scan is as fast as the sparse one.
    """
    dwell_us = plan.how.reference_dwell_us(plan.peak_counts)
    if plan.scheme == ADAPTIVE:
        scan = _adaptive(frame, spec, plan, dwell_us)
        if not plan.pairing:
            return scan
        path = scan.path
    else:
        path = _path(frame, spec, plan, dwell_us)
    assert path is not None
    counts = plan.peak_counts
    if plan.pairing:
        path = _same_cost(path, plan.pairing)
        counts *= float(path.dwells_us.mean()) / dwell_us
    rng = np.random.default_rng([*_seed(spec, plan), round(1e3 * plan.peak_counts), crc32(plan.pairing.encode())])
    return measure(
        frame.image,
        path,
        peak_counts=counts or None,
        read_noise_counts=plan.how.read_noise_counts if counts else 0.0,
        distortion=Distortion() if plan.how.beam_lag else None,
        rng=rng,
        name=spec.name,
    )


def scan_costs(path: ScanPath, plan: ScanPlan, frame: StudyFrame) -> dict[str, float]:
    """Return what a scan costs.

    Returns
    -------
    dict
        - `realised_ratio`, `n_positions`
        - `dwell_us`: mean dwell time of a visit
        - `visit_counts`: peak counts of such a visit; 0 for no noise
        - `frame_time_ms`: dwell, settling and fly-back
        - `relative_dose`: time that the beam is on the specimen, over that of a full scan whose visits last as long as
          the plan's peak counts take: a sparse scan's ratio, if the beam is blanked in jumps
        - `full_scan_counts`: peak counts of the full scan of the same total dose, comparable over all doses
        - `dose_e_per_A2`: mean over the frame; NaN unless beam current and pixel size are known
        - `pixel_size_nm`: NaN if it is not known
    """
    reference_us = plan.how.reference_dwell_us(plan.peak_counts)
    n_pixels = path.shape[0] * path.shape[1]
    relative = path.beam_on_us / (n_pixels * reference_us)
    dwell_us = float(path.dwells_us.mean())
    dose = float("nan")
    if plan.how.beam_current_pA > 0 and frame.pixel_size_nm is not None:
        dose = path.dose_e_per_A2(plan.how.beam_current_pA, frame.pixel_size_nm)
    return {
        "realised_ratio": path.ratio,
        "n_positions": path.n_positions,
        "dwell_us": dwell_us,
        "visit_counts": plan.peak_counts * dwell_us / reference_us,
        "frame_time_ms": path.frame_time_ms,
        "relative_dose": relative,
        "full_scan_counts": relative * plan.peak_counts,
        "dose_e_per_A2": dose,
        "pixel_size_nm": float("nan") if frame.pixel_size_nm is None else max(pixel_size_pair(frame.pixel_size_nm)),
    }


def _seed(spec: FrameSpec, plan: ScanPlan) -> list[int]:
    return [spec.seed, crc32(plan.scheme.encode()), round(1e6 * plan.ratio)]


def _path(frame: StudyFrame, spec: FrameSpec, plan: ScanPlan, dwell_us: float) -> ScanPath:
    prior = edge_prior(frame.image) if schemes[plan.scheme].needs_prior else None
    return scan_path(
        plan.scheme,
        frame.image.shape,  # pyright: ignore[reportArgumentType]
        plan.ratio,
        rng=np.random.default_rng(_seed(spec, plan)),
        dwell_us=dwell_us,
        hardware=plan.how.scan_hardware,
        prior=prior,
    )


def _adaptive(frame: StudyFrame, spec: FrameSpec, plan: ScanPlan, dwell_us: float) -> Measurement:
    noise: dict[str, Any] = {}
    if plan.peak_counts:
        noise = {"peak_counts": plan.peak_counts, "read_noise_counts": plan.how.read_noise_counts}
    return adaptive_measure(
        frame.image,
        plan.ratio,
        rng=np.random.default_rng(_seed(spec, plan)),
        noise_rng=np.random.default_rng([*_seed(spec, plan), round(1e3 * plan.peak_counts)]),
        dwell_us=dwell_us,
        hardware=plan.how.scan_hardware,
        distortion=Distortion() if plan.how.beam_lag else None,
        name=spec.name,
        **noise,
    )


def _same_cost(sparse: ScanPath, pairing: str) -> ScanPath:
    """Return the full raster scan that costs what a sparse scan does."""
    full = scan_path("raster", sparse.shape, dwell_us=1.0, hardware=sparse.hardware)
    waiting_us = float(full.moves_us.sum())
    if pairing == SAME_TIME:
        spent_us = 1000 * sparse.frame_time_ms - waiting_us
        told = f"{sparse.frame_time_ms:.3g} ms, and the fly-backs of a full scan alone take {waiting_us / 1000:.3g} ms"
    else:
        spent_us = sparse.beam_on_us - (0.0 if sparse.hardware.blanked else waiting_us)
        told = f"{sparse.beam_on_us:.3g} µs of beam, and the fly-backs of a full scan alone take {waiting_us:.3g} µs"
    if spent_us <= 0:
        raise InputError(f"no full scan costs as little: the sparse one takes {told}; expected a costlier one")
    return scan_path("raster", sparse.shape, dwell_us=spent_us / full.n_positions, hardware=sparse.hardware)
