"""One process at a time trains in a run folder: it holds a lock that the system takes back when the process is gone, however it ended."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import StorageError, TrainingError
from .atomic import make_folder

__all__ = ["held"]

LOCK, HOLDER = "lock", "holder.json"


@contextmanager
def held(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold a folder for this process, as long as the context lasts.

    Arguments:
        folder: is made where it is missing; the lock and the number of the process lie there.
        tell: is told where the file system has no locks.

    Raises:
        TrainingError: another process has it.
        StorageError: the folder cannot be made or written to.
    """
    from filelock import FileLock, Timeout

    make_folder(folder)
    lock = FileLock(str(folder / LOCK), timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"{folder.parent} is being trained by {_holder(folder)}.", "Wait until it is done, stop it, or choose another --out."
        ) from error
    except NotImplementedError:
        tell(f"the file system of {folder} has no locks: nothing keeps a second process out")
    except OSError as error:
        raise StorageError(f"Cannot write to {folder}: {error.strerror or error}.", "Choose another place with --out.") from error
    try:
        with suppress(OSError):
            (folder / HOLDER).write_text(json.dumps({"process": os.getpid(), "machine": platform.node()}))
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    """The process that holds a folder, in words."""
    try:
        holder = json.loads((folder / HOLDER).read_text())
        return f"process {int(holder['process'])} on {str(holder['machine'])[:64]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
