"""From what a study sweeps over to its cases, in one order and each with a key that tells it from every other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import groupby, product
from typing import TYPE_CHECKING

from cs_recon.learned import NETWORKS, UNROLLED
from cs_recon.reconstruction import reconstructors
from segmentation.mapping import FEATURES, RECONSTRUCT, SPARSE
from segmentation.methods import segmenters
from segmentation.pipeline import ADAPTIVE
from segmentation.shipped import shipped_name
from segmentation.study.config import ScanChoice
from segmentation.study.curves import FULL_SCAN_LABEL
from segmentation.study.frames import FrameSpec, frame_specs
from segmentation.study.methods import Method, reconstructor_weights, segmenter_weights
from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from segmentation.study.config import StudyConfig

FULL_SCAN = Method(FULL_SCAN_LABEL)
"""How the full scan of an equal-cost pair is denoised, beside the study's own networks."""
KEY_LENGTH = 20


@dataclass(frozen=True)
class ScanPlan:
    """One scan of a frame.

    Attributes
    ----------
    scheme, ratio, peak_counts : str, float, float
        As asked; 0 counts stand for no noise.
    pairing : {"", "dose", "time"}
        Empty for this scan itself; else for the fast full scan of the same cost, which stands beside it.
    how : ScanChoice
        Dwell time, current, hardware, read noise.
    weights_sha256 : str
        The beginning of the hash of the network that guides an adaptive scan; empty for every other.
    """

    scheme: str
    ratio: float
    peak_counts: float
    pairing: str = ""
    how: ScanChoice = field(default_factory=ScanChoice)
    weights_sha256: str = ""


@dataclass(frozen=True)
class Case:
    """One row of a study: a frame, a scan of it, and the way from the scan to its particles.

    Attributes
    ----------
    frame : FrameSpec
        What is scanned.
    scan : ScanPlan
        How.
    recon : Method, optional
        The reconstruction; None where the mapping does without.
    segment : Method
        The segmentation.
    mapping : str
        The way into a network; ``"reconstruct"`` for every other method.
    """

    frame: FrameSpec
    scan: ScanPlan
    recon: Method | None
    segment: Method
    mapping: str

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the row; where a frame's file lies does not."""
        told = asdict(replace(self, frame=replace(self.frame, file="")))
        told["scan"]["how"]["hardware"] = asdict(self.scan.how.scan_hardware)
        if not self.scan.weights_sha256:
            del told["scan"]["weights_sha256"]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]

    @property
    def model(self) -> str:
        """Segmenter and mapping in one name, as tables have it."""
        return shipped_name(self.segment.label, self.mapping)


Job = tuple[Case, ...]
"""Cases that share frame, scan and reconstruction, which is computed once."""


def expand(config: StudyConfig, note: Callable[[str], object] = lambda text: None) -> list[Case]:
    """Return every case of a study that makes sense, each once, frame by frame and scan by scan.

    Parameters
    ----------
    config : StudyConfig
        What to sweep over.
    note : callable
        Called with a line for each network that is left out, if the study says that it may be.

    Raises
    ------
    InputError
        If a folder of frames cannot be used, or a network has no weights; these are looked for before anything runs.
    """
    ways = _ways(config, note)
    rivals = _full_scan_ways(ways)
    frames = frame_specs(config.frames)
    return list(
        dict.fromkeys(
            Case(frame, scan, *way)
            for frame, scan in product(frames, _scans(config))
            for way in (rivals if scan.pairing else ways)
        )
    )


def jobs_of(cases: Iterable[Case]) -> list[Job]:
    """Return cases grouped by what they share.

    >>> jobs_of([])
    []
    """
    return [tuple(group) for _, group in groupby(cases, lambda case: (case.frame, case.scan, case.recon))]


def _scans(config: StudyConfig) -> Iterator[ScanPlan]:
    """Yield every scan; a full one is the same for all schemes, and has no other full scan beside it."""
    pairings = ("", *dict.fromkeys(config.equal_cost))
    plans = product(config.schemes, config.ratios, config.doses, pairings)
    guide = reconstructor_weights(Method(UNROLLED)) if ADAPTIVE in config.schemes else ""
    seen: set[ScanPlan] = set()
    for scheme, ratio, dose, pairing in plans:
        full = ratio == 1
        weights = guide if scheme == ADAPTIVE and not full else ""
        plan = ScanPlan("raster" if full else scheme, ratio, dose, pairing, config.scan, weights)
        # Without noise a full scan is perfect however fast, so that there is nothing to compare.
        if (pairing and (full or dose == 0)) or plan in seen:
            continue
        seen.add(plan)
        yield plan


Way = tuple[Method | None, Method, str]


def _ways(config: StudyConfig, note: Callable[[str], object]) -> list[Way]:
    """Return reconstructor, segmenter and mapping of every way from scan to particles, by reconstructor."""
    recons = [Method.parse(text, reconstructors) for text in config.reconstructors]
    recons = [replace(method, weights_sha256=reconstructor_weights(method)) for method in recons]
    by_features = Method(UNROLLED)
    ways: list[Way] = []
    for text, mapping in product(config.segmenters, config.mappings):
        method = Method.parse(text, segmenters)
        if not method.is_network:
            ways += [(recon, method, RECONSTRUCT) for recon in recons if mapping == RECONSTRUCT]
            continue
        try:
            weights, joint = segmenter_weights(method, mapping)
        except InputError as error:
            if not config.skip_missing:
                raise InputError(f"{error}, or set skip_missing = true") from None
            note(f"left out: {error}")
            continue
        method = replace(method, weights_sha256=weights)
        if mapping == RECONSTRUCT:
            ways += [(recon, method, mapping) for recon in recons]
        elif mapping == FEATURES and not joint:
            ways.append((replace(by_features, weights_sha256=reconstructor_weights(by_features)), method, mapping))
        else:
            assert mapping in (FEATURES, SPARSE)
            ways.append((None, method, mapping))
    if not ways:
        raise InputError("no way from scan to particles is left; give weights, or another segmenter or mapping")
    order = list(dict.fromkeys(recon for recon, _, _ in ways))
    return sorted(ways, key=lambda way: order.index(way[0]))


def _full_scan_ways(ways: Sequence[Way]) -> list[Way]:
    """Return the ways of the full scan of an equal-cost pair: denoised by BM3D, and by the networks of the sparse ones.

    A trained network on one side and a classical denoiser on the other would compare these, not the scans.
    """
    imaged = [way for way in ways if way[2] == RECONSTRUCT]
    denoised = [(FULL_SCAN, segment, mapping) for _, segment, mapping in imaged]
    learned = [way for way in imaged if way[0] is not None and way[0].name in NETWORKS]
    return list(dict.fromkeys([*denoised, *learned]))
