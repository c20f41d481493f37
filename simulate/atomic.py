"""Write a file whole or not at all, and a folder of results from one run at a time."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from simulate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the place of `path` when the block ends without an error.

    The temporary name keeps the suffix, because writers choose the format by it. After an error the temporary
    file is removed and an older file at `path` is untouched.

    Raises
    ------
    InputError
        If the folder cannot be made or written.

    Examples
    --------
    >>> with atomic_path("sizes.csv") as temporary:  # doctest: +SKIP
    ...     temporary.write_text("label,area_nm2")
    """
    target = Path(path)
    make_folder(target.parent)
    # Absolute, since some writers take a relative name like "s3:scans" for an address.
    temporary = target.absolute().with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    except PermissionError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; choose another output folder") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def output_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a folder as `make_folder` makes it; if the block fails before anything is in it, it goes again.

    Examples
    --------
    >>> with output_folder("results") as folder:  # doctest: +SKIP
    ...     (folder / "sizes.csv").write_text("label,area_nm2")
    """
    new = not os.path.lexists(path)
    folder = make_folder(path)
    try:
        yield folder
    except BaseException:
        if new:
            with suppress(OSError):  # it is not empty, or gone already
                folder.rmdir()
        raise


@contextmanager
def sole_writer(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a folder and hold it for this run while the block lasts; yield it.

    Long work that goes on where it stopped would be done twice, over one another's files, if the same command were
    started again before the first one ends. A run that is killed holds nothing.

    Raises
    ------
    InputError
        If another run holds the folder, or it cannot be made or written.

    Examples
    --------
    >>> with sole_writer("study") as folder:  # doctest: +SKIP
    ...     (folder / "rows.parquet").write_bytes(rows)
    """
    held = make_folder(folder)
    lock = FileLock(held / ".in-use", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another run is writing into {held}; wait until it has ended, or choose another output folder"
        ) from None
    try:
        yield held
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            Path(lock.lock_file).unlink()
        lock.release()


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and its parents and check that it can be written; raise `InputError` if not."""
    folder = Path(path)
    try:
        str(folder).encode()
        folder.mkdir(parents=True, exist_ok=True)
    except ValueError:  # undecodable bytes, or a NUL
        raise InputError(f"the output folder {str(folder)!r} is no readable name; choose another one") from None
    except OSError as error:
        raise InputError(f"cannot make the output folder {folder}: {error.strerror}; choose another one") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write into the folder {folder}; choose another one or change its permissions")
    return folder
