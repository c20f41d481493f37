"""Where a result came from: versions, platform, time and command line, as JSON beside it."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import sys
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from cs_recon.io.boundary import checked_target, writable_text, writing
from simulate.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_PACKAGES = (
    "cs-stem",
    "numpy",
    "scipy",
    "numba",
    "torch",
    "torchvision",
    "scikit-image",
    "pandas",
    "PyWavelets",
    "pillow",
    "tifffile",
    "rosettasciio",
)


def provenance(**fields: object) -> dict[str, Any]:
    """Collect what a result depends on, plus any fields of your own.

    Returns
    -------
    dict
        ``time_utc`` (ISO 8601), ``command`` (the command-line arguments), ``python``, ``platform``, ``versions`` (of
        the packages; None for one that is not installed) and the given fields.

    Raises
    ------
    InputError
        If a field has the name of one of these.

    Examples
    --------
    >>> record = provenance(method="linear", ratio=0.1)
    >>> record["method"], "numpy" in record["versions"]
    ('linear', True)
    """
    record: dict[str, Any] = {
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }
    taken = sorted(set(record) & set(fields))
    if taken:
        raise InputError(f"provenance has a field {taken[0]!r} of its own; expected another name for yours")
    return record | fields


def write_provenance(path: str | os.PathLike[str], record: Mapping[str, object]) -> None:
    """Write a record as JSON.

    NumPy numbers and arrays, dataclasses, paths and dates are converted; numbers that JSON does not have become the
    words "nan", "inf" and "-inf".

    Parameters
    ----------
    path : str or path-like
        Ends in .json.
    record : mapping
        What `provenance` returns, or any mapping with string keys.

    Raises
    ------
    InputError
        If a value has a type that is not known here, or the file cannot be written.
    """
    target = checked_target(path, (".json",))
    text = json.dumps(_plain(record, "record"), indent=2, ensure_ascii=False, allow_nan=False)
    with writing(target) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _plain(value: object, where: str) -> Any:
    """Return `value` in the types that JSON knows; `where` names it in the error."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        return writable_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: _plain(getattr(value, item.name), f"{where}.{item.name}") for item in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {_plain(str(key), where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, f"{where}[{k}]") for k, item in enumerate(value)]
    raise InputError(
        f"{where} is a {type(value).__name__}; expected numbers, text, lists, mappings, dataclasses, paths or arrays"
    )
