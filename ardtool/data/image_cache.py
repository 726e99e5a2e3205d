"""Decoded images in the cache (`cache_file.py`), so that every run after the first starts at once.

One file for each set of images and way to read them: uint8 with shape (N, C, H, W), with the notes of their data set. Arrays above `MAPPED`
bytes are never read as a whole: they stay on disk and are mapped, while they are decoded too, and their checksum is left alone.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cache_file

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Kept", "Room", "key_of", "read", "room"]

VERSION = 1  # of what decoding makes of a file
MAPPED = 2**30  # bytes


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

        kept = Kept(self.images, notes)
        if path is None or self.problem is not None:
            return kept
        try:
            if not isinstance(self.images, np.memmap):
                cache_file.write(path, self.images, VERSION, notes)
                return kept
            self.images.flush()
            assert self.aside is not None, "mapped images have a file"
            cache_file.finish(self.aside, path, VERSION, notes, None)
        except OSError as error:
            self.problem = error
            return kept
        self.aside = None
        return read(path) or kept


def key_of(marks: Iterable[Any], *request: Any) -> str:
    """The name of a cache file, without its ending, for files with these marks read in this way."""
    return cache_file.key_of(marks, VERSION, *request)


def read(path: Path) -> Kept | None:
    """What the cache holds under a path; None where there is nothing, or nothing to be trusted."""
    found = cache_file.read(path, VERSION, "|u1", 4, MAPPED)
    return None if found is None else Kept(found.array, found.notes)


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
    aside = cache_file.new_file(path, size)
    try:
        with open(aside, "rb+") as file:
            cache_file.write_header(file, np.dtype(np.uint8), shape)
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
