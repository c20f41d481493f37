"""Methods with their options as one text, ``unrolled-ista:preset=fast``, checked before anything runs."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cs_recon.learned import INPAINTING, UNROLLED, load_network
from segmentation.learned import load_segmenter
from segmentation.mapping import RECONSTRUCT
from segmentation.models.family import ARCHITECTURES
from simulate.errors import InputError, check_kind, nearest_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulate.registry import Registry

Value = str | int | float | bool
_NO_OPTIONS = ("image", "device", "mapping")


@dataclass(frozen=True)
class Method:
    """A registered method, its options, and which weights it runs on.

    Attributes
    ----------
    name : str
        As the registry knows it.
    options : tuple of (str, value)
        In the order of their names.
    weights_sha256 : str
        The beginning of the hash of a network's weights, so that rows of other weights are not taken for this one's;
        empty for what is no network.
    """

    name: str
    options: tuple[tuple[str, Value], ...] = ()
    weights_sha256: str = ""

    @classmethod
    def parse(cls, text: str, registry: Registry[Any]) -> Method:
        """Return the method of ``NAME`` or ``NAME:OPTION=VALUE,OPTION=VALUE``; `InputError` if there is no such one.

        >>> from cs_recon import reconstructors
        >>> Method.parse("unrolled-ista:preset=fast", reconstructors).options
        (('preset', 'fast'),)
        """
        check_kind(text, registry.kind, str)
        name, _, rest = text.partition(":")
        run = registry[name]
        options = dict(_option(part, text) for part in rest.split(",") if part)
        known = known_options(run)
        for option in options:
            if option not in known:
                raise InputError(
                    f"{registry.kind} {name!r} has no option {option!r}{nearest_name(option, known)}; "
                    f"it takes {', '.join(known) if known else 'no options'}"
                )
        return cls(name, tuple(sorted(options.items())))

    @property
    def label(self) -> str:
        """The text it was made from."""
        told = ",".join(f"{name}={value}" for name, value in self.options)
        return f"{self.name}:{told}" if told else self.name

    @property
    def is_network(self) -> bool:
        """Whether it segments by a network, which a mapping leads into."""
        return self.name in ARCHITECTURES


def known_options(run: Callable[..., Any]) -> list[str]:
    """Return the options that a method of either registry takes."""
    parameters = inspect.signature(run).parameters.values()
    return [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in _NO_OPTIONS]


def reconstructor_weights(method: Method) -> str:
    """Return the beginning of the hash of a reconstructor's weights, which are loaded; empty if it is no network."""
    if method.name not in (UNROLLED, INPAINTING):
        return ""
    return str(load_network(method.name, str(dict(method.options).get("weights", ""))).info["weights_sha256"])[:12]


def segmenter_weights(method: Method, mapping: str = RECONSTRUCT, device: str = "cpu") -> tuple[str, bool]:
    """Return the same of a segmenter, and whether its weights bring a reconstructor of their own."""
    if not method.is_network:
        return "", False
    weights = str(dict(method.options).get("weights", ""))
    loaded = load_segmenter(method.name, weights=weights, mapping=mapping, device=device)
    return str(loaded.info["weights_sha256"])[:12], loaded.reconstructor is not None


def _option(part: str, text: str) -> tuple[str, Value]:
    """Read an option: a number, true or false where the value is one, else text."""
    name, equals, value = (piece.strip() for piece in part.partition("="))
    if not (name and equals and value):
        raise InputError(f"method {text!r} has an option {part!r}; expected OPTION=VALUE, e.g. preset=fast")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value
