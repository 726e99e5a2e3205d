"""Images from a folder (searched recursively), a `.zip` or a `.tar` archive, of any sizes and modes, as one uint8 tensor.

Two passes in a thread pool (Pillow decodes outside the interpreter lock). The first reads headers and decides size and channels
for all: one channel where every image is grey, else RGB, or what a model takes. The second decodes, turns by the EXIF orientation,
lays transparent images on white, and resizes with Pillow's Lanczos filter, which smooths before it shrinks. Images of another
aspect are stretched, not cropped. Order is that of the sorted relative paths; of animations and multi-page files the first frame
counts. Decoded images are kept for the next run (`image_cache.py`).
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from ..errors import ConfigError, DataError, reason_of
from . import image_cache
from .cache_file import cache_folder
from .dataset import DataSet, name_of
from .image_cache import Kept
from .image_decoding import Header, decoded, header_of
from .image_files import EXTENSIONS, Block, ImageFiles, Opener, open_files

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

__all__ = ["open_images", "parse_size"]

LONGEST_SIDE = 64  # pixels, for the automatic size
SIZE_RANGE = (8, 1024)  # pixels, for a size that the user names
NAMED = 3  # images that are left out and named in a note
LEFT_OUT = re.compile(r"[\d,]+ of [\d,]+ images? (is|are) left out: ")  # how that note begins
ARRAY_ENDINGS = (".npy", ".npz", ".csv", ".zip", ".tar")

Result = TypeVar("Result")
Size = tuple[int, int]


@dataclass(frozen=True)
class _Request:
    """How files are to be read: see `open_images`."""

    size: Size | None
    channels: int | None
    skip_bad: bool
    tell: Callable[[str], None]


def open_images(
    path: Path,
    image_size: str | Size = "auto",
    channels: int | None = None,
    *,
    cache: bool = True,
    skip_bad: bool = False,
    tell: Callable[[str], None] | None = None,
) -> DataSet:
    """All images below a folder, or in a `.zip`, `.tar`, `.tar.gz`, `.tgz`, `.tar.bz2` or `.tar.xz` archive.

    Arguments:
        path: the folder or archive.
        image_size: "auto" (the commonest size, scaled down until the longer side is at most 64 pixels), "N", "HxW" or (H, W).
        channels: 1 for grey, 3 for RGB, None for grey where all images are.
        cache: keep the decoded images for the next time, and read them from there; see `image_cache.py`.
        skip_bad: leave out images that cannot be decoded, with a note that counts them.
        tell: is told that decoding begins, and why its result could not be kept.

    Returns:
        uint8 images with shape (N, C, H, W), C = 1 or 3, with `value_range` (0, 1). Large sets stay on disk and must not be written to.

    Raises:
        DataError: no images, or one that cannot be decoded.
        ConfigError: `image_size` is no size.
    """
    request = _Request(parse_size(image_size), channels, skip_bad, tell or (lambda text: None))
    with open_files(path) as files:
        places = _places(files, request) if cache else {}
        found = (image_cache.read(place) for skipped, place in places.items() if skip_bad or not skipped)
        kept = next((each for each in found if each is not None), None) or _decode_all(files, request, places)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mapped images are read-only, which PyTorch has no word for
        values = torch.from_numpy(kept.images)
    left_out = next((note for note in kept.notes if LEFT_OUT.match(note)), "")
    return DataSet(name=name_of(path), values=values, value_range=(0.0, 1.0), notes=kept.notes, left_out=left_out)


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


def _places(files: ImageFiles, request: _Request) -> dict[bool, Path]:
    """Where the cache holds these files, without and with some of them left out; nowhere where there is no cache."""
    folder = cache_folder()
    if folder is None:
        return {}
    marks = list(files.marks())
    return {left_out: folder / f"{image_cache.key_of(marks, request.size, request.channels, left_out)}.npy" for left_out in (False, True)}


def _decode_all(files: ImageFiles, request: _Request, places: dict[bool, Path]) -> Kept:
    """The images of all files, in the size asked for or, without one, the automatic size."""
    names = files.names
    if not names:
        raise _no_images(files)
    count = f"{len(names):,} image{'' if len(names) == 1 else 's'}"
    request.tell(f"decoding {count} once; the next run reads the cache" if places else f"decoding {count}")
    headers, bad = _for_each(files, names, lambda _, image: header_of(image), request.skip_bad)
    while True:  # again where images are left out that had a good header: the others may then have another size, or no colour
        good = [name for name in names if name not in bad]
        if not good:
            raise DataError(f"{files.path}: none of {count} can be read; {_listed(bad)}.", "Mend or replace them.")
        known = [headers[name] for name in good]
        height, width = request.size or _automatic_size(known)
        grey = all(header.grey for header in known) if request.channels not in (1, 3) else request.channels == 1
        place = places.get(bool(bad))
        with image_cache.room(place, (len(good), 1 if grey else 3, height, width)) as room:
            newly_bad = _fill(files, good, room.images, grey, request.skip_bad)
            if newly_bad:
                bad |= newly_bad
                continue
            left_out = [f"{len(bad):,} of {count} {'is' if len(bad) == 1 else 'are'} left out: {_listed(bad)}."] if bad else []
            kept = room.keep(place, (*_notes(known, height, width, grey), *left_out))
        if place is not None and room.problem is not None:
            reason = reason_of(room.problem)
            request.tell(f"the decoded images could not be kept in {place.parent}: {reason}; the next run decodes again")
        return kept


def _fill(files: ImageFiles, names: list[str], images: np.ndarray, grey: bool, skip_bad: bool) -> dict[str, str]:
    """Decode into an array with shape (N, C, H, W); which images could not be decoded, and why."""
    import numpy as np

    height, width = images.shape[2:]

    def decode(index: int, image: Image.Image) -> None:
        pixels = np.asarray(decoded(image, height, width, grey))
        images[index] = pixels if grey else pixels.transpose(2, 0, 1)

    return _for_each(files, names, decode, skip_bad)[1]


def _for_each(
    files: ImageFiles, names: list[str], work: Callable[[int, Image.Image], Result], skip_bad: bool
) -> tuple[dict[str, Result], dict[str, str]]:
    """Results of `work(index, opened image)` by name, from a thread pool, and why there are none of other names.

    Raises:
        DataError: unless `skip_bad`, a file cannot be decoded; the first one in order is named.
    """
    from PIL import Image, UnidentifiedImageError

    results: dict[str, Result] = {}
    bad: dict[int, str] = {}
    last = len(names)  # what comes after a bad image need not be looked at

    def block(files: Block) -> None:
        nonlocal last
        for index, opened in files:
            if index > last and not skip_bad:
                continue
            try:
                with opened() as stream, Image.open(stream) as image:
                    results[names[index]] = work(index, image)
            except Image.DecompressionBombError as error:
                bad[index] = f"is too large: {reason_of(error)}"
            except UnidentifiedImageError:
                bad[index] = f"cannot be decoded: {_what_it_is(opened)}"
            except Exception as error:  # damaged bytes make decoders raise nearly anything
                bad[index] = f"cannot be decoded: {reason_of(error)}"
            if index in bad:
                last = min(last, index)

    _in_threads(files.blocks(names), block)
    if bad and not skip_bad:
        first = min(bad)
        hint = "Mend or remove it." if "too large" not in bad[first] else "Shrink or remove it."
        hint += " `--skip-bad` (in Python skip_bad=True) leaves such images out."
        raise DataError(f"{files.path}: the image '{names[first]}' {bad[first]}.", hint)
    return results, {names[index]: bad[index] for index in sorted(bad)}


def _in_threads(blocks: Iterable[Block], work: Callable[[Block], None]) -> None:
    """Do the work for all blocks in a thread pool, in which only a few wait at a time."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[None]] = deque()
        try:
            for block in blocks:
                waiting.append(pool.submit(work, block))
                if len(waiting) > 2 * workers:
                    waiting.popleft().result()
            while waiting:
                waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def _what_it_is(opened: Opener) -> str:
    with opened() as stream:
        return "its bytes are no image of a known kind" if stream.read(1) else "it is empty"


def _listed(bad: dict[str, str]) -> str:
    """The first few bad images, with what is wrong with them."""
    first = [f"'{name}' {reason}" for name, reason in list(bad.items())[:NAMED]]
    return ", ".join(first) + (", …" if len(bad) > NAMED else "")


def _no_images(files: ImageFiles) -> DataError:
    """The error for a folder or archive without images, with what there is instead."""
    hint = "Name the folder or .zip or .tar archive that holds the images."
    arrays = sorted(name for name in files.others if name.lower().endswith(ARRAY_ENDINGS))
    if files.path.is_dir() and arrays and len(arrays) == len(files.others):
        hint = f"Name the file itself, such as {files.path / arrays[0]}."
    return DataError(f"{files.path} holds no images; expected files that end in {', '.join(sorted(EXTENSIONS))}; {files.found()}.", hint)


def _automatic_size(headers: list[Header]) -> tuple[int, int]:
    """The commonest (H, W), of equally common ones the largest, scaled down until the longer side is at most 64 pixels."""
    counts = Counter((header.height, header.width) for header in headers)
    height, width = max(counts, key=lambda size: (counts[size], size[0] * size[1], size))
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _notes(headers: list[Header], height: int, width: int, as_grey: bool) -> tuple[str, ...]:
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
