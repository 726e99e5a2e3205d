"""Arrays in the cache on disk, so that what took long once is read the next time.

One `.npy` file each, and behind the array a line of JSON with a version, the file's own name, a checksum and notes, which NumPy does not
look at. The name is a hash of what the array was made from. A file is written aside and renamed, so that two processes may write the same
one, and is only believed when its size, version and checksum are right; whatever else lies there counts as nothing.

The cache is $ARDTOOL_CACHE, "off" for none, else a folder where the system keeps caches. What was not used for 60 days goes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import sys
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

__all__ = ["Cached", "cache_folder", "finish", "key_of", "new_file", "read", "write", "write_header"]

UNUSED_DAYS, UNFINISHED_DAYS = 60, 2
SPARE = 2**26  # bytes that must stay free beside the new file and as much again


@dataclass(frozen=True)
class Cached:
    """An array out of the cache, in memory or mapped from its file, and the notes that were kept with it."""

    array: np.ndarray
    notes: tuple[str, ...]


def cache_folder() -> Path | None:
    """$ARDTOOL_CACHE, else where the system keeps caches; None for "off" and where there is no home folder."""
    named = os.environ.get("ARDTOOL_CACHE", "")
    if named.lower() == "off":
        return None
    try:
        if named:
            return Path(named).expanduser()
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return base / "ardtool" / "data"


def key_of(marks: Iterable[Any], *request: Any) -> str:
    """The name of a cache file, without its ending, for what these marks tell apart, made in this way."""
    digest = hashlib.sha256(json.dumps(request).encode())
    for mark in marks:
        digest.update(b"\n" + json.dumps(mark).encode())
    return digest.hexdigest()[:40]


def read(path: Path, version: int, dtype: DTypeLike, dimensions: int, mapped: int | None = None) -> Cached | None:
    """What the cache holds under a path; None where there is nothing, or nothing to be trusted.

    Arguments:
        version: what the file must have been written as, of this type and with so many dimensions.
        mapped: arrays above so many bytes stay on disk, their checksum unseen; None to read all into memory.
    """
    import numpy as np

    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            shape, fortran, found = np.lib.format.read_array_header_1_0(file)
            if fortran or found != np.dtype(dtype) or len(shape) != dimensions or 0 in shape:
                return None
            offset, size = file.tell(), math.prod(shape)
            file.seek(offset + size * found.itemsize)
            record = json.loads(file.read())
            if record["version"] != version or record["key"] != path.stem:
                return None
            if mapped is not None and size * found.itemsize > mapped:
                array = np.memmap(file, found, "r", offset, shape)
            else:
                file.seek(offset)
                array = np.fromfile(file, found, size).reshape(shape)
                if zlib.crc32(array.data) != record["crc32"]:
                    return None
            notes = tuple(str(note) for note in record["notes"])
    except Exception:  # damaged bytes make readers raise nearly anything; the array is made again
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return Cached(array, notes)


def write(path: Path, array: np.ndarray, version: int, notes: tuple[str, ...] = ()) -> None:
    """Put a contiguous array into the cache.

    Raises:
        OSError: that is not possible; nothing is left behind.
    """
    aside = new_file(path, array.nbytes)
    try:
        with open(aside, "rb+") as file:
            write_header(file, array.dtype, array.shape)
            file.write(array.data)
        finish(aside, path, version, notes, zlib.crc32(array.data))
    finally:
        aside.unlink(missing_ok=True)


def new_file(path: Path, size: int) -> Path:
    """A new empty file beside `path`, with room for so many bytes on the disk and some more for everyone else.

    Raises:
        OSError: there is no such room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(path.parent).free < size + size // 4 + SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    aside = path.parent / f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part"
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return aside


def write_header(file: Any, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Write what stands before an array of C order in a `.npy` file."""
    import numpy as np

    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


def finish(aside: Path, path: Path, version: int, notes: tuple[str, ...], checksum: int | None) -> None:
    """Add the line of JSON to a file that holds an array, and rename it to `path`."""
    record = {"version": version, "key": path.stem, "crc32": checksum, "notes": notes}
    with open(aside, "rb+") as file:
        file.seek(0, os.SEEK_END)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    _forget_unused(path.parent)


def _forget_unused(folder: Path) -> None:
    """Remove what nobody has used for a long time, and what interrupted processes have left."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            days = UNFINISHED_DAYS if path.suffix == ".part" and path.name.startswith(".") else UNUSED_DAYS
            known = path.suffix in (".part", ".npy") and len(path.name.lstrip(".").partition(".")[0]) == 40
            with contextlib.suppress(OSError):
                if known and time.time() - path.stat().st_mtime > days * 86_400:
                    path.unlink()
