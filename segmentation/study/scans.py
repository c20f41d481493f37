"""The scans of a study, and what each costs in time and dose."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from cs_recon.training_data import edge_prior
from segmentation.pipeline import ADAPTIVE, adaptive_measure
from segmentation.study.config import SAME_TIME
from simulate.detector import measure
from simulate.distortions import Distortion
from simulate.errors import InputError, pixel_size_pair
from simulate.scan import SHORTEST_DWELL_US
from simulate.schemes import scan_path, schemes

if TYPE_CHECKING:
    from segmentation.study.cases import ScanPlan
    from segmentation.study.frames import FrameSpec, StudyFrame
    from simulate.measurement import Measurement
    from simulate.scan import ScanPath


class StudyScan(NamedTuple):
    """A scan, and the share of the beam current of its plan that it was made with."""

    scan: Measurement
    brightness: float


def scan_frame(frame: StudyFrame, spec: FrameSpec, plan: ScanPlan, device: str = "auto") -> StudyScan:
    """Scan a frame as planned; the same positions for every dose, and the same noise whenever it is asked for.

    A plan with a `pairing` gives the full raster scan whose total dose, or frame time, is that of the scan it is paired
    with: its dwell time is shorter, and so are the counts of each sample, while the read noise of each stays. A dose
    for which the hardware's shortest dwell time is too long is had by a dimmer beam. `device` is where adaptive scans
    are reconstructed between their passes.

    Raises
    ------
    InputError
        If the scan cannot be made; also if no full scan is as fast as the sparse one.
    """
    dwell_us = float(plan.how.dwell_us_for(plan.peak_counts))
    brightness = float(plan.how.brightness(plan.peak_counts))
    if plan.scheme == ADAPTIVE:
        scan = _adaptive(frame, spec, plan, dwell_us, device)
        if not plan.pairing:
            return StudyScan(scan, brightness)
        path = scan.path
    else:
        path = _path(frame, spec, plan, dwell_us)
    assert path is not None
    counts = plan.peak_counts
    if plan.pairing:
        path, dimmed = _same_cost(path, plan.pairing)
        counts *= dimmed * float(path.dwells_us.mean()) / dwell_us
        brightness *= dimmed
    rng = np.random.default_rng([*_seed(spec, plan), round(1e3 * plan.peak_counts), crc32(plan.pairing.encode())])
    scan = measure(
        frame.image,
        path,
        peak_counts=counts or None,
        read_noise_counts=plan.how.read_noise_counts if counts else 0.0,
        distortion=Distortion() if plan.how.beam_lag else None,
        rng=rng,
        name=spec.name,
    )
    return StudyScan(scan, brightness)


def scan_costs(done: StudyScan, plan: ScanPlan, frame: StudyFrame) -> dict[str, float]:
    """Return what a scan costs.

    Returns
    -------
    dict
        - `realised_ratio`, `n_positions`
        - `dwell_us`: mean dwell time of a visit
        - `scan_current_pA`: beam current of the scan; NaN if it is not known
        - `visit_counts`: peak counts of such a visit; 0 for no noise
        - `frame_time_ms`: dwell, settling and fly-back
        - `relative_dose`: electrons that meet the specimen, over those of a full scan whose visits have the plan's peak
          counts: a sparse scan's ratio, if the beam is blanked in jumps
        - `full_scan_counts`: peak counts of the full scan of the same total dose, comparable over all doses
        - `dose_e_per_A2`: mean over the frame; NaN unless beam current and pixel size are known
        - `pixel_size_nm`: NaN if it is not known
    """
    path = done.scan.path
    assert path is not None
    # Of a full scan of the plan's peak counts: its dwell time, and this scan's beam current over its own.
    reference_us = float(plan.how.dwell_us_for(plan.peak_counts))
    dimmed = done.brightness / float(plan.how.brightness(plan.peak_counts))
    n_pixels = path.shape[0] * path.shape[1]
    relative = dimmed * path.beam_on_us / (n_pixels * reference_us)
    dwell_us = float(path.dwells_us.mean())
    current_pA = done.brightness * plan.how.beam_current_pA or float("nan")
    dose = float("nan")
    if plan.how.beam_current_pA > 0 and frame.pixel_size_nm is not None:
        dose = path.dose_e_per_A2(current_pA, frame.pixel_size_nm)
    return {
        "realised_ratio": path.ratio,
        "n_positions": path.n_positions,
        "dwell_us": dwell_us,
        "scan_current_pA": current_pA,
        "visit_counts": plan.peak_counts * dimmed * dwell_us / reference_us,
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


def _adaptive(frame: StudyFrame, spec: FrameSpec, plan: ScanPlan, dwell_us: float, device: str) -> Measurement:
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
        device=device,
        distortion=Distortion() if plan.how.beam_lag else None,
        name=spec.name,
        **noise,
    )


def _same_cost(sparse: ScanPath, pairing: str) -> tuple[ScanPath, float]:
    """Return the full raster scan that costs what a sparse scan does, and its beam current over that of the other."""
    hardware = sparse.hardware
    full = scan_path("raster", sparse.shape, dwell_us=1.0, hardware=hardware)
    waiting_us = float(full.moves_us.sum())
    spent_us = 1000 * sparse.frame_time_ms if pairing == SAME_TIME else sparse.beam_on_us
    waits_cost = pairing == SAME_TIME or not hardware.blanked
    dwell_us = (spent_us - (waiting_us if waits_cost else 0.0)) / full.n_positions
    shortest_us = max(hardware.shortest_dwell_us, SHORTEST_DWELL_US)
    if dwell_us >= shortest_us:
        return replace(full, dwell_us=dwell_us), 1.0
    fastest = replace(full, dwell_us=shortest_us)
    if pairing == SAME_TIME:
        raise InputError(
            f"no full scan costs as little: the sparse one takes {sparse.frame_time_ms:.3g} ms, and a full scan at the "
            f"hardware's shortest dwell time of {shortest_us:.3g} µs takes {fastest.frame_time_ms:.3g} ms; expected a "
            "costlier one"
        )
    return fastest, sparse.beam_on_us / fastest.beam_on_us
