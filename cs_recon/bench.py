"""Every reconstruction method on the same frames, the classical ones at their best setting for each frame."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from cs_recon.metrics import psnr, ssim
from cs_recon.real_images import labelled_images
from cs_recon.reconstruction import reconstruct, reconstructors
from simulate.detector import measure
from simulate.random_scenes import random_config
from simulate.scenes import make_scene
from simulate.schemes import scan_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BENCH_SEED = 202_600_000
"""Seeds of the bench's scenes start here; training draws from ``(seed, index)`` pairs, which are other streams."""

LEARNED = "unrolled-ista"
_SMOOTHINGS = (0.7, 1.0, 1.5, 2.0, 3.0, 4.0)
SETTINGS: dict[str, list[dict[str, object]]] = {
    "nearest": [{"smooth_px": s} for s in _SMOOTHINGS],
    "linear": [{"smooth_px": s} for s in _SMOOTHINGS],
    "biharmonic": [{"smooth_px": s} for s in _SMOOTHINGS],
    "fista": [
        {"wavelet": wavelet, "threshold": float(threshold)}
        for wavelet, threshold in product(("haar", "sym4"), np.geomspace(0.06, 2, 6).round(3))
    ],
}
"""Settings that are tried for each frame; the best PSNR and the best SSIM are kept (an oracle no user has)."""


@dataclass(frozen=True, eq=False)
class BenchFrame:
    """A clean frame to judge on."""

    name: str
    kind: str
    clean: NDArray


def bench_frames(n_simulated: int, real_folder: str = "", n_real: int = 6, size: int = 256) -> Iterator[BenchFrame]:
    """Yield simulated scenes of unseen seeds, then real images of the test split at half size (to average their noise).

    Half size, because the truth must be cleaner than what is made from it.
    """
    for index in range(n_simulated):
        rng = np.random.default_rng(BENCH_SEED + index)
        yield BenchFrame(f"scene-{index}", "simulated", make_scene(random_config(rng, (size, size)), rng=rng).frame)
    if not real_folder:
        return
    for item in labelled_images(real_folder, "test")[:n_real]:
        side = min(2 * size, *item.image.shape)
        small = Image.fromarray(item.image[:side, :side]).resize((size, size), Image.Resampling.BOX)
        yield BenchFrame(item.name, "real", np.asarray(small, dtype=np.float32) / 255)


def bench(
    frames: Iterator[BenchFrame],
    *,
    ratio: float,
    peak_counts: float | None,
    scheme: str = "random",
    device: str = "cpu",
    progress: Callable[[str], object] = lambda text: None,
) -> pd.DataFrame:
    """Reconstruct every frame by every method and setting.

    Parameters
    ----------
    frames : iterator of BenchFrame
        Clean frames.
    ratio, peak_counts, scheme
        The scan: sampling ratio, electrons at the brightest pixel (None for noise-free), scheme.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    progress : callable, optional
        Called with what is under way.

    Returns
    -------
    pandas.DataFrame
        One row a frame, method and setting: ``frame, kind, method, setting, ratio, psnr_db, ssim, seconds``, where
        setting is "automatic" (the method's own choice) or one of `SETTINGS`, and ratio is the realised one.
    """
    rows: list[dict[str, object]] = []
    for index, frame in enumerate(frames):
        scan = measure(
            frame.clean,
            scan_path(scheme, frame.clean.shape, ratio, rng=index),  # pyright: ignore[reportArgumentType]
            peak_counts=peak_counts,
            rng=BENCH_SEED + index,
        )
        for method in reconstructors.names:
            progress(f"{frame.name} {method}")
            for options in [{}, *SETTINGS.get(method, [])]:
                began = time.perf_counter()
                image = reconstruct(scan, method, device=device, **options).image
                rows.append({
                    "frame": frame.name,
                    "kind": frame.kind,
                    "method": method,
                    "setting": ", ".join(f"{key}={value}" for key, value in options.items()) or "automatic",
                    "ratio": scan.ratio,
                    "psnr_db": psnr(frame.clean, image),
                    "ssim": ssim(frame.clean, image),
                    "seconds": time.perf_counter() - began,
                })  # fmt: skip
    return pd.DataFrame(rows)


def bench_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return medians over frames by method, with their own and with the best settings.

    The last columns count the frames on which the learned method, as it comes, beats each at its best.
    """
    # pandas' type hints do not follow indexing by columns.
    automatic: Any = rows[rows.setting == "automatic"].set_index(["frame", "method"])
    best: Any = rows.groupby(["frame", "method"])[["psnr_db", "ssim"]].max()
    table = pd.DataFrame({
        "PSNR automatic (dB)": automatic.psnr_db.groupby("method").median(),
        "PSNR best setting (dB)": best.psnr_db.groupby("method").median(),
        "SSIM automatic": automatic.ssim.groupby("method").median(),
        "SSIM best setting": best.ssim.groupby("method").median(),
        "time (s)": automatic.seconds.groupby("method").median(),
    })  # fmt: skip
    ours = automatic.xs(LEARNED, level="method")
    for score, name in (("psnr_db", "PSNR"), ("ssim", "SSIM")):
        margin = best[score].unstack("method").rsub(ours[score], axis=0)
        table[f"frames where {LEARNED} has more {name}"] = (margin > 0).sum().astype(str) + f" of {len(ours)}"
    table.loc[LEARNED, table.columns[-2:]] = "-"
    return pd.DataFrame(table.reindex(name for name in reconstructors.names if name in table.index))
