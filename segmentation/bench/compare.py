"""The comparison of architectures and mappings: accuracy, size, time and memory on the same labelled scans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from cs_recon.bench.memory import measured
from cs_recon.device import pick_device
from cs_recon.reconstruction import reconstruct
from segmentation.instances import Instances
from segmentation.learned import load_segmenter
from segmentation.mapping import FEATURES, RECONSTRUCT, SPARSE, check_mapping
from segmentation.methods import segment, segmenters
from segmentation.models.family import ARCHITECTURES
from segmentation.pipeline import ADAPTIVE
from segmentation.scores import coco_ap, score
from segmentation.shipped import shipped_name
from simulate.errors import InputError, nearest_name
from simulate.schemes import schemes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from segmentation.bench.frames import LabelledFrame
    from simulate.measurement import Measurement

AP = "average_precision@0.5"
MEANS = (
    AP,
    "average_precision@0.75",
    "precision@0.5",
    "recall@0.5",
    "f1@0.5",
    "panoptic_quality@0.5",
    "aggregated_jaccard",
    "boundary_f",
    "count_error",
    "size_bias@0.5",
    "seconds",
    "peak_mb",
)


@dataclass(frozen=True)
class Model:
    """A method and the way into it.

    Parameters
    ----------
    method : str
        A name from `segmenters.names`.
    mapping : str
        Of a network; ``"reconstruct"`` for every other method.
    weights : str
        A weights file; the shipped one if empty.
    scale : float, optional
        At which a network sees frames; where it is surest if None.
    """

    method: str
    mapping: str = RECONSTRUCT
    weights: str = ""
    scale: float | None = None

    @classmethod
    def parse(cls, text: str) -> Model:
        """Return the model of ``METHOD``, ``METHOD:MAPPING`` or ``METHOD:MAPPING:WEIGHTS``."""
        method, _, rest = text.partition(":")
        mapping, _, weights = rest.partition(":")
        if method not in segmenters.names:
            raise InputError(
                f"unknown segmentation method {method!r}{nearest_name(method, segmenters.names)}; expected one of "
                f"{', '.join(segmenters.names)}"
            )
        check_mapping(mapping or RECONSTRUCT)
        if method not in ARCHITECTURES and (weights or mapping not in ("", RECONSTRUCT)):
            raise InputError(f"model {text!r}: {method!r} is no network; expected its name alone")
        return cls(method, mapping or RECONSTRUCT, weights)

    @property
    def name(self) -> str:
        """Its name in tables: with the weights file if that is not the shipped one."""
        name = shipped_name(self.method, self.mapping)
        return f"{name} ({self.weights})" if self.weights else name

    @property
    def options(self) -> dict[str, Any]:
        """The options with which it is called."""
        if self.method not in ARCHITECTURES:
            return {}
        return {"mapping": self.mapping, "weights": self.weights, "scale": self.scale}

    def parameters(self) -> int:
        """Return how many parameters the network has; 0 if it is none."""
        if self.method not in ARCHITECTURES:
            return 0
        network = load_segmenter(self.method, mapping=self.mapping, weights=self.weights).network
        return sum(parameter.numel() for parameter in network.parameters())

    def run(self, scan: Measurement, device: str) -> Instances:
        """Segment a scan: by way of the reconstruction where the mapping takes an image and the scan is sparse."""
        if self.mapping in (FEATURES, SPARSE) or bool(scan.mask.all()):
            return segment(scan, self.method, device=device, **self.options)
        return segment(reconstruct(scan, device=device), self.method, device=device, **self.options)


@dataclass(frozen=True)
class Condition:
    """How the frames are scanned: the sampling ratio, the peak counts (0: no noise), and the scheme of sparse scans."""

    ratio: float
    peak_counts: float
    scheme: str = "random"

    def __post_init__(self) -> None:
        if schemes[self.scheme].needs_prior and self.scheme != ADAPTIVE:
            raise InputError(
                f"scheme {self.scheme!r} needs a prior; expected one that knows nothing of the frame, or {ADAPTIVE!r}, "
                "which finds out by itself"
            )


def shipped_models() -> list[Model]:
    """Return every model whose weights are shipped, and the classical floor."""
    found = [Model("threshold")]
    for method in ARCHITECTURES:
        for mapping in (RECONSTRUCT, FEATURES, SPARSE):
            try:
                load_segmenter(method, mapping=mapping)
            except InputError:
                continue
            found.append(Model(method, mapping))
    return found


def compare(
    frames: Iterable[LabelledFrame],
    models: Sequence[Model],
    conditions: Sequence[Condition],
    *,
    device: str = "auto",
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Segment every frame, scanned under every condition, by every model, and score it.

    Parameters
    ----------
    frames : iterable of LabelledFrame
        The frames.
    models : sequence of Model
        What to compare.
    conditions : sequence of Condition
        How to scan.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    progress : callable
        Called with a line a frame.

    Returns
    -------
    pandas.DataFrame
        One row a frame, condition and model: ``frame, kind, ratio, peak_counts, model, seconds, peak_mb`` (of the whole
        way from the scan on) and the scores of `segmentation.scores.score`. COCO's AP by ``(kind, ratio, peak_counts,
        model)`` in ``attrs["coco_ap"]``.
    """
    rows: list[dict[str, object]] = []
    found: dict[tuple[str, float, float, str], list[tuple[Instances, Instances]]] = {}
    target = pick_device(device)
    warm: set[str] = set()
    for frame in frames:
        progress(frame.name)
        truth = Instances(frame.labels)
        for condition in conditions:
            scan = frame.scan(condition.ratio, condition.peak_counts, condition.scheme, device)
            for model in models:
                if model.name not in warm:
                    # What a first call costs, reading weights or starting a GPU, is no time a frame.
                    model.run(scan, device)
                    warm.add(model.name)
                with measured(target) as cost:
                    instances = model.run(scan, device)
                key = {"kind": frame.kind, "ratio": condition.ratio, "peak_counts": condition.peak_counts}
                rows.append({
                    "frame": frame.name, **key, "model": model.name, "seconds": cost.seconds, "peak_mb": cost.peak_mb,
                    **score(frame.labels, instances.labels),
                })  # fmt: skip
                found.setdefault((*key.values(), model.name), []).append((truth, instances))  # pyright: ignore[reportArgumentType]
    if not rows:
        raise InputError("no frames to judge on; give a folder of labelled images or a number of simulated ones")
    table = pd.DataFrame(rows)
    table.attrs["coco_ap"] = {key: coco_ap(pairs) for key, pairs in found.items()}
    return table


