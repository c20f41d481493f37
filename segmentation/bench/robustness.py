"""How accuracy falls with dose, contrast, blur and density: one figure of the scene is varied, the others stay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from segmentation.bench.compare import AP
from segmentation.bench.frames import LabelledFrame
from segmentation.scores import score
from segmentation.visibility import visible
from simulate.figures import MARKERS, canvas
from simulate.materials import MATERIALS, MODES
from simulate.scenes import SceneConfig, make_scene
from simulate.support import Support

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from segmentation.bench.compare import Model

SEED = 505_300_000
DIAMETER_PX = 16.0
MATERIAL = "TiO2"
BASE_COUNTS, BASE_CONTRAST = 50.0, 1.0


@dataclass(frozen=True)
class Knob:
    """One figure that is varied.

    Attributes
    ----------
    name, label : str
        Its name in tables, and on the axis of its curve.
    values : tuple of float
        What it takes.
    log : bool
        Whether its axis is logarithmic.
    """

    name: str
    label: str
    values: tuple[float, ...]
    log: bool = True


KNOBS = (
    Knob("peak_counts", "counts at the brightest pixel", (3, 6, 12, 25, 50, 100, 300)),
    Knob("contrast", "signal of a particle's middle over that of the film", (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)),
    Knob("blur_px", "standard deviation of the blur (px)", (0, 1, 2, 3, 4, 6), log=False),
    Knob("coverage", "summed area of the particles over the frame's", (0.02, 0.05, 0.1, 0.2, 0.3, 0.45), log=False),
)
"""Contrast is set by the thickness of the film, whose signal particles stand on."""


def frame_with(knob: str, value: float, index: int, size: int = 256) -> tuple[LabelledFrame, float]:
    """Return the frame of a seed with one figure set, and the counts of its scan."""
    rng = np.random.default_rng([SEED, index])
    coverage = value if knob == "coverage" else 0.12
    contrast = value if knob == "contrast" else BASE_CONTRAST
    depth = {name: MODES["haadf"].depth_per_nm(MATERIALS[name]) for name in (MATERIAL, "C")}
    film_nm = 0.5 * DIAMETER_PX * depth[MATERIAL] / depth["C"] / contrast
    config = SceneConfig(
        shape=(size, size),
        pixel_size_nm=0.5,
        n_particles=max(1, round(coverage * size**2 / (np.pi / 4 * DIAMETER_PX**2))),
        diameter_nm=0.5 * DIAMETER_PX,
        diameter_spread=0.2,
        shapes=("sphere", "ellipsoid", "octahedron"),
        arrangement="random" if knob == "coverage" else "hard-core",
        materials=(MATERIAL,),
        support=Support(thickness_nm=film_nm, texture=0.03),
    )
    scene = make_scene(replace(config, shape=(size, size)), rng=rng)
    image = gaussian_filter(scene.frame, value) if knob == "blur_px" else scene.frame
    counts = value if knob == "peak_counts" else BASE_COUNTS
    return LabelledFrame(f"{knob}-{value:g}-{index}", "simulated", image, visible(scene.labels), SEED + index), counts


def robustness(
    models: Sequence[Model],
    *,
    frames: int = 10,
    ratio: float = 1.0,
    size: int = 256,
    device: str = "auto",
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Score every model on scenes in which one figure after the other is varied.

    Returns
    -------
    pandas.DataFrame
        One row a frame and model: ``knob, value, frame, model`` and the scores of `segmentation.scores.score`.
    """
    rows: list[dict[str, object]] = []
    for knob in KNOBS:
        for value in knob.values:
            progress(f"{knob.name} {value:g}")
            for index in range(frames):
                frame, counts = frame_with(knob.name, value, index, size)
                scan = frame.scan(ratio, counts)
                for model in models:
                    found = model.run(scan, device)
                    row = {"knob": knob.name, "value": value, "frame": index, "model": model.name}
                    rows.append({**row, **score(frame.labels, found.labels)})
    return pd.DataFrame(rows)


def robustness_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean AP at an IoU of 0.5 by knob and value, a column a model."""
    table: Any = rows.pivot_table(index=["knob", "value"], columns="model", values=AP, aggfunc="mean", sort=False)
    known = [(knob.name, value) for knob in KNOBS for value in knob.values if (knob.name, value) in table.index]
    table = table.loc[known]
    table.index = [f"{knob} {value:g}" for knob, value in known]
    return pd.DataFrame(table)


def robustness_figure(rows: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Draw a curve a model for every knob: the mean over frames, and its standard error as a band."""
    with canvas((9, 6.4), path) as figure:
        grid: Any = figure.subplots(2, 2, sharey=True)
        for axes, knob in zip(grid.flat, KNOBS, strict=True):
            part: Any = rows[rows["knob"] == knob.name]
            for (model, own), marker in zip(part.groupby("model", sort=False), cycle(MARKERS), strict=False):
                grouped = own.groupby("value")[AP]
                mean, error = grouped.mean(), grouped.sem().fillna(0)
                (line,) = axes.plot(mean.index, mean, marker=marker, ms=4, label=model)
                axes.fill_between(mean.index, mean - error, mean + error, color=line.get_color(), alpha=0.15, lw=0)
            if knob.log:
                axes.set_xscale("log")
                axes.minorticks_off()
            # Where there are points, in figures that need no powers of ten.
            axes.set_xticks(knob.values, [f"{value:g}" for value in knob.values])
            axes.set(xlabel=knob.label, ylim=(-0.02, 1.02))
            axes.grid(alpha=0.3)
        for axes in grid[:, 0]:
            axes.set_ylabel("AP at IoU 0.5: TP / (TP + FP + FN)")
        figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
