"""Images from a folder (searched recursively) or a `.zip` archive, of any sizes and modes, as one uint8 tensor.

Two passes in a thread pool (Pillow decodes outside the interpreter lock). The first reads headers and decides size and channels
for all: one channel where every image is grey, else RGB, or what a model takes. The second decodes, turns by the EXIF orientation,
lays transparent images on white, and resizes with Pillow's Lanczos filter, which smooths before it shrinks. Images of another
aspect are stretched, not cropped. Order is that of the sorted relative paths; of animations and multi-page files the first frame
counts.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

import torch

from ..errors import ConfigError, DataError
from .dataset import DataSet, name_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["EXTENSIONS", "open_images", "parse_size"]

EXTENSIONS = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"})
LONGEST_SIDE = 64  # pixels, for the automatic size
SIZE_RANGE = (8, 1024)  # pixels, for a size that the user names
SIXTEEN_BIT = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})  # Pillow opens some 16-bit files as 32-bit "I"
GREY = SIXTEEN_BIT | {"1", "L"}
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap height and width
LARGEST_FILE = 2**30  # bytes that one file of an archive may unpack to
BLOCK = 64  # images a thread takes at once

Result = TypeVar("Result")


class _Header(NamedTuple):
    """What a header says: pixels as they will be shown, whether there is no colour, whether anything may be transparent."""

    height: int
    width: int
    grey: bool
    transparent: bool


@dataclass(frozen=True)
class _Files:
    """Image files of a folder or an archive: sorted names relative to `path`, and how to open one."""

    path: Path
    names: list[str]
    archive: zipfile.ZipFile | None = None

    def open(self, name: str) -> IO[bytes]:
        if self.archive is None:
            return (self.path / name).open("rb")
        size = self.archive.getinfo(name).file_size
        if size > LARGEST_FILE:
            raise ValueError(f"it unpacks to {size} bytes; expected at most {LARGEST_FILE}")
        return io.BytesIO(self.archive.read(name))


def open_images(path: Path, image_size: str | tuple[int, int] = "auto", channels: int | None = None) -> DataSet:
    """All images below a folder or in a `.zip` archive.

    Arguments:
        path: the folder or archive.
        image_size: "auto" (the commonest size, scaled down until the longer side is at most 64 pixels), "N", "HxW" or (H, W).
        channels: 1 for grey, 3 for RGB, None for grey where all images are.

    Returns:
        uint8 images with shape (N, C, H, W), C = 1 or 3, with `value_range` (0, 1).

    Raises:
        DataError: no images, or one that cannot be decoded.
        ConfigError: `image_size` is no size.
    """
    asked = parse_size(image_size)
    if path.is_dir():
        return _decode_all(_Files(path, _names_in_folder(path)), asked, channels)
    try:
        with zipfile.ZipFile(path) as archive:
            return _decode_all(_Files(path, _select(archive.namelist()), archive), asked, channels)
    except (OSError, zipfile.BadZipFile) as error:
        hint = "Write the archive again, or unpack it into a folder."
        raise DataError(f"{path} is not a readable .zip archive: {error}.", hint) from error


def parse_size(image_size: str | tuple[int, int]) -> tuple[int, int] | None:
    """(H, W) of "N" or "HxW", or None for "auto"; a pair (H, W), which comes from a model, as it is.

    Raises:
        ConfigError: anything else, or a side outside 8 to 1024 pixels.
    """
    if isinstance(image_size, tuple):
        return image_size
    text = str(image_size).strip().lower()
    if text == "auto":
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    sides = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    low, high = SIZE_RANGE
    if not all(low <= side <= high for side in sides):
        raise ConfigError(
            f"The image size '{image_size}' is not usable; expected auto, N or HxW, with sides from {low} to {high} pixels.",
            "For example --image-size 64, or --image-size 48x64 for height 48 and width 64.",
        )
    return sides


def _names_in_folder(folder: Path) -> list[str]:
    """Sorted paths, relative to the folder and with '/', of the image files below it."""
    found = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return _select(path.relative_to(folder).as_posix() for path in found)


def _select(names: Iterable[str]) -> list[str]:
    """The sorted names that end like images and are not hidden (.name, __MACOSX) at any level."""

    def wanted(name: str) -> bool:
        parts = PurePosixPath(name).parts
        return PurePosixPath(name).suffix.lower() in EXTENSIONS and not any(p.startswith(".") or p == "__MACOSX" for p in parts)

    return sorted({name for name in names if wanted(name)})


def _decode_all(files: _Files, asked: tuple[int, int] | None, channels: int | None) -> DataSet:
    """The data set of all files, in the size asked for or, without one, the automatic size."""
    import numpy as np

    if not files.names:
        raise DataError(
            f"{files.path} holds no images; expected files that end in {', '.join(sorted(EXTENSIONS))}.",
            "Name the folder or .zip archive that holds the images.",
        )
    headers = _for_each(files, lambda _, image: _header(image))
    height, width = asked or _automatic_size(headers)
    grey = all(header.grey for header in headers) if channels not in (1, 3) else channels == 1
    images = np.empty((len(headers), height, width) if grey else (len(headers), height, width, 3), dtype=np.uint8)

    def decode(index: int, image: Image.Image) -> None:
        images[index] = np.asarray(_decode(image, height, width, grey))

    _for_each(files, decode)
    channels_first = images[:, None] if grey else images.transpose(0, 3, 1, 2)
    return DataSet(
        name=name_of(files.path),
        values=torch.from_numpy(np.ascontiguousarray(channels_first)),
        value_range=(0.0, 1.0),
        notes=_notes(headers, height, width, grey),
    )


def _for_each(files: _Files, work: Callable[[int, Image.Image], Result]) -> list[Result]:
    """Results of `work(index, opened image)` for all files, in order, from a thread pool.

    Raises:
        DataError: a file cannot be decoded; the first one in order is named.
    """
    from PIL import Image

    def one(index: int) -> Result:
        name = files.names[index]
        try:
            with files.open(name) as stream, Image.open(stream) as image:
                return work(index, image)
        except Image.DecompressionBombError as error:
            raise DataError(f"{files.path}: the image '{name}' is too large: {error}", "Shrink or remove it.") from error
        except Exception as error:  # damaged bytes make decoders raise nearly anything
            raise DataError(f"{files.path}: the image '{name}' cannot be decoded: {error}.", "Mend or remove it.") from error

    def block(start: int) -> list[Result]:
        return [one(index) for index in range(start, min(start + BLOCK, len(files.names)))]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [result for results in pool.map(block, range(0, len(files.names), BLOCK)) for result in results]


def _header(image: Image.Image) -> _Header:
    """What is known of an opened image before it is decoded."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, which have no known range; save such data as .npy")
    width, height = image.size
    if image.format != "PNG" and image.getexif().get(ORIENTATION, 1) >= 5:  # asking a PNG file would decode all of it
        width, height = height, width
    transparent = image.has_transparency_data
    return _Header(height, width, image.mode in GREY and not transparent, transparent)


