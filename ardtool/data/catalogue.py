"""Every data set that has a name, and the one door to all data: `open_data`.

A new data set is one file in this folder and one line in `TABLE`. Anything else is a path: a folder, `.zip` or `.tar` of images (or
`.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`), a `.npy` or `.npz` file of vectors or images, or a `.csv` or `.csv.gz` file of vectors. A
name wins over a folder of the same name in the working directory; write `./name` for the folder.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import DataError
from .arrays import MapChoice, open_arrays, resize_images
from .celeba import open_celeba
from .cifar10 import open_cifar10
from .dataset import DataSet, check_samples
from .dsprites import open_dsprites
from .dsprites_render import open_dsprites_render
from .factors import DrawnImages
from .fashion_mnist import open_fashion_mnist
from .image_files import EXTENSIONS, is_archive, reason_of
from .imagenet32 import open_imagenet32
from .images import open_images, parse_size
from .mnist import open_mnist
from .shapes3d import open_shapes3d
from .shapes3d_render import open_shapes3d_render
from .sprites import FACTOR_NAMES, open_sprites
from .tables import TABLES, open_table

__all__ = ["catalogue", "default_data_root", "open_data"]

PATHS = "a folder, .zip, .tar, .npy, .npz or .csv"
SPLITS = ("train", "test")


def _sprites(factor_count: int, data_root: Path, split: str) -> DataSet:
    return open_sprites(factor_count, split)


TABLE: dict[str, tuple[str, Callable[[Path, str], DataSet]]] = {
    "mnist": ("70,000 handwritten digits, 1x32x32 (read from the data root, else downloaded)", open_mnist),
    "fashion-mnist": ("70,000 images of clothes, 1x32x32, MIT licence (read from the data root, else downloaded)", open_fashion_mnist),
    "cifar10": ("60,000 images of ten classes, 3x32x32, no licence stated (read from the data root, else downloaded)", open_cifar10),
    "celeba": ("202,599 faces, 3x64x64 from the middle, for non-commercial research (files from mmlab.ie.cuhk.edu.hk)", open_celeba),
    "imagenet32": ("1,331,167 images of ImageNet, 3x32x32, for non-commercial research (files from image-net.org)", open_imagenet32),
    "dsprites": ("737,280 white shapes on black, 1x64x64, 5 known factors and a constant, Apache 2.0 (file from GitHub)", open_dsprites),
    "shapes3d": ("480,000 shapes in a room, 3x64x64, 6 known factors, Apache 2.0 (file from github.com, needs h5py)", open_shapes3d),
    "dsprites-render": (
        "737,280 images drawn like those of dsprites, 1x64x64, 5 known factors (nothing to download)",
        open_dsprites_render,
    ),
    "shapes3d-render": (
        "480,000 images drawn like those of shapes3d, 3x64x64, 6 known factors (nothing to download)",
        open_shapes3d_render,
    ),
    "sprites": ("10,000 drawn ellipses, 3x32x32, 4 known factors (nothing to download)", partial(_sprites, 4)),
    **{
        f"sprites-{count}": (f"the same with {count} known factors: {', '.join(FACTOR_NAMES[:count])}", partial(_sprites, count))
        for count in range(2, len(FACTOR_NAMES) + 1)
    },
}
"""Name → (summary, opener from data root and split)."""


def open_data(
    name: str,
    *,
    split: str = "train",
    data_root: Path | None = None,
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
    if split not in SPLITS:
        raise DataError(f"Unknown split '{split}'; expected {' or '.join(SPLITS)}.")
    if name in TABLE:
        data = TABLE[name][1](data_root or default_data_root(), split)
        data = _resized(replace(data, name=name), image_size)
    else:
        images = partial(open_images, image_size=image_size, channels=channels, cache=cache, skip_bad=skip_bad, tell=tell)
        data = _open_path(_existing_path(name), image_size, pixel_map, images)
    return check_samples(data) if for_training else data


def catalogue() -> list[tuple[str, str]]:
    """Rows (name, summary) of all named data sets, sorted by name."""
    return [(name, TABLE[name][0]) for name in sorted(TABLE)]


def default_data_root() -> Path:
    """The environment variable ARDTOOL_DATA, else `data` in the working directory."""
    return Path(os.environ.get("ARDTOOL_DATA") or "data").expanduser()


def _resized(data: DataSet, image_size: str | tuple[int, int]) -> DataSet:
    """A named data set in the size asked for; its own settings, which belong to its own size, are then left out."""
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
    near = difflib.get_close_matches(name.lower(), TABLE, n=1)
    raise DataError(
        f"Unknown data set '{name}'; expected one of {', '.join(sorted(TABLE))}, or a path to {PATHS}.",
        f"Did you mean '{near[0]}'?" if near else "`ardtool data` lists the names and where files are looked for.",
    )


def _open_path(path: Path, image_size: str | tuple[int, int], pixel_map: MapChoice, images: Callable[[Path], DataSet]) -> DataSet:
    """The data set of an existing path; `images` opens folders and archives.

    Raises:
        DataError: a kind of file that is not read.
    """
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
