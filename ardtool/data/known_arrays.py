"""Arrays of a published `.npz` file, whose type and shape are known: both are checked before anything is unpacked."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .originals import Original

if TYPE_CHECKING:
    import numpy as np

__all__ = ["UNREADABLE", "known_array", "known_bytes"]

UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What a damaged archive makes its readers raise; of the RuntimeErrors, that it is encrypted or packed in an unknown way."""


@contextmanager
def known_bytes(
    original: Original, path: Path, archive: zipfile.ZipFile, key: str, shape: tuple[int, ...], kind: str
) -> Iterator[IO[bytes]]:
    """The bytes of an array, row by row, from its beginning; to be read to the end, where their checksum is looked at.

    Raises:
        DataError: there is no array of that name, type and shape, or more follows it.
        UNREADABLE: the bytes are damaged.
    """
    from numpy.lib import format as npy

    if f"{key}.npy" not in archive.namelist():
        found = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "none"
        raise original.damaged(f"{path} has no array '{key}'; found {found}")
    with archive.open(f"{key}.npy") as stream:
        read_header = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
        found, by_columns, dtype = read_header(stream)
        if found != shape or dtype.name != kind or by_columns:
            order = ", by columns" if by_columns else ""
            raise original.damaged(f"{path}: '{key}' is {dtype} with shape {found}{order}; expected {kind} with shape {shape}")
        yield stream
        if stream.read(1):
            raise original.damaged(f"{path}: '{key}' is longer than it says")


def known_array(original: Original, path: Path, archive: zipfile.ZipFile, key: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """An array as a whole; see `known_bytes` for what is raised."""
    import numpy as np

    size = math.prod(shape) * np.dtype(kind).itemsize
    with known_bytes(original, path, archive, key, shape, kind) as stream:
        content = stream.read(size)
    if len(content) != size:
        raise original.damaged(f"{path} is truncated: '{key}' ends too early")
    return np.frombuffer(content, dtype=kind).reshape(shape)
