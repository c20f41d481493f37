"""From a clean frame to detected counts along a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulate.distortions import Distortion, displaced, flicker
from simulate.errors import InputError, PixelSize, check_kind, check_numbers, check_positive, check_rng, check_shape
from simulate.measurement import Measurement
from simulate.readout import MOST_ELECTRONS, Detector
from simulate.scan import ScanPath

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def measure(
    frame: ArrayLike | Measurement,
    path: ScanPath,
    *,
    peak_counts: float | None = None,
    read_noise_counts: float = 0.0,
    beam_current_pA: float | None = None,
    detector: Detector | None = None,
    distortion: Distortion | None = None,
    rng: np.random.Generator | int | None = None,
    pixel_size_nm: PixelSize | None = None,
    name: str | None = None,
) -> Measurement:
    r"""Scan a frame along a path, with the detector's noise.

    There are two ways to say how many electrons are detected. By `peak_counts`: a visit of the dwell time :math:`T` to
    a pixel of intensity :math:`f` gives

    .. math:: n \sim \mathrm{Poisson}\left(w p \frac{f - b}{f_\max - b}\right) + \mathcal{N}(0, w r^2)

    counts, with the peak counts :math:`p`, the read noise :math:`r` and the relative dwell time
    :math:`w = T / \bar T`, where :math:`\bar T` is the path's mean dwell time. The counts are scaled back, so that the
    values stay in the units of the frame. The black level :math:`b` is that of a measurement that has one, else zero,
    or the frame's minimum where that is negative; no pixel gives fewer than 0 electrons.

    By `beam_current_pA` and `detector`: the frame is the share of the beam that reaches the detector, the electrons
    follow from the current and the dwell times as `Detector` says, and the values are in the detector's units.

    Visits :math:`k` of one pixel are averaged with their dwell times as weights: in either case its value is
    :math:`b + \sum_k (u_k - b) / \sum_k w_k`, with :math:`\sum_k w_k` as its exposure.

    Parameters
    ----------
    frame : array_like, shape (H, W), or Measurement
        The intensity to scan, any unit (a share from 0 to 1 with `beam_current_pA`), finite wherever the path goes. A
        fully scanned measurement (as a reader gives) brings its pixel size and name along, and its black level: the
        values are counted from there; its noise too, where no other is added.
    path : ScanPath
        Where to scan; its shape must be the frame's.
    peak_counts : float, optional
        Mean detected electrons where the frame is brightest, in a visit of the path's mean dwell time. Without it and
        without `beam_current_pA` no noise is added: the right choice for a recorded frame that has its own.
    read_noise_counts : float
        Standard deviation of the additive noise in a visit of the mean dwell time, in counts. Needs `peak_counts`.
    beam_current_pA : float, optional
        Beam current in pA, instead of `peak_counts`.
    detector : Detector, optional
        The detector that counts the beam's electrons (default: an ideal counter, `Detector()`). Needs
        `beam_current_pA`.
    distortion : Distortion, optional
        Reads the frame where the beam meets the specimen (`displaced`), interpolated linearly, and records it at the
        pixel it was sent to; ``Distortion()`` for the hardware's lag and hysteresis alone. Beyond the frame's edge the
        edge pixel goes on; the pixels beside the beam must be finite too. None reads at the pixels as sent.
    rng : numpy.random.Generator or int, optional
        Source of randomness or a seed.
    pixel_size_nm : float or (float, float), optional
        Pixel size in nm, carried along.
    name : str, optional
        Name of the measurement, carried along.

    Returns
    -------
    Measurement
        With `counts_per_unit` and `read_noise` set where the counts are known, and `exposure` where it is not 1
        everywhere. Where no noise is added these are those of a given measurement, since a value that is read twice is
        no surer. Saturation and the smoothing by an afterglow are not in its noise model.

    Raises
    ------
    InputError
        If the shapes differ, the scanned values are not finite or all equal, the counts are not positive, or options
        of the two ways are mixed.

    Examples
    --------
    >>> import numpy as np
    >>> from simulate import scan_path
    >>> frame = np.add.outer(np.arange(32.0), np.arange(32.0))
    >>> scan = measure(frame, scan_path("random", (32, 32), 0.25, rng=0), peak_counts=50, rng=0)
    >>> round(scan.ratio, 3), round(scan.counts_per_unit, 3)
    (0.25, 0.806)
    """
    check_kind(path, "the scan", ScanPath)
    if detector is not None:
        check_kind(detector, "the detector", Detector)
    if distortion is not None:
        check_kind(distortion, "the distortion", Distortion)
    own: dict[str, Any] = {}
    if isinstance(frame, Measurement):
        if not frame.mask.all():
            raise InputError(
                f"the frame is itself a sparse scan ({frame.ratio:.3g} of its pixels); "
                "expected a full frame to sub-sample"
            )
        pixel_size_nm = frame.pixel_size_nm if pixel_size_nm is None else pixel_size_nm
        name = frame.name if name is None else name
        clean = frame.values
        kept = ("counts_per_unit", "black_level", "read_noise", "exposure", "noise_is_estimated")
        own = {key: getattr(frame, key) for key in kept}
    else:
        clean = check_numbers(frame, "the frame")
    check_shape(clean.shape)
    if clean.shape != path.shape:
        raise InputError(
            f"the scan is for a frame of {path.shape} but the frame has shape {clean.shape}; make them equal"
        )
    if peak_counts is None and read_noise_counts:
        raise InputError("read_noise_counts needs peak_counts; give both or neither")
    if peak_counts is not None and beam_current_pA is not None:
        raise InputError("peak_counts and beam_current_pA both say how many electrons are counted; give one of them")
    if detector is not None and beam_current_pA is None:
        raise InputError("a detector needs beam_current_pA to count electrons from; give both or neither")
    exposure = _exposure(path)
    mask = exposure > 0
    generator = check_rng(rng)
    carried: dict[str, Any] = {"pixel_size_nm": pixel_size_nm, "path": path, "name": name or "scan"}
    everywhere = clean[np.isfinite(clean)].astype(np.float64)
    lowest, peak = (float(everywhere.min()), float(everywhere.max())) if everywhere.size else (0.0, 0.0)
    black = own.get("black_level", 0.0) or min(0.0, lowest)
    relative = {"exposure": exposure} if (exposure[mask] != 1).any() else {}

    if beam_current_pA is not None:
        detector = detector or Detector()
        if lowest < 0 or peak > 1:
            raise InputError(
                f"the frame runs from {lowest:g} to {peak:g}; expected the share of the beam that reaches "
                "the detector, 0 to 1: scale it, or give peak_counts instead of beam_current_pA"
            )
        seen = np.maximum(_finite(_seen(clean, path, distortion, generator, 0.0)), 0)
        output = detector.read(seen, path, beam_current_pA, generator)
        return Measurement(
            detector.offset + _pixel_sums(output - detector.offset, path)[mask] / exposure[mask],
            mask,
            counts_per_unit=1 / detector.gain,
            black_level=detector.offset,
            read_noise=detector.read_noise,
            **relative,
            **carried,
        )

    if distortion is None:
        samples = Measurement(clean, mask, path=path).samples
    else:
        weighted = _seen(clean, path, distortion, generator, black) * (path.dwells_us / path.dwells_us.mean())
        samples = Measurement(_pixel_sums(weighted, path)[mask] / exposure[mask], mask, path=path).samples
    if peak_counts is None:
        if own.get("exposure") is not None:
            own["exposure"] = own["exposure"] * mask
        return Measurement(samples, mask, **own, **carried)
    peak_counts = check_positive(peak_counts, "peak counts", "give the counts of the brightest pixel, e.g. 50")
    if peak_counts > MOST_ELECTRONS:
        raise InputError(
            f"peak counts are {peak_counts:g}; expected at most {MOST_ELECTRONS:g}: leave them out for no noise"
        )
    if peak <= black:
        raise InputError(
            f"the frame's maximum is {peak:g}; expected intensities above {black:g} to count electrons from"
        )
    counts_per_unit = peak_counts / (peak - black)
    weights = exposure[mask]
    if peak_counts * weights.max() > MOST_ELECTRONS:
        raise InputError(
            f"a pixel counts {peak_counts * weights.max():g} electrons in all its visits; expected at most "
            f"{MOST_ELECTRONS:g}: leave peak counts out for no noise"
        )
    counts = generator.poisson(np.maximum(samples - black, 0) * counts_per_unit * weights).astype(np.float64)
    if read_noise_counts:
        read_noise_counts = check_positive(read_noise_counts, "read noise", "give it in counts")
        counts += generator.normal(0, read_noise_counts, counts.shape) * np.sqrt(weights)
    return Measurement(
        counts / weights / counts_per_unit + black,
        mask,
        counts_per_unit=counts_per_unit,
        black_level=black,
        read_noise=read_noise_counts / counts_per_unit,
        **relative,
        **carried,
    )


def _exposure(path: ScanPath) -> NDArray[Any]:
    """Return each pixel's dwell time over the path's mean dwell time; the number of visits where all are equal."""
    dwells = path.dwells_us
    return path.visits if dwells.min() == dwells.max() else path.dwell_map_us / dwells.mean()


def _seen(
    clean: NDArray[Any], path: ScanPath, distortion: Distortion | None, rng: np.random.Generator, black: float
) -> NDArray[np.float64]:
    """Return the intensity where the beam is at each visit, shape (N,)."""
    if distortion is None:
        return clean[path.rows, path.cols].astype(np.float64)
    from scipy.ndimage import map_coordinates

    seen = map_coordinates(clean.astype(np.float64), displaced(path, distortion, rng=rng), order=1, mode="nearest")
    return black + (seen - black) * flicker(path, distortion, rng=rng)


def _finite(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    bad = int(np.count_nonzero(~np.isfinite(seen)))
    if bad:
        raise InputError(f"{bad} of {seen.size} scanned values are NaN or infinite; expected finite numbers")
    return seen


def _pixel_sums(values: NDArray[np.float64], path: ScanPath) -> NDArray[np.float64]:
    """Return the sum of the visits' values for each pixel, shape (H, W)."""
    total = np.bincount(path.flat, values, minlength=path.shape[0] * path.shape[1])
    return total.astype(np.float64, copy=False).reshape(path.shape)
