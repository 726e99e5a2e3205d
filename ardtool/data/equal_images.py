"""Image files of one known size, from a folder or a `.zip`, decoded in threads into one uint8 array that is made once.

The images of published data sets, of which there are up to a million: size and number are known, anything else is an error. Images of
all sizes are read by `images.py`.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .originals import Original

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

__all__ = ["decode_equal", "image_names"]

ENDINGS = frozenset({".jpg", ".jpeg", ".png"})
LARGEST_FILE = 2**24  # bytes that one file of an archive may unpack to
BLOCK = 64  # images a thread takes at once


def image_names(original: Original, path: Path) -> list[str]:
    """Sorted names, relative to a folder or `.zip` and with '/', of the image files in it.

    Raises:
        DataError: the archive cannot be read.
    """
    if path.is_dir():
        found = [Path(place, name).relative_to(path).as_posix() for place, _, names in os.walk(path) for name in names]
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                found = archive.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise original.damaged(f"{path} is not a readable .zip archive: {str(error).rstrip('.')}") from error
    return sorted(name for name in found if _is_image(PurePosixPath(name)))


def _is_image(path: PurePosixPath) -> bool:
    return path.suffix.lower() in ENDINGS and not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def decode_equal(
    original: Original,
    path: Path,
    names: list[str],
    stored: tuple[int, int],
    size: tuple[int, int],
    change: Callable[[Image.Image], Image.Image] | None = None,
) -> Tensor:
    """The named images in RGB, as uint8 with shape (N, 3, *size).

    Arguments:
        original: what they belong to, for errors.
        path: the folder or `.zip`.
        names: as `image_names` gives them, in the order wanted.
        stored: the size (H, W) that all of them must have.
        size: the size (H, W) that `change` brings them to.
        change: crops or resizes an image; None where `size` is `stored`.

    Raises:
        DataError: an image cannot be decoded, or has another size; the first one in order is named.
    """
    import numpy as np
    import torch
    from PIL import Image

    images = np.empty((len(names), 3, *size), dtype=np.uint8)
    with ExitStack() as opened:
        archive = None if path.is_dir() else opened.enter_context(zipfile.ZipFile(path))

        def one(index: int) -> None:
            try:
                with Image.open(_stream(path, archive, names[index])) as image:
                    if (image.height, image.width) != stored:
                        found = f"{image.height}x{image.width} pixels (height x width)"
                        raise ValueError(f"it has {found}; expected {stored[0]}x{stored[1]}")
                    rgb = image.convert("RGB")
                images[index] = np.asarray(change(rgb) if change else rgb).transpose(2, 0, 1)
            except Exception as error:  # damaged bytes make decoders raise nearly anything
                raise original.damaged(f"{path}: the image '{names[index]}' cannot be used: {str(error).rstrip('.')}") from error

        def block(start: int) -> None:
            for index in range(start, min(start + BLOCK, len(names))):
                one(index)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(block, range(0, len(names), BLOCK)):
                pass
    return torch.from_numpy(images)


def _stream(path: Path, archive: zipfile.ZipFile | None, name: str) -> io.BytesIO:
    """The bytes of one file."""
    if archive is None:
        return io.BytesIO((path / name).read_bytes())
    size = archive.getinfo(name).file_size
    if size > LARGEST_FILE:
        raise ValueError(f"it unpacks to {size:,} bytes; expected at most {LARGEST_FILE:,}")
    return io.BytesIO(archive.read(name))
