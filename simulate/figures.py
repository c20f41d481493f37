"""Pictures of scan schemes and scenes: where the beam goes and when, what it aliases, what is to be seen."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.atomic import atomic_path
from simulate.errors import InputError, check_ratio, check_rng
from simulate.schemes import scan_path, schemes
from simulate.support import smooth_field

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from simulate.hardware import ScanHardware
    from simulate.scan import ScanPath
    from simulate.scenes import Scene

PICTURE_SUFFIXES = (".png", ".svg", ".pdf", ".jpg", ".tif")
UNSCANNED = "#1c2330"
ORDER_COLOURS, DARKEST = "plasma", 0.35
"""The colours of time, from the first that stands out from pixels that were not scanned."""
# Okabe and Ito's, told apart by all kinds of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
MARKERS = "osD^vP*X"
BARS = COLOURS[0]
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": f"cycler(color={list(COLOURS)})",
    "font.size": 8,
    "axes.titlesize": 8,
    "figure.titlesize": 9,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
}


def mask_spectrum(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    r"""Return the power spectrum of a mask, (H, W), zero frequency in the middle and left out.

    Normalised so that pixels drawn independently with the mask's ratio :math:`q` have a mean of 1,

    .. math:: P(k) = \frac{|\hat m(k)|^2}{H W q (1 - q)}.

    Sub-sampling multiplies the frame by the mask, which convolves its spectrum with the mask's: peaks fold fine detail
    into false coarse detail (aliases), a flat spectrum spreads it as noise, and an empty low-frequency disk (blue
    noise) keeps it away from coarse detail.

    Examples
    --------
    >>> mask = np.random.default_rng(0).random((128, 128)) < 0.2
    >>> round(float(mask_spectrum(mask).mean()), 1)
    1.0
    """
    ratio = float(mask.mean())
    power = np.abs(np.fft.fft2(mask)) ** 2 / (mask.size * max(ratio * (1 - ratio), 1e-12))
    power[0, 0] = 0
    return np.fft.fftshift(power)


def draw_path(axes: Axes, path: ScanPath) -> None:
    """Draw the scanned pixels in the colour of the time at which the beam comes first, dark to light."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(colormaps[ORDER_COLOURS](np.linspace(DARKEST, 1, 256)))
    order = np.full(path.shape, np.nan)
    # The last assignment stays, so going backwards keeps each pixel's first visit.
    order[path.rows[::-1], path.cols[::-1]] = path.starts_us[::-1]
    axes.set_facecolor(UNSCANNED)
    axes.imshow(order, cmap=colours, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def draw_spectrum(axes: Axes, mask: NDArray[np.bool_]) -> None:
    """Draw the mask's power spectrum (`mask_spectrum`) on a logarithmic scale from 0.01 to 100."""
    power = np.log10(np.maximum(mask_spectrum(mask), 1e-2))
    axes.imshow(power, cmap="magma", vmin=-2, vmax=2, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def gallery_prior(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return an example of a weight image for the schemes that need one: some soft patches."""
    field = smooth_field(shape, min(shape) / 10, np.random.default_rng(4))
    return np.maximum(field, 0.0).astype(np.float64) + 0.05


def schemes_figure(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int] = (96, 96),
    ratio: float = 0.1,
    dwell_us: float = 10.0,
    hardware: ScanHardware | None = None,
    rng: np.random.Generator | int | None = 0,
) -> Path:
    """Draw every scheme: its scan in order of time, the spectrum of its mask, frame time and length of way.

    Parameters
    ----------
    path : path
        The image file (png, svg, pdf).
    shape, ratio, dwell_us, hardware, rng
        As for `simulate.scan_path`; each scheme is drawn from the same seed.

    Returns
    -------
    Path
        `path`.
    """
    check_ratio(ratio)
    seed = int(check_rng(rng).integers(2**31))
    n_columns = 4
    n_rows = -(-len(schemes.names) // n_columns)
    with canvas((3.6 * n_columns, 2.15 * n_rows + 0.4), path) as figure:
        axes = figure.subplots(n_rows, 2 * n_columns, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for index, entry in enumerate(schemes):
            left, right = (axes[index // n_columns, 2 * (index % n_columns) + k] for k in (0, 1))
            prior = gallery_prior(shape) if entry.value.needs_prior else None
            scan = scan_path(entry.name, shape, ratio, rng=seed, dwell_us=dwell_us, hardware=hardware, prior=prior)
            left.axis("on")
            draw_path(left, scan)
            left.set_title(f"{entry.name}\n{100 * scan.ratio:.3g} % in {scan.frame_time_ms:.1f} ms")
            right.axis("on")
            draw_spectrum(right, scan.mask)
            right.set_title(f"\nway of {scan.travel_px:,.0f} px")
        figure.suptitle(
            f"Scan schemes at {100 * ratio:.3g} % of {shape[0]} x {shape[1]} pixels, {dwell_us:g} µs dwell: "
            "scanned pixels from first (dark) to last (light),\n"
            "and the mask's power spectrum (black 0.01, white 100 times that of white noise)"
        )
    return Path(path)


def draw_scan_figure(scan: ScanPath, path: str | os.PathLike[str]) -> Path:
    """Draw a scan in order of time, how far beside its targets the beam lands, and its mask's spectrum."""
    rows, cols = scan.landing()
    off = np.hypot(rows - scan.rows, cols - scan.cols)
    with canvas((11, 4), path) as figure:
        order, landing, spectrum = figure.subplots(1, 3)
        draw_path(order, scan)
        order.set_title(
            f"{scan.scheme}: {100 * scan.ratio:.3g} % in {scan.frame_time_ms:.4g} ms,\nfirst (dark) to last (light)"
        )
        landing.hist(off, bins=60, color=BARS, log=True)
        landing.set_title(f"\nbeam beside its target: {scan.landing_error_px:.3g} px (rms)")
        landing.set_xlabel("distance (px)")
        landing.set_ylabel("visits")
        draw_spectrum(spectrum, scan.mask)
        spectrum.set_title("mask's power spectrum,\n0.01 to 100 times white noise")
    return Path(path)


def scene_figure(scene: Scene, path: str | os.PathLike[str]) -> Path:
    """Draw a scene's frame, its label map and its sizes into an image file; return its path."""
    height, width = scene.frame.shape
    pixel = scene.config.pixel_size_nm
    extent = (0, width * pixel, height * pixel, 0)
    with canvas((11, 3.8), path) as figure:
        frame, labels, sizes = figure.subplots(1, 3)
        frame.imshow(scene.frame, cmap="gray", extent=extent)
        frame.set_title(f"{scene.config.mode.upper()}, {len(scene.particles)} particles")
        frame.set_xlabel("nm")
        colours = np.random.default_rng(0).uniform(0.25, 1, (len(scene.particles) + 1, 3))
        colours[0] = 0.1
        labels.imshow(colours[scene.labels], extent=extent, interpolation="nearest")
        labels.set_title("truth: which particle is on top")
        labels.set_xlabel("nm")
        if len(scene.particles):
            sizes.hist(scene.particles["equivalent_diameter_nm"], bins="auto", color=BARS)
        sizes.set_title("truth: sizes")
        sizes.set_xlabel("equivalent circular diameter (nm)")
        sizes.set_ylabel("particles")
    return Path(path)


@contextmanager
def canvas(size: tuple[float, float], path: str | os.PathLike[str]) -> Iterator[Figure]:
    """Yield a figure of a size in inches to draw on, and save it at `path` when the block ends without an error."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if Path(path).suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"cannot draw into {path}; expected a file name that ends in {', '.join(PICTURE_SUFFIXES)}")
    with rc_context(STYLE), atomic_path(path) as temporary:
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        figure.savefig(temporary, dpi=130)
