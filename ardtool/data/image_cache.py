"""Decoded images on disk, so that every run after the first starts at once.

One file for each set of images and way to read them: a `.npy` array, uint8 with shape (N, C, H, W), and behind it a line of JSON with the
notes and a checksum, which NumPy does not look at. The name is a hash of what tells the images from changed ones. A file is written aside
and renamed, so that two processes may write the same one, and is only believed when its size, version and checksum are right; whatever
else lies there counts as nothing. Arrays above `MAPPED` bytes are never read as a whole: they stay on disk and are mapped, while they are
decoded too, and their checksum is left alone.

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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Kept", "Room", "cache_folder", "key_of", "read", "room"]

VERSION = 1  # of what decoding makes of a file, and of this format
MAPPED = 2**30  # bytes
UNUSED_DAYS, UNFINISHED_DAYS = 60, 2
SPARE = 2**26  # bytes that must stay free beside the new file and as much again


@dataclass(frozen=True)
class Kept:
    """Decoded images, uint8 with shape (N, C, H, W), and the notes of their data set."""

    images: np.ndarray
    notes: tuple[str, ...]


class Room:
    """Where images are decoded to.

    Attributes:
        images: uint8 with shape (N, C, H, W), to be filled.
    """

    def __init__(self, images: np.ndarray, aside: Path | None = None, problem: OSError | None = None) -> None:
        self.images, self.aside, self.problem = images, aside, problem

    def keep(self, path: Path | None, notes: tuple[str, ...]) -> Kept:
        """The filled images, in the cache under this path where that was possible; otherwise `problem` says why not."""
        import numpy as np

        if path is None or self.problem is not None:
            return Kept(self.images, notes)
        try:
            mapped = isinstance(self.images, np.memmap)
            if isinstance(self.images, np.memmap):
                self.images.flush()
                assert self.aside is not None, "mapped images have a file"
            else:
                self.aside = _new_file(path, self.images.nbytes)
            with open(self.aside, "rb+") as file:
                if not mapped:
                    _write_header(file, self.images.shape)
                    file.write(self.images.data)
                file.seek(0, os.SEEK_END)
                file.write(_record(path.stem, notes, None if mapped else zlib.crc32(self.images.data)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(self.aside, path)
        except OSError as error:
            self.problem = error
            return Kept(self.images, notes)
        self.aside = None
        forget_unused(path.parent)
        return (read(path) or Kept(self.images, notes)) if mapped else Kept(self.images, notes)


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
    """The name of a cache file, without its ending, for files with these marks read in this way."""
    digest = hashlib.sha256(json.dumps([VERSION, *request]).encode())
    for mark in marks:
        digest.update(b"\n" + json.dumps(mark).encode())
    return digest.hexdigest()[:40]


def read(path: Path) -> Kept | None:
    """What the cache holds under a path; None where there is nothing, or nothing to be trusted."""
    import numpy as np

    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if fortran or dtype != np.uint8 or len(shape) != 4 or 0 in shape:
                return None
            offset, size = file.tell(), math.prod(shape)
            file.seek(offset + size)
            record = json.loads(file.read())
            if record["version"] != VERSION or record["key"] != path.stem:
                return None
            if size > MAPPED:
                images = np.memmap(file, np.uint8, "r", offset, shape)
            else:
                file.seek(offset)
                images = np.fromfile(file, np.uint8, size).reshape(shape)
                if zlib.crc32(images.data) != record["crc32"]:
                    return None
            notes = tuple(str(note) for note in record["notes"])
    except Exception:  # damaged bytes make readers raise nearly anything; the images are decoded again
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return Kept(images, notes)


@contextmanager
def room(path: Path | None, shape: tuple[int, int, int, int]) -> Iterator[Room]:
    """Room for images with shape (N, C, H, W): in memory, or, above `MAPPED` bytes, in a file beside `path`, gone if it is not kept."""
    import numpy as np

    size = math.prod(shape)
    made = None
    if path is not None and size > MAPPED:
        try:
            made = _mapped_room(path, shape)
        except OSError as error:
            made = Room(np.empty(shape, np.uint8), None, error)
    made = made or Room(np.empty(shape, np.uint8))
    try:
        yield made
    finally:
        if made.aside is not None:
            with contextlib.suppress(OSError):
                made.aside.unlink()


def _mapped_room(path: Path, shape: tuple[int, int, int, int]) -> Room:
    """A file with all its bytes set aside, mapped: writing to it later cannot run out of space."""
    import numpy as np

    size = math.prod(shape)
    aside = _new_file(path, size)
    try:
        with open(aside, "rb+") as file:
            _write_header(file, shape)
            offset = file.tell()
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, offset + size)
            else:
                for start in range(0, size, 2**20):
                    file.write(bytes(min(2**20, size - start)))
            return Room(np.memmap(file, np.uint8, "r+", offset, shape), aside)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _new_file(path: Path, size: int) -> Path:
    """A new empty file beside `path`, with room for so many bytes on the disk and some more for everyone else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(path.parent).free < size + size // 4 + SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    aside = path.parent / f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part"
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return aside


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    import numpy as np

    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)})


def _record(key: str, notes: tuple[str, ...], checksum: int | None) -> bytes:
    return json.dumps({"version": VERSION, "key": key, "crc32": checksum, "notes": notes}).encode() + b"\n"


def forget_unused(folder: Path) -> None:
    """Remove what nobody has used for a long time, and what interrupted processes have left."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            days = UNFINISHED_DAYS if path.suffix == ".part" and path.name.startswith(".") else UNUSED_DAYS
            known = path.suffix in (".part", ".npy") and len(path.name.lstrip(".").partition(".")[0]) == 40
            with contextlib.suppress(OSError):
                if known and time.time() - path.stat().st_mtime > days * 86_400:
                    path.unlink()
