"""Every segmentation method on the same labelled frames."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cs_recon.real_images import Split, labelled_images
from segmentation.instances import Instances
from segmentation.methods import segment, segmenters
from segmentation.scores import coco_ap, score
from segmentation.training_data import MIN_AREA_PX
from simulate.detector import measure
from simulate.errors import InputError
from simulate.random_scenes import random_config
from simulate.scenes import make_scene
from simulate.schemes import scan_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

VALIDATION_SEED, TEST_SEED = 303_100_000, 404_200_000
"""Seeds of the bench's scenes start here; training draws from ``(seed, index)`` pairs, which are other streams."""

HEADLINES = (
    "average_precision@0.5",
    "average_precision@0.75",
    "precision@0.5",
    "recall@0.5",
    "panoptic_quality@0.5",
    "size_bias@0.5",
    "count_error",
    "seconds",
)


@dataclass(frozen=True, eq=False)
class BenchFrame:
    """A frame and the label map of its particles."""

    name: str
    image: NDArray
    labels: NDArray[np.int32]


def simulated_frames(n: int, split: str = "test", size: int = 256) -> Iterator[BenchFrame]:
    """Yield scenes that no training saw, fully scanned at 20 to 500 counts.

    Particles of which others leave fewer than 16 pixels to see are not asked for.
    """
    first = TEST_SEED if split == "test" else VALIDATION_SEED
    for index in range(n):
        rng = np.random.default_rng(first + index)
        scene = make_scene(random_config(rng, (size, size)), rng=rng)
        counts = float(np.exp(rng.uniform(np.log(20), np.log(500))))
        noisy = measure(scene.frame, scan_path("raster", scene.frame.shape), peak_counts=counts, rng=rng)  # pyright: ignore[reportArgumentType]
        seen = np.bincount(scene.labels.ravel()) >= MIN_AREA_PX
        yield BenchFrame(f"scene-{index}", noisy.values, np.where(seen[scene.labels], scene.labels, 0))


def real_frames(folder: str, split: Split = "test") -> Iterator[BenchFrame]:
    """Yield the real images of a split, at native scale."""
    for item in labelled_images(folder, split):
        yield BenchFrame(item.name, item.image.astype(np.float64), item.labels)


def bench(
    frames: Iterator[BenchFrame],
    *,
    methods: tuple[str, ...] = (),
    options: dict[str, dict[str, Any]] | None = None,
    device: str = "auto",
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Segment every frame by every method and score it.

    Returns
    -------
    pandas.DataFrame
        One row a frame and method: ``frame, method, n_true, seconds`` and the scores of `segmentation.scores.score`;
        the frames' COCO AP by method in ``attrs["coco_ap"]``.
    """
    rows: list[dict[str, object]] = []
    found: dict[str, list[tuple[Instances, Instances]]] = {}
    for frame in frames:
        progress(frame.name)
        truth = Instances(frame.labels)
        for method in methods or segmenters.names:
            began = time.perf_counter()
            instances = segment(frame.image, method, device=device, **(options or {}).get(method, {}))
            seconds = time.perf_counter() - began
            scores = score(frame.labels, instances.labels)
            rows.append(
                {"frame": frame.name, "method": method, "n_true": len(truth), "seconds": seconds, **scores}
            )  # fmt: skip
            found.setdefault(method, []).append((truth, instances))
    if not rows:
        raise InputError("no frames to judge on; give a folder of labelled images or a number of simulated ones")
    table = pd.DataFrame(rows)
    table.attrs["coco_ap"] = {method: coco_ap(pairs) for method, pairs in found.items()}
    return table


def bench_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over frames of the main scores by method, and COCO's AP over all particles."""
    # pandas' type hints do not follow indexing by columns.
    table: Any = rows.groupby("method")[list(HEADLINES)].mean()
    table["coco_ap"] = pd.Series(rows.attrs["coco_ap"])
    return pd.DataFrame(table.reindex(name for name in segmenters.names if name in table.index))
