"""How often the truth lies within the 90 % intervals of the learned methods, by sampling ratio."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cs_recon.bench.run import scan_of
from cs_recon.bench.settings import LEARNED, run_method
from cs_recon.calibrate import RATIOS, coverage
from cs_recon.reconstruction import reconstructors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cs_recon.bench.frames import FrameSource

COUNTS = (5.0, 20.0, 100.0, 0.0)
"""Doses that frames take in turn: electrons where the frame is brightest, 0 for no noise."""
_UNTOLD = ", untold"


def coverage_table(
    sources: Sequence[FrameSource],
    *,
    ratios: Sequence[float] = RATIOS,
    device: str = "auto",
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Return the mean share of pixels within 90 % intervals.

    Parameters
    ----------
    sources : sequence of FrameSource
        Frames that neither training nor calibration saw; every scheme and each of `COUNTS` is used in turn.
    ratios : sequence of float
        Sampling ratios.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    progress : callable, optional
        Called with what is under way.

    Returns
    -------
    pandas.DataFrame
        One row a method and kind of frame (the index), and where there are several kinds one of all frames, with the
        noise of the scans told and, "untold", without; one column a ratio; nominal are 0.9.
    """
    schemes = ("random", "jittered-grid", "poisson-disc", "spiral", "line-hop")
    rows: dict[str, dict[str, list[float]]] = {}
    frames = [(source, source.make()) for source in sources]
    kinds = dict.fromkeys(source.kind for source in sources)
    together = ["all"] if len(kinds) > 1 else []
    for ratio in ratios:
        progress(f"intervals at {ratio:.0%}")
        for index, (source, frame) in enumerate(frames):
            scan = scan_of(frame, index, schemes[index % len(schemes)], ratio, COUNTS[index % len(COUNTS)])
            untold = replace(scan, counts_per_unit=None, read_noise=0.0)
            for method in LEARNED:
                if method.split(":")[0] not in reconstructors.names:
                    continue
                for told, noise in ((scan, ""), (untold, _UNTOLD)):
                    done = run_method(told, method, {}, device)
                    assert done.sigma is not None
                    share = coverage(frame, done.image, done.sigma)
                    for kind in (source.kind, *together):
                        rows.setdefault(f"{method}, {kind}{noise}", {}).setdefault(f"{ratio:.0%}", []).append(share)
    means = {name: {key: float(np.mean(found)) for key, found in row.items()} for name, row in rows.items()}
    every = [
        f"{method}, {kind}{noise}" for method in LEARNED for noise in ("", _UNTOLD) for kind in (*kinds, *together)
    ]
    order = [name for name in every if name in means]
    return pd.DataFrame.from_dict({name: means[name] for name in order}, orient="index").rename_axis("method, frames")
