"""The boundary to files and to other people's readers: every failure is one `InputError` line, no warning leaks."""

from __future__ import annotations

import gc
import logging
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from simulate.atomic import atomic_path
from simulate.errors import InputError, nearest_name

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator

T = TypeVar("T")

_CHATTY = ("rsciio", "tifffile", "PIL")
_LOCK = Lock()
_silence = ExitStack()
_readers = 0


def guarded(what: str, call: Callable[[], T]) -> T:
    """Return ``call()``; whatever a third-party reader raises in it becomes one `InputError`.

    Parameters
    ----------
    what : str
        The format, for the message: ``"TIFF"``.
    call : callable
        Takes nothing. Its own `InputError` passes through; its warnings and log lines are dropped.
    """
    with quiet():
        try:
            return call()
        except InputError:
            raise
        except ImportError as error:
            problem = f"needs the package {error.name or error!s}, which is not installed"
            advice = 'pip install "cs-stem[io]"'
        except MemoryError:
            problem, advice = f"does not fit in memory as {what}", "crop it or split the stack"
        except Exception as error:
            problem = f"cannot be read as {what} ({_one_line(error)})"
            advice = "expected a complete, undamaged file: copy or export it again"
        gc.collect()  # a reader that failed half way closes its file now, where its ResourceWarning is not heard
    raise InputError(f"{problem}; {advice}")


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings and log lines of third-party readers and writers.

    Filters and levels are the process's: where several threads read, the last one to finish restores them.
    """
    global _readers
    with _LOCK:
        _readers += 1
        if _readers == 1:
            _silence.enter_context(_no_log_lines())
            _silence.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _LOCK:
            _readers -= 1
            if _readers == 0:
                _silence.close()


@contextmanager
def _no_log_lines() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def named(name: object) -> Iterator[None]:
    """Put the file's name in front of any `InputError` raised inside."""
    try:
        yield
    except InputError as error:
        message = str(error)
        if message.startswith(f"{name}:"):
            raise
        raise InputError(f"{name}: {message}") from None


def checked_file(path: str | os.PathLike[str], known: Collection[str], folders: Collection[str] = ()) -> Path:
    """Return `path` if it is a non-empty file of a known extension, or raise `InputError`.

    Parameters
    ----------
    path : str or path-like
        The file.
    known : collection of str
        Lower-case extensions with the dot.
    folders : collection of str
        Those of them that may be folders.
    """
    try:
        file = Path(path)
    except TypeError:
        raise InputError(f"is a {type(path).__name__}; expected the path of a file") from None
    try:
        status = file.stat()
    except FileNotFoundError:
        raise InputError(_missing(file)) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be opened ({_one_line(error)}); expected the path of a readable file") from None
    suffix = file.suffix.lower()
    if file.is_dir() and suffix not in folders:
        raise InputError("is a folder; expected a file: give one of the files in it")
    if suffix not in known:
        kind = f"unknown file type {suffix!r}" if suffix else "no file type in the name"
        raise InputError(f"{kind}; expected one of {' '.join(sorted(known))}: convert or rename the file")
    if not file.is_dir() and status.st_size == 0:
        raise InputError("is empty (0 bytes); expected image data: copy or export it again")
    return file


def checked_target(path: str | os.PathLike[str], suffixes: Collection[str]) -> Path:
    """Return the path to write to if it has one of the extensions, or raise `InputError`."""
    try:
        target = Path(path)
    except TypeError:
        raise InputError(f"cannot write to a {type(path).__name__}; expected the path of a file") from None
    if target.suffix.lower() not in suffixes:
        raise InputError(f"{path}: cannot write the file type {target.suffix!r}; expected {' or '.join(suffixes)}")
    return target


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Do as `simulate.atomic.atomic_path`, with one line for whatever else the file system refuses."""
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder; choose a file name")
    try:
        with atomic_path(target) as temporary:
            yield temporary
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}; choose another output folder") from None


def writable_text(text: str) -> str:
    """Return a text as UTF-8 can hold it: a file's name may have bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def _missing(file: Path) -> str:
    if not file.parent.is_dir():
        return f"no such file, and no folder {file.parent} either; expected an existing file: check the path"
    hint = nearest_name(file.name, (entry.name for entry in file.parent.iterdir()))
    return f"no such file{hint}; expected an existing file: check the name"


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).split("\n")
    text = lines[0].strip() or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
