"""Which methods the benchmark runs, and the settings among which an oracle that knows the truth may choose."""

from __future__ import annotations

import inspect
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.bench.peers import installed_peers
from cs_recon.reconstruction import reconstruct, reconstructors
from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cs_recon.reconstruction import Reconstruction
    from simulate.measurement import Measurement

Options = dict[str, Any]

LEARNED = ("unrolled-ista", "unrolled-ista:fast", "inpainting")
"""Methods with trained weights: all others are the classical ones they are judged by."""

SLOW = ("bpfa", "ksvd", "gp", "peer:inpystem-itkrmm")
"""Methods that may be run on fewer frames."""

VARIANTS: dict[str, tuple[str, Options]] = {"unrolled-ista:fast": ("unrolled-ista", {"preset": "fast"})}
"""Rows of the benchmark that are a registered method with other options."""

NOT_COMPARED = ("full-scan",)
"""Registered methods that answer another question than which image a sparse scan gives."""

AUTOMATIC = "automatic"

_SMOOTHINGS_PX = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0)


def _geometric(low: float, high: float, n: int) -> list[float]:
    return [float(value) for value in np.geomspace(low, high, n).round(4)]


def _grid(**values: Iterable[object]) -> list[Options]:
    """Return every combination of the options' values."""
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


SETTINGS: dict[str, list[Options]] = {
    **{name: _grid(smooth_px=_SMOOTHINGS_PX) for name in ("nearest", "linear", "natural")},
    "biharmonic": _grid(smooth_px=(0.0, 1.0, 2.0, 4.0)),
    "fista": _grid(wavelet=("haar", "sym4"), threshold=_geometric(0.05, 20, 8)),
    **{name: _grid(threshold=_geometric(0.05, 20, 8)) for name in ("ista", "admm-wavelet", "iht")},
    "admm-dct": _grid(threshold=_geometric(0.003, 5, 8)),
    "tv": _grid(weight=_geometric(0.003, 2, 8)),
    "cls": _grid(smoothness=_geometric(0.001, 1000, 10)),
    "gp": _grid(kind=("matern12", "matern32", "gaussian"), length_px=(2.0, 5.0, 12.0)),
}
"""Settings that are tried beside the method's own choice, by method. An oracle no user has keeps the best of all.

Methods that are not here have no parameter that a user would turn."""


def bench_methods(chosen: Sequence[str] = ()) -> list[str]:
    """Return the names of the methods to compare: those chosen, or all registered ones, variants and installed peers.

    Raises
    ------
    InputError
        For an unknown name.
    """
    names = [name for name in reconstructors.names if name not in NOT_COMPARED]
    names += [name for name, (method, options) in VARIANTS.items() if _takes(method, options)]
    names += list(installed_peers())
    for name in chosen:
        if name not in names:
            hint = nearest_name(name, names)
            raise InputError(f"unknown method {name!r} of the benchmark{hint}; expected one of {', '.join(names)}")
    return list(dict.fromkeys(chosen)) if chosen else names


def sweep(method: str) -> list[Options]:
    """Return the options of each run of a method: first none (its own choice), then the oracle's."""
    peers = installed_peers()
    extra = peers[method].settings if method in peers else SETTINGS.get(method, [])
    return [{}, *extra]


def setting_name(options: Options) -> str:
    """Return how a setting is called in tables."""
    return " ".join(f"{key}={value}" for key, value in options.items()) or AUTOMATIC


def run_method(scan: Measurement, method: str, options: Options, device: str) -> Reconstruction:
    """Run a registered method, a variant or a peer."""
    peers = installed_peers()
    if method in peers:
        return peers[method].run(scan, **options)
    registered, preset = VARIANTS.get(method, (method, {}))
    return reconstruct(scan, registered, device=device, **preset, **options)


def is_learned(method: str) -> bool:
    """Return whether a method has trained weights."""
    return method in LEARNED


def _takes(method: str, options: Options) -> bool:
    return method in reconstructors.names and set(options) <= set(inspect.signature(reconstructors[method]).parameters)
