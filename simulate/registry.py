"""Named choices (scan schemes, reconstruction and segmentation methods), each with one line of description."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered choice: its name, a one-line summary and the object itself."""

    name: str
    summary: str
    value: T


class Registry(Generic[T]):
    """A dictionary of named choices that suggests the nearest name when one is misspelt.

    Parameters
    ----------
    kind : str
        What the names are, for messages: ``"scan scheme"``.

    Examples
    --------
    >>> solvers = Registry("solver")
    >>> @solvers.register("zero", "always zero")
    ... def zero():
    ...     return 0
    >>> solvers["zero"]()
    0
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def register(self, name: str, summary: str) -> Callable[[T], T]:
        """Decorate an object to make it known as `name`."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")

        def add(value: T) -> T:
            self._entries[name] = Entry(name, summary, value)
            return value

        return add

    def register_each(self, name: str, summary: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function of one thing to make it known as `name`, which takes many, one after another.

        Examples
        --------
        >>> solvers = Registry("solver")
        >>> @solvers.register_each("half", "half of it")
        ... def half(of):
        ...     return of / 2
        >>> solvers["half"]([2, 4]), half(2)
        ([1.0, 2.0], 1.0)
        """

        def add(run: Callable[P, R]) -> Callable[P, R]:
            @functools.wraps(run)
            def each(many: Iterable[Any], /, **options: Any) -> list[R]:
                return [run(one, **options) for one in many]  # pyright: ignore[reportCallIssue]

            self.register(name, summary)(each)  # pyright: ignore[reportArgumentType]
            return run

        return add

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name].value
        except (KeyError, TypeError):
            hint = nearest_name(str(name), self._entries)
            raise InputError(f"unknown {self.kind} {name!r}{hint}; known: {', '.join(self._entries)}") from None

    def check_options(self, name: str, options: Iterable[str]) -> None:
        """Raise `InputError` for an option that the function called `name` does not have.

        Its first parameter is what it works on, and ``device`` is told to all alike: neither is an option.

        Examples
        --------
        >>> solvers = Registry("solver")
        >>> @solvers.register("part", "a part of it")
        ... def part(of, *, parts=2, device="cpu"):
        ...     return of / parts
        >>> solvers.check_options("part", {"pats": 3})
        Traceback (most recent call last):
        simulate.errors.InputError: solver 'part' has no option 'pats' (did you mean 'parts'?); it takes parts
        """
        parameters = inspect.signature(self[name]).parameters  # pyright: ignore[reportArgumentType]
        known = [option for option in list(parameters)[1:] if option != "device"]
        for option in options:
            if option not in known:
                raise InputError(
                    f"{self.kind} {name!r} has no option {option!r}{nearest_name(str(option), known)}; "
                    f"it takes {', '.join(known) if known else 'no options'}"
                )

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self._entries.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The known names, in the order of registration."""
        return tuple(self._entries)
