"""Every data set that has a name, and the one door to all data: `open_data`.

A new data set is one file in this folder, which ends with a `NamedSet`, and one line in `NAMED`. Anything else is a path: a folder,
`.zip` or `.tar` of images (or `.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`), a `.npy` or `.npz` file of vectors or images, or a `.csv` or
`.csv.gz` file of vectors. A name wins over a folder of the same name in the working directory; write `./name` for the folder.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, reason_of
from .celeba import CELEBA
from .cifar10 import CIFAR10
from .dsprites import DSPRITES
from .dsprites_render import DSPRITES_RENDER
from .factors import DrawnImages
from .fashion_mnist import FASHION_MNIST
from .image_files import EXTENSIONS, is_archive
from .imagenet32 import IMAGENET32
from .mnist import MNIST
from .named import NamedSet
from .shapes3d import SHAPES3D
from .shapes3d_render import SHAPES3D_RENDER
from .sprites import SPRITES

if TYPE_CHECKING:
    from .arrays import MapChoice
    from .dataset import DataSet

__all__ = ["catalogue", "default_data_root", "named_set", "open_data"]

PATHS = "a folder, .zip, .tar, .npy, .npz or .csv"
SPLITS = ("train", "test")
NAMED = (
    CELEBA,
    CIFAR10,
    DSPRITES,
    DSPRITES_RENDER,
    FASHION_MNIST,
    IMAGENET32,
    MNIST,
    SHAPES3D,
    SHAPES3D_RENDER,
    *SPRITES,
)
TABLE: dict[str, NamedSet] = {each.name: each for each in sorted(NAMED, key=lambda each: each.name)}


def open_data(
    name: str,
    *,
    split: str = "train",
    data_root: str | Path | None = None,
    image_size: str | tuple[int, int] = "auto",
    pixel_map: MapChoice = "guess",
    channels: int | None = None,
    for_training: bool = True,
    cache: bool = True,
    skip_bad: bool = False,
    tell: Callable[[str], None] | None = None,
) -> DataSet:
    """The data set of a name or a path.

    Arguments:
        name: a name that `catalogue` lists, or a path to a folder, .zip, .tar (also compressed), .npy, .npz, .csv or .csv.gz.
        split: "train" or "test". A path has no splits: all its samples come back for either.
        data_root: where files of named data sets are looked for and downloaded to; None for `default_data_root()`.
        image_size: "auto", "N" or "HxW" in pixels, or (H, W) as a model takes them.
        pixel_map: how pixel values of arrays come to [0, 1], see `open_arrays`.
        channels: 1 or 3 to read the images of a folder or archive as grey or RGB; None for what suits them.
        for_training: refuse data that nothing can be learned from: a single sample, or all samples equal.
        cache, skip_bad, tell: how images of a folder or archive are decoded, see `open_images`.

    Raises:
        DataError: the data cannot be found, read or used.
        ConfigError: `image_size` is no size.
    """
    from .dataset import check_samples
    from .images import open_images

    if split not in SPLITS:
        raise DataError(f"Unknown split '{split}'; expected {' or '.join(SPLITS)}.")
    if name in TABLE:
        data = TABLE[name].opener(Path(data_root or default_data_root()), split)
        data = _resized(replace(data, name=name), image_size)
    else:
        images = partial(open_images, image_size=image_size, channels=channels, cache=cache, skip_bad=skip_bad, tell=tell)
        data = _open_path(_existing_path(name), image_size, pixel_map, images)
    return check_samples(data) if for_training else data


def catalogue() -> list[NamedSet]:
    """All named data sets, sorted by name."""
    return list(TABLE.values())


def named_set(name: str) -> NamedSet:
    """The data set of a name.

    Raises:
        DataError: there is none of that name.
    """
    if name not in TABLE:
        raise _unknown(name)
    return TABLE[name]


def default_data_root() -> Path:
    """The environment variable ARDTOOL_DATA, else `data` in the working directory."""
    return Path(os.environ.get("ARDTOOL_DATA") or "data").expanduser()


def _resized(data: DataSet, image_size: str | tuple[int, int]) -> DataSet:
    """A named data set in the size asked for; its own settings, which belong to its own size, are then left out."""
    from .arrays import resize_images
    from .images import parse_size

    size = parse_size(image_size)
    if size is None or data.shape[1:] == size:
        return data
    if isinstance(data.values, DrawnImages):
        raise DataError(
            f"'{data.name}' is drawn with {data.shape[1]}x{data.shape[2]} pixels; found --image-size {size[0]}x{size[1]}.",
            "Leave --image-size out.",
        )
    margin = data.padding
    if margin and (size[0] + 2 * margin, size[1] + 2 * margin) == data.shape[1:]:
        return replace(data, values=data.values[..., margin:-margin, margin:-margin].contiguous(), padding=0, settings={})
    note = f"The images are resized from {data.shape[1]}x{data.shape[2]} to {size[0]}x{size[1]} pixels (height x width)."
    return replace(data, values=resize_images(data.values, size), notes=(*data.notes, note), padding=0, settings={})


def _existing_path(name: str) -> Path:
    """The path that a name stands for.

    Raises:
        DataError: there is none; looks like a path, or like a name written wrongly.
    """
    path = Path(name).expanduser()
    try:
        if name and path.exists():
            return path
    except OSError as error:
        raise DataError(f"The data path '{name}' cannot be read: {reason_of(error)}.", "Change its permissions.") from error
    if path.suffix or "/" in name or os.sep in name:
        raise DataError(f"The data path '{name}' does not exist.", f"Give a path to {PATHS}, or a name from `ardtool data`.")
    raise _unknown(name)


def _unknown(name: str) -> DataError:
    near = difflib.get_close_matches(name.lower(), TABLE, n=1)
    return DataError(
        f"Unknown data set '{name}'; expected one of {', '.join(TABLE)}, or a path to {PATHS}.",
        f"Did you mean '{near[0]}'?" if near else "`ardtool data` lists the names and where files are looked for.",
    )


def _open_path(path: Path, image_size: str | tuple[int, int], pixel_map: MapChoice, images: Callable[[Path], DataSet]) -> DataSet:
    """The data set of an existing path; `images` opens folders and archives.

    Raises:
        DataError: a kind of file that is not read.
    """
    from .arrays import open_arrays
    from .tables import TABLES, open_table

    suffix = path.suffix.lower()
    if path.is_dir() or is_archive(path):
        return images(path)
    if suffix in (".npy", ".npz"):
        return open_arrays(path, image_size, pixel_map)
    if path.name.lower().endswith(TABLES):
        return open_table(path, image_size)
    kind = f"Files that end in '{suffix}' are" if suffix else "A file without a suffix is"
    hint = (
        f"Name the folder that holds the images: {path.parent}."
        if suffix in EXTENSIONS
        else "Save numbers with numpy.save, one row a sample."
    )
    raise DataError(f"{path}: {kind} not read; expected {PATHS}.", hint)
