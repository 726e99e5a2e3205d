"""Writing without half-written files: every file is written aside, flushed to the disk, and renamed over the old one."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import StorageError

__all__ = ["finite", "forget_leftovers", "make_folder", "write_atomically", "write_folder", "write_text"]


def write_atomically(path: Path, write: Callable[[Path], None], *, keep: Path | None = None) -> None:
    """Let `write` produce a file beside `path`, then rename it to `path`; on any failure the old file is untouched and the new one gone.

    Arguments:
        keep: where the old file goes, in the same folder; it is replaced where None.

    Raises:
        StorageError: the disk is full or read-only, or the folder cannot be written to.
    """
    path = path.resolve()  # a link stays a link
    if path.exists() and not path.is_file():
        raise StorageError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}.", "Give the path of a file with --out.")
    make_folder(path.parent)
    aside: Path | None = None
    try:
        with _failures_told(path):
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
            os.close(handle)
            aside = Path(name)
            write(aside)
            with open(aside, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(aside, 0o666 & ~_umask())
            if keep is not None and path.exists():
                os.replace(path, keep)
            os.replace(aside, path)
            _flush_folder(path.parent)
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `path`, then rename it to `path`, in place of a folder that is there; on any failure that one stays.

    Raises:
        StorageError: the disk is full or read-only, or the folder cannot be made.
    """
    path = path.resolve()
    make_folder(path.parent)
    aside: Path | None = None
    try:
        with _failures_told(path):
            aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
            os.chmod(aside, 0o777 & ~_umask())
            write(aside)
            if path.is_dir():
                former = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
                os.replace(path, former)  # onto an empty folder
                try:
                    os.replace(aside, path)
                except OSError:
                    os.replace(former, path)
                    raise
                shutil.rmtree(former, ignore_errors=True)
            else:
                os.replace(aside, path)
            _flush_folder(path.parent)
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def forget_leftovers(path: Path) -> None:
    """Remove what writers of `path` that were killed have left beside it; to be called when nobody else is writing it."""
    for aside in path.parent.glob(f".{path.name}.????????{path.suffix}"):  # as mkstemp names them
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text, atomically."""
    write_atomically(path, lambda aside: _write_bytes(aside, text.encode()))


def finite(value: Any) -> Any:
    """The value with every number that JSON cannot hold (NaN, infinities) replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        StorageError: that is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot make the folder {path}: {error.strerror or error}.", "Choose another place with --out.") from error


@contextmanager
def _failures_told(path: Path) -> Iterator[None]:
    """Raise `StorageError` for what keeps `path` from being written."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {error.strerror or error}.", "Free space or choose another place with --out.") from error
    except Exception as error:
        if type(error).__name__ == "SafetensorError":  # the library reports I/O failures as its own kind
            raise StorageError(f"Cannot write {path}: {error}.", "Free space or choose another place with --out.") from error
        raise


def _flush_folder(folder: Path) -> None:
    """Bring the names of a folder to the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