def comparison_table(rows: pd.DataFrame, models: Sequence[Model]) -> pd.DataFrame:
    """Return means over frames by model and condition, with COCO's AP over all particles and the parameters.

    COCO's AP ranks what lies above each model's operating point, not every detection.
    """
    by = ["model", "kind", "ratio", "peak_counts"]
    # pandas' type hints do not follow indexing by columns.
    untyped: Any = rows
    table = untyped.groupby(by, sort=False)[list(MEANS)].mean().reset_index()
    told: dict[Any, float] = rows.attrs["coco_ap"]
    table["coco_ap"] = [told[row.kind, row.ratio, row.peak_counts, row.model] for row in table.itertuples()]
    table["parameters_M"] = table["model"].map({model.name: model.parameters() / 1e6 for model in models})
    return pd.DataFrame(table.set_index("model"))


def relative_to_full(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean AP at an IoU of 0.5 by model, kind and ratio, and its share of that of full frames, if any."""
    table: Any = rows.pivot_table(index=["kind", "model"], columns="ratio", values=AP, aggfunc="mean", sort=False)
    table = table.reindex(columns=sorted(table.columns, reverse=True))
    parts = {"AP@0.5": table}
    if 1.0 in table:
        parts["share"] = table.div(table[1.0], axis=0)
    return pd.DataFrame(pd.concat(parts, axis=1))
