"""The registry of scan schemes, and `scan_path`, which makes a scan of any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from simulate.errors import InputError, check_numbers, check_ratio, check_rng, check_shape
from simulate.hardware import ScanHardware
from simulate.registry import Registry
from simulate.scan import ScanPath

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Positions = tuple[NDArray[np.int64], NDArray[np.int64]]
Prior = NDArray[np.float64] | None
Make = Callable[[tuple[int, int], float, np.random.Generator, Prior], Positions]


@dataclass(frozen=True)
class Scheme:
    """A scan scheme: how it makes its positions, and what it promises about them.

    Parameters
    ----------
    make : callable
        ``make(shape, ratio, rng, prior) -> (rows, cols)``: the positions in visiting order, int64, of a checked frame
        shape and a checked ratio in (0, 1]. `prior` is an (H, W) float64 array if the scheme needs one, else None.
    granularity : {"pixel", "line", "chance"}
        How near the realised ratio is to the asked one: within half a pixel, within half a line of the frame, or as
        near as independent draws come. A scheme of lines has no ratio below half a line.
    revisits : bool
        Whether a pixel may be visited more than once.
    random : bool
        Whether the scan depends on `rng`.
    needs_prior : bool
        Whether it needs a weight image.

    Examples
    --------
    >>> schemes["raster"].granularity, schemes["lissajous"].revisits, schemes["sobol"].random
    ('line', True, True)
    """

    make: Make
    granularity: Literal["pixel", "line", "chance"] = "pixel"
    revisits: bool = False
    random: bool = True
    needs_prior: bool = False


schemes: Registry[Scheme] = Registry("scan scheme")


def scheme(
    name: str,
    summary: str,
    *,
    granularity: Literal["pixel", "line", "chance"] = "pixel",
    revisits: bool = False,
    random: bool = True,
    needs_prior: bool = False,
) -> Callable[[Make], Make]:
    """Decorate a function to register it as a scan scheme with the given facts (see `Scheme`)."""

    def add(make: Make) -> Make:
        schemes.register(name, summary)(Scheme(make, granularity, revisits, random, needs_prior))
        return make

    return add


def scan_path(
    scheme: str,
    shape: tuple[int, int],
    ratio: float = 1.0,
    *,
    rng: np.random.Generator | int | None = None,
    dwell_us: float = 10.0,
    hardware: ScanHardware | None = None,
    prior: ArrayLike | None = None,
) -> ScanPath:
    """Make a scan of the named scheme.

    Parameters
    ----------
    scheme : str
        A name from `schemes.names`, e.g. ``"random"``.
    shape : (int, int)
        Frame shape (rows, columns), each at least 8.
    ratio : float
        Share of the pixels to visit, in (0, 1]. The realised ratio (`ScanPath.ratio`) is the nearest that the scheme
        can give: within one pixel for most, within one line for the line schemes (see `Scheme.granularity`).
    rng : numpy.random.Generator or int, optional
        Source of randomness, or a seed for one. The same seed gives the same scan.
    dwell_us : float
        Dwell time at each position in µs.
    hardware : ScanHardware, optional
        What moves the beam: settling, fly-back, lag (default: `ScanHardware()`).
    prior : array_like, shape (H, W), optional
        Weight of each pixel, finite and at least 0, for the schemes that need one (``"variable-density"``).

    Returns
    -------
    ScanPath

    Raises
    ------
    InputError
        For an unknown scheme, a ratio outside (0, 1] or that the scheme cannot reach, and a prior that is missing,
        unwanted or unusable.

    Examples
    --------
    >>> scan_path("random", (64, 64), 0.1, rng=0).n_positions
    410
    >>> scan_path("variable-density", (64, 64), 0.1, rng=0, prior=np.eye(64) + 0.1).n_positions
    410
    """
    chosen = schemes[scheme]
    frame = check_shape(shape, "scan")
    seed = int(rng) if isinstance(rng, int | np.integer) else None
    weights = _check_prior(prior, frame, scheme, chosen.needs_prior)
    positions = chosen.make(frame, check_ratio(ratio), check_rng(rng), weights)
    return ScanPath(
        *positions, shape=frame, dwell_us=dwell_us, scheme=scheme, seed=seed, hardware=hardware or ScanHardware()
    )


def _check_prior(prior: ArrayLike | None, shape: tuple[int, int], name: str, needed: bool) -> Prior:
    if prior is None and not needed:
        return None
    if prior is None:
        raise InputError(f"scheme {name!r} needs a prior; expected a weight image of shape {shape}, e.g. prior=weights")
    if not needed:
        takers = ", ".join(entry.name for entry in schemes if entry.value.needs_prior)
        raise InputError(
            f"scheme {name!r} takes no prior but got one; leave it out, or take a scheme with one: {takers}"
        )
    array = check_numbers(prior, "prior")
    if array.shape != shape:
        raise InputError(f"prior has shape {array.shape}; expected weights of the frame's shape {shape}")
    weights = array.astype(np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise InputError(
            f"prior runs from {weights.min():g} to {weights.max():g}; expected finite weights of at least 0"
        )
    return weights