def _automatic_size(headers: list[_Header]) -> tuple[int, int]:
    """The commonest (H, W), of equally common ones the largest, scaled down until the longer side is at most 64 pixels."""
    counts = Counter((header.height, header.width) for header in headers)
    height, width = max(counts, key=lambda size: (counts[size], size[0] * size[1], size))
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _decode(image: Image.Image, height: int, width: int, grey: bool) -> Image.Image:
    """The image in mode L or RGB, turned upright, laid on white and resized."""
    from PIL import Image, ImageOps

    longer = 2 * max(height, width)
    image.draft(None, (longer, longer))  # lets JPEG skip detail far below the target size; a no-op for everything else
    image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN_BIT:
        image = _eight_bits(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    image = image.convert("L" if grey else "RGB")
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey image in mode L: 0 … 65535 to 0 … 255 (Pillow's own conversion would clip or cut off)."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64).clip(0, 65535)
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def _notes(headers: list[_Header], height: int, width: int, as_grey: bool) -> tuple[str, ...]:
    """What was done to the files, one sentence each; none where they were taken as they are."""
    sizes = Counter((header.height, header.width) for header in headers)
    notes = []
    if set(sizes) != {(height, width)}:
        (common_height, common_width), count = sizes.most_common(1)[0]
        common = f"{common_height}x{common_width} pixels (height x width)"
        found = common if len(sizes) == 1 else f"{len(sizes)} sizes, most often {common}: {count} of {len(headers)},"
        notes.append(f"The images have {found} and are resized to {height}x{width}.")
    transparent = sum(header.transparent for header in headers)
    if transparent:
        notes.append(f"{transparent} of {len(headers)} images have transparency and are laid on white.")
    grey = sum(header.grey for header in headers)
    if as_grey and grey < len(headers):
        notes.append(f"{len(headers) - grey} of {len(headers)} images have colour and are read as grey, as the model takes them.")
    elif not as_grey and grey:
        others = ", as the model takes them" if grey == len(headers) else " like the others"
        notes.append(f"{grey} of {len(headers)} images are grey and are read as RGB{others}.")
    return tuple(notes)
