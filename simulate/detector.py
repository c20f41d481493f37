"""From a clean frame to detected counts along a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulate.errors import InputError, PixelSize, check_positive, check_rng, check_shape
from simulate.measurement import Measurement

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from simulate.scan import ScanPath

LARGEST_COUNTS = 1e15
"""Beyond it counting noise is below what a double can show."""


def measure(
    frame: ArrayLike | Measurement,
    path: ScanPath,
    *,
    peak_counts: float | None = None,
    read_noise_counts: float = 0.0,
    rng: np.random.Generator | int | None = None,
    pixel_size_nm: PixelSize | None = None,
    name: str | None = None,
) -> Measurement:
    r"""Scan a frame along a path, with the detector's noise.

    At each visit a pixel of intensity :math:`f` gives

    .. math:: n \sim \mathrm{Poisson}\left(p \frac{f - b}{f_\max - b}\right) + \mathcal{N}(0, r^2)

    counts, with the peak counts :math:`p` and the read noise :math:`r`; visits of one pixel are averaged. The counts
    are scaled back, so that the values stay in the units of the frame. The black level :math:`b` is zero, or the
    frame's minimum where that is negative.

    Parameters
    ----------
    frame : array_like, shape (H, W), or Measurement
        The intensity to scan, any unit, finite wherever the path goes. A fully scanned measurement (as a reader gives)
        brings its pixel size and name along.
    path : ScanPath
        Where to scan; its shape must be the frame's.
    peak_counts : float, optional
        Mean detected electrons per visit where the frame is brightest. None adds no noise: the right choice for a
        recorded frame that has its own.
    read_noise_counts : float
        Standard deviation of the additive noise per visit, in counts. Needs `peak_counts`.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, carried along.
    name : str, optional
        Name of the measurement, carried along.

    Returns
    -------
    Measurement
        With `counts_per_unit` and `read_noise` set where `peak_counts` is given.

    Raises
    ------
    InputError
        If the shapes differ, the scanned values are not finite or all equal, or the counts are not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import scan_path
    >>> frame = np.add.outer(np.arange(32.0), np.arange(32.0))
    >>> scan = measure(frame, scan_path("random", (32, 32), 0.25, rng=0), peak_counts=50, rng=0)
    >>> round(scan.ratio, 3), round(scan.counts_per_unit, 3)
    (0.25, 0.806)
    """
    if isinstance(frame, Measurement):
        if not frame.mask.all():
            raise InputError(
                f"the frame is itself a sparse scan ({frame.ratio:.3g} of its pixels); "
                "expected a full frame to sub-sample"
            )
        pixel_size_nm = frame.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
        name = frame.name if name is None else name
        clean = frame.values
    else:
        clean = np.asarray(frame)
    check_shape(clean.shape)
    if clean.shape != path.shape:
        raise InputError(
            f"the scan is for a frame of {path.shape} but the frame has shape {clean.shape}; make them equal"
        )
    visits = path.visits
    exposure = visits if visits.max() > 1 else None
    mask = visits > 0
    carried = {"pixel_size_nm": pixel_size_nm, "path": path, "name": name or "scan", "exposure": exposure}
    if peak_counts is None:
        if read_noise_counts:
            raise InputError("read_noise_counts needs peak_counts; give both or neither")
        return Measurement(clean, mask, **carried)
    peak_counts = check_positive(peak_counts, "peak counts", "give the counts of the brightest pixel, e.g. 50")
    if peak_counts > LARGEST_COUNTS:
        raise InputError(
            f"peak counts are {peak_counts:g}; expected at most {LARGEST_COUNTS:g}: leave them out for no noise"
        )
    # The checks of Measurement come before the noise, so that NaN or a blank frame is named as such.
    samples = Measurement(clean, mask).samples
    everywhere = clean[np.isfinite(clean)].astype(np.float64)
    black, peak = min(0.0, float(everywhere.min())), float(everywhere.max())
    if peak <= black:
        raise InputError(f"the frame's maximum is {peak:g}; expected positive intensities to count electrons from")
    generator = check_rng(rng)
    counts_per_unit = peak_counts / (peak - black)
    n_visits = visits[mask]
    counts = generator.poisson((samples - black) * counts_per_unit * n_visits).astype(np.float64)
    if read_noise_counts:
        read_noise_counts = check_positive(read_noise_counts, "read noise", "give it in counts")
        counts += generator.normal(0, read_noise_counts, counts.shape) * np.sqrt(n_visits)
    return Measurement(
        counts / n_visits / counts_per_unit + black,
        mask,
        counts_per_unit=counts_per_unit,
        black_level=black,
        read_noise=read_noise_counts / counts_per_unit,
        **carried,
    )
