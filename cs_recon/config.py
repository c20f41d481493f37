"""Configuration files: TOML into dataclasses, refusing what they do not know."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    import os

T = TypeVar("T")


def load_config(path: str | os.PathLike[str], kind: type[T]) -> T:
    """Read a TOML file whose tables and keys are the fields of a (nested) dataclass.

    Raises
    ------
    InputError
        If the file is missing or no TOML, or has a key that the dataclass does not, or a value of the wrong type.
    """
    return from_table(load_table(path), kind, Path(path).name)


def load_table(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file into a dictionary; raise `InputError` if it is missing or no TOML."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the configuration {file} ({error}); expected a TOML file") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{file.name} is nested too deeply; expected tables of values and lists") from None
    except ValueError as error:  # what TOML is not, and whole numbers of thousands of digits
        raise InputError(f"{file.name} is not valid TOML: {error}") from None


def from_table(table: dict[str, Any], kind: type[T], where: str) -> T:
    """Make a dataclass from a dictionary, checking every key and type; `where` names it in messages."""
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]  # pyright: ignore[reportArgumentType]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            hint = nearest_name(key, known)
            raise InputError(f"{where} has an unknown key {key!r}{hint}; known: {', '.join(known)}")
        values[key] = _value(value, hints[key], f"{where}: {key}")
    return kind(**values)


def _value(value: Any, hint: Any, where: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise InputError(f"{where} is {value!r}; expected a table")
        return from_table(value, hint, where)  # pyright: ignore[reportArgumentType]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise InputError(f"{where} is too large; expected a number below {sys.float_info.max:g}")
        return float(value)
    if hint in (int, float, str, bool):
        if type(value) is not hint:
            raise InputError(f"{where} is {value!r}; expected {hint.__name__}")
        return value
    if not isinstance(value, list):
        raise InputError(f"{where} is {value!r}; expected a list")
    kinds = get_args(hint) if get_origin(hint) is tuple else ()
    if not kinds:
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
    if len(kinds) != len(value):
        raise InputError(f"{where} is {value!r}; expected {len(kinds)} values")
    return tuple(_value(item, kind, f"{where}[{k}]") for k, (item, kind) in enumerate(zip(value, kinds, strict=True)))
