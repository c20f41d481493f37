"""What a study sweeps over: a TOML file, checked before any work."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.config import load_config
from cs_recon.device import pick_device
from cs_recon.reconstruction import reconstructors
from segmentation.bench.frames import GENERATORS
from segmentation.mapping import MAPPINGS, RECONSTRUCT, check_mapping
from segmentation.methods import segmenters
from segmentation.study.methods import Method
from simulate.errors import (
    InputError,
    check_count,
    check_kind,
    check_pixel_size,
    check_positive,
    check_ratio,
    check_within,
    nearest_name,
)
from simulate.hardware import ScanHardware, hardware_by_name
from simulate.readout import MOST_ELECTRONS
from simulate.scan import electrons_per_us
from simulate.scenes import SceneConfig
from simulate.schemes import schemes

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

SCENE = "scene"
SPLITS = ("all", "train", "validation", "test")
SAME_DOSE, SAME_TIME = "dose", "time"
PAIRINGS = (SAME_DOSE, SAME_TIME)
PRESETS = ("quick", "paper", "plan")
_OF_THE_HARDWARE = ("settling_us", "flyback_us", "shortest_dwell_us")
_SCAN_NUMBERS = ("dwell_us", "beam_current_pA", "detected_share", *_OF_THE_HARDWARE, "read_noise_counts")


@dataclass(frozen=True)
class FrameChoice:
    """Which frames: simulated ones, and folders of labelled real ones.

    Parameters
    ----------
    generator : {"ordinary", "hard", "scene"}
        Of simulated frames, see `segmentation.bench.frames.simulated_frames`; or ``"scene"``, always the same `scene`,
        with other particles each time.
    n : int
        How many simulated frames; 0 for none.
    first : int
        Number of the first: another one takes frames that other studies have not seen.
    size : int
        Their side in pixels; a `scene` has its own shape.
    scene : SceneConfig
        What the generator ``"scene"`` draws.
    folders : tuple of str
        Folders of real frames, ``images/NAME.*`` with ``labels/NAME.png``.
    split : {"all", "train", "validation", "test"}
        Which of them. Networks that were trained on the folder have seen its train split.
    limit : int
        How many of each folder at most; 0 for all.
    pixel_size_nm : float
        Of the real frames; 0 if it is not known.
    """

    generator: str = "ordinary"
    n: int = 8
    first: int = 0
    size: int = 128
    scene: SceneConfig = field(default_factory=SceneConfig)
    folders: tuple[str, ...] = ()
    split: str = "all"
    limit: int = 0
    pixel_size_nm: float = 0.0

    def __post_init__(self) -> None:
        _check_choice(self.generator, "frames: generator", (*GENERATORS, SCENE))
        _check_choice(self.split, "frames: split", SPLITS)
        for name, low in (("n", 0), ("first", 0), ("size", 32), ("limit", 0)):
            check_count(getattr(self, name), f"frames: {name}", low)
            object.__setattr__(self, name, int(getattr(self, name)))
        for folder in self.folders:
            check_kind(folder, "frames: a folder", str)
        if self.generator != SCENE and self.scene != SceneConfig():
            raise InputError(f'frames: a scene is given and generator is {self.generator!r}; expected "scene" with it')
        if self.n == 0 and not self.folders:
            raise InputError("the study has no frames: n is 0 and there are no folders; expected one of both")
        if self.pixel_size_nm != 0:
            check_pixel_size(self.pixel_size_nm)


@dataclass(frozen=True)
class ScanChoice:
    """How the beam scans, and what that costs.

    Parameters
    ----------
    dwell_us : float
        Dwell time in µs, for every dose: doses then differ by the beam current. Not used where a current is given.
    beam_current_pA, detected_share : float
        Beam current, and the share of its electrons that are detected where a frame is brightest. With a current doses
        differ by the dwell time :math:`T = p / (s I / e)` for the peak counts :math:`p`, and are known in e-/Å². Where
        that is below the hardware's shortest, the beam is dimmed instead. 0 pA: not known.
    hardware : str
        A name from `simulate.hardware.HARDWARE`.
    settling_us, flyback_us, shortest_dwell_us : float
        Instead of the hardware's; its own if negative.
    blanked : bool
        Whether the beam is off during jumps.
    read_noise_counts : float
        Standard deviation of the noise of a sample whatever its dwell time, in counts.
    beam_lag : bool
        Whether samples are taken where the lagging beam is, rather than where it was sent.
    """

    dwell_us: float = 10.0
    beam_current_pA: float = 0.0  # noqa: N815
    detected_share: float = 0.1
    hardware: str = "conventional"
    settling_us: float = -1.0
    flyback_us: float = -1.0
    shortest_dwell_us: float = -1.0
    blanked: bool = True
    read_noise_counts: float = 0.0
    beam_lag: bool = False

    def __post_init__(self) -> None:
        check_positive(self.dwell_us, "scan: dwell_us")
        check_within(self.beam_current_pA, "scan: beam_current_pA")
        check_positive(self.detected_share, "scan: detected_share")
        check_within(self.detected_share, "scan: detected_share", 0, 1)
        check_within(self.read_noise_counts, "scan: read_noise_counts")
        for name in _OF_THE_HARDWARE:
            check_within(getattr(self, name), f"scan: {name}", -math.inf)
        for name in ("blanked", "beam_lag"):
            check_kind(getattr(self, name), f"scan: {name}", bool)
        shortest_us = self.scan_hardware.shortest_dwell_us
        if self.dwell_us < shortest_us:
            raise InputError(
                f"scan: dwell_us is {self.dwell_us:g}; expected at least {shortest_us:g} µs, the shortest of the "
                f"hardware {self.hardware!r}"
            )
        # 20 and 20.0 are equal, and so must be the keys of their cases.
        for name in _SCAN_NUMBERS:
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def scan_hardware(self) -> ScanHardware:
        """The hardware that is meant."""
        own = {name: getattr(self, name) for name in _OF_THE_HARDWARE}
        changes: dict[str, Any] = {name: value for name, value in own.items() if value >= 0}
        return replace(hardware_by_name(self.hardware), blanked=self.blanked, **changes)

    def dwell_us_for(self, peak_counts: ArrayLike) -> NDArray[np.float64]:
        """Return the dwell times that give the peak counts, by a beam of `brightness`."""
        counts = np.asarray(peak_counts, dtype=np.float64)
        if self.beam_current_pA == 0:
            return np.full(counts.shape, self.dwell_us)
        wanted_us = counts / (electrons_per_us(self.beam_current_pA) * self.detected_share)
        shortest_us = self.scan_hardware.shortest_dwell_us
        return np.where(counts == 0, self.dwell_us, np.maximum(wanted_us, shortest_us))

    def brightness(self, peak_counts: ArrayLike) -> NDArray[np.float64]:
        """Return the shares of the beam current that give the peak counts: 1 unless dwell times would be too short."""
        counts = np.asarray(peak_counts, dtype=np.float64)
        if self.beam_current_pA == 0:
            return np.ones(counts.shape)
        most = electrons_per_us(self.beam_current_pA) * self.detected_share * self.dwell_us_for(counts)
        return np.where(counts == 0, 1.0, np.minimum(counts / most, 1.0))


@dataclass(frozen=True)
class StudyConfig:
    """What a study sweeps over: every combination that makes sense.

    Parameters
    ----------
    schemes : tuple of str
        Scan schemes. Those that are guided by a prior are told the edges of the frame; ``"adaptive"`` finds out
        itself, pass after pass.
    ratios : tuple of float
        Sampling ratios. A ratio of 1 is one raster scan, whatever the schemes.
    doses : tuple of float
        Electrons detected in a dwell where the frame is brightest; 0 for no noise.
    reconstructors, segmenters : tuple of str
        Methods with options if any: ``"unrolled-ista:preset=fast"``, ``"mask-rcnn:weights=my.safetensors"``.
    mappings : tuple of str
        Ways into the networks. ``"features"`` goes by the unrolled network's features and ``"sparse"`` by the samples
        alone, each once whatever the reconstructors.
    equal_cost : tuple of {"dose", "time"}
        For each sparse scan with noise, also a fast full scan of the same total dose, or of the same frame time,
        by the better of the method ``"full-scan"`` and, if the sparse scan has one, its network.
    frames : FrameChoice
        On which frames.
    scan : ScanChoice
        How the beam scans.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    skip_missing : bool
        Leave out networks without weights, instead of refusing the study.

    Examples
    --------
    >>> StudyConfig(ratios=(0.05, 0.1), doses=(20,), reconstructors=("linear",)).doses
    (20.0,)
    """

    schemes: tuple[str, ...] = ("random",)
    ratios: tuple[float, ...] = (0.1,)
    doses: tuple[float, ...] = (50.0,)
    reconstructors: tuple[str, ...] = ("unrolled-ista",)
    segmenters: tuple[str, ...] = ("mask-rcnn",)
    mappings: tuple[str, ...] = (RECONSTRUCT,)
    equal_cost: tuple[str, ...] = ()
    frames: FrameChoice = field(default_factory=FrameChoice)
    scan: ScanChoice = field(default_factory=ScanChoice)
    device: str = "auto"
    skip_missing: bool = False

    def __post_init__(self) -> None:
        for name in ("schemes", "ratios", "doses", "reconstructors", "segmenters", "mappings"):
            if not getattr(self, name):
                raise InputError(f"{name} is empty; expected one at least")
        for scheme in self.schemes:
            schemes[scheme]
        object.__setattr__(self, "ratios", _unique(check_ratio(ratio) for ratio in self.ratios))
        for dose in self.doses:
            check_within(dose, "a dose", 0, MOST_ELECTRONS)
        object.__setattr__(self, "doses", _unique(float(dose) for dose in self.doses))
        for mapping in self.mappings:
            check_mapping(mapping)
        for pairing in self.equal_cost:
            _check_choice(pairing, "equal_cost", PAIRINGS)
        for text in self.reconstructors:
            Method.parse(text, reconstructors)
        if self.equal_cost and RECONSTRUCT not in self.mappings:
            raise InputError("equal_cost denoises images and mappings has no 'reconstruct'; add it, or leave it out")
        methods = [Method.parse(text, segmenters) for text in self.segmenters]
        if RECONSTRUCT not in self.mappings and not any(method.is_network for method in methods):
            raise InputError(
                f"mappings are {', '.join(self.mappings)} and no segmenter is a network; expected 'reconstruct' among "
                f"{', '.join(MAPPINGS)}"
            )
        pick_device(self.device)


def load_study(path: str | os.PathLike[str]) -> StudyConfig:
    """Read a study from a TOML file with the fields of `StudyConfig`; `InputError` for what it does not know."""
    return load_config(path, StudyConfig)


def preset(name: str) -> StudyConfig:
    """Return a shipped study: ``"quick"``, under a minute, ``"paper"``, or ``"plan"``, which plans are made from.

    >>> preset("quick").frames.n > 0
    True
    """
    _check_choice(name, "preset", PRESETS)
    with as_file(files("segmentation.study") / "presets" / f"{name}.toml") as path:
        return load_study(path)


def study_record(config: StudyConfig) -> dict[str, Any]:
    """Return a study as plain values, as `cs_recon.config.from_table` reads it; without a scene that is not drawn.

    >>> "scene" in study_record(StudyConfig(frames=FrameChoice(generator="ordinary")))["frames"]
    False
    """
    record = asdict(config)
    if config.frames.generator != SCENE:
        del record["frames"]["scene"]
    return record


def _check_choice(value: object, name: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}{nearest_name(str(value), known)}; expected one of {', '.join(known)}")


def _unique(values: Any) -> tuple[float, ...]:
    return tuple(dict.fromkeys(values))
