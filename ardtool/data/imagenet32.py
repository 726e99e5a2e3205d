"""ImageNet 32×32: the 1,281,167 training and 50,000 validation images of ImageNet, made smaller (Chrabaszcz, Loshchilov, Hutter 2017).

Read from the published batches, `train_data_batch_1` … `_10` and `val_data`, either pickled (no ending; read with nothing executed, see
`numpy_pickle.py`) or as `.npz`. Their array `data` is uint8 with shape (n, 3072): red, green, blue, each row by row. The training array
takes 3.9 GB; it is made once and filled batch by batch, each of which takes another 0.4 GB while it is read. ImageNet's own test images
have never been published, so its validation images are the split "test" here; the last 10,000 training images are the validation split,
as in MNIST and CIFAR-10. The batches hold all images in random order, so that these are of all classes.

Folders of image files are read as well: those of van den Oord et al. 2016 (`train_32x32` with 1,281,149 and `valid_32x32` with 49,999
images), or your own with all images of ImageNet in 32×32. Sorted names are in no random order there: 10,000 evenly spaced ones are moved
to the end for validation. No checksums of these files are published.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from .equal_images import decode_equal, image_names
from .known_arrays import UNREADABLE, known_array
from .named import NamedSet
from .numpy_pickle import read_arrays
from .originals import Original, first_file

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .dataset import DataSet

__all__ = ["IMAGENET32", "open_imagenet32"]

HOMES = (".", "imagenet32", "Imagenet32", "ImageNet32")
OWN_FOLDERS = {
    "train": ("Imagenet32_train", "Imagenet32_train_npz", "."),
    "test": ("Imagenet32_val", "Imagenet32_val_npz", "."),
}
IMAGE_FOLDERS = {"train": ("train_32x32", "train"), "test": ("valid_32x32", "val", "valid")}
BATCHES = {
    "train": {f"train_data_batch_{number}": 128_116 if number < 10 else 128_123 for number in range(1, 11)},
    "test": {"val_data": 50_000},
}
IMAGE_COUNTS = {"train": (1_281_149, 1_281_167), "test": (49_999, 50_000)}
VALIDATION = 10_000
SIDE = 32
VALUES = 3 * SIDE * SIDE
SETTINGS = {"arch": "paper-imagenet32", "epochs": 50}  # ARD-VAE paper (arXiv 2501.10901), supp. Tables 4 and 6
ORIGINAL = Original(
    title="ImageNet 32x32",
    files="train_data_batch_1 … train_data_batch_10 and val_data (in Imagenet32_train.zip and Imagenet32_val.zip; or the same as .npz)",
    site="https://image-net.org/download-images",
    licence="free after registration, non-commercial research only",
    folder="imagenet32",
    instead="--data takes any folder of 32x32 images, with --arch paper-imagenet32 for the same network",
)


def open_imagenet32(data_root: Path, split: str) -> DataSet:
    """ImageNet 32×32 as uint8 images with shape (N, 3, 32, 32): N = 1,281,167 for the split "train", 50,000 for "test".

    Raises:
        DataError: the files are damaged or incomplete, ask for code to be run, or are not found.
    """
    from .dataset import DataSet

    batches, folder = _first_batch(data_root, split), _image_folder(data_root, split)
    if batches is not None:
        values = _read_batches(batches, BATCHES[split])
    elif folder is not None:
        values = _read_images(folder, split)
    else:
        raise ORIGINAL.missing(data_root)
    return DataSet(
        name="imagenet32",
        values=values,
        value_range=(0.0, 1.0),
        validation=VALIDATION if split == "train" else 0,
        settings=dict(SETTINGS),
    )


def _first_batch(data_root: Path, split: str) -> Path | None:
    """The file of the split's first batch."""
    first = next(iter(BATCHES[split]))
    folders = [f"{home}/{own}" for home in HOMES for own in OWN_FOLDERS[split]]
    return first_file(data_root, folders, (first, f"{first}.npz"))


def _image_folder(data_root: Path, split: str) -> Path | None:
    """The folder of the split's image files."""
    return first_file(data_root, HOMES, IMAGE_FOLDERS[split])


def _look(data_root: Path) -> dict[str, Path | None]:
    """Where each batch is, or the folder of images in place of the batches of its split."""
    parts: dict[str, Path | None] = {}
    for split, names in BATCHES.items():
        first, folder = _first_batch(data_root, split), _image_folder(data_root, split)
        if first is None and folder is not None:
            parts[folder.name] = folder
            continue
        for name in names:
            batch = None if first is None else first.with_name(name + first.suffix)
            parts[name] = batch if batch is not None and batch.is_file() else None
    return parts


def _read_batches(first: Path, sizes: dict[str, int]) -> Tensor:
    """The images of all batches in the folder of the first, with shape (N, 3, 32, 32).

    Raises:
        DataError: one is missing or damaged.
    """
    paths = [first.with_name(name + first.suffix) for name in sizes]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ORIGINAL.damaged(f"{first.parent} is incomplete: {', '.join(missing)} is not in it")
    import torch

    images = torch.empty(sum(sizes.values()), VALUES, dtype=torch.uint8)
    filled = images.numpy()
    start = 0
    for path, size in zip(paths, sizes.values(), strict=True):
        filled[start : start + size] = _read_batch(path, size)
        start += size
    return images.reshape(-1, 3, SIDE, SIDE)


def _read_batch(path: Path, size: int) -> np.ndarray:
    """The images of one batch with shape (size, 3072).

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return known_array(ORIGINAL, path, archive, "data", (size, VALUES), "uint8")
        with path.open("rb") as file:
            arrays = read_arrays(str(path), file)
    except UNREADABLE as error:
        raise ORIGINAL.damaged(f"{path} cannot be read: {' '.join(str(error).split()).rstrip('.')}") from error
    if "data" not in arrays:
        raise ORIGINAL.damaged(f"{path} has no array 'data'; found {', '.join(arrays) or 'none'}")
    images = arrays["data"]
    if images.shape != (size, VALUES) or images.dtype.name != "uint8":
        found = f"{images.dtype} with shape {images.shape}"
        raise ORIGINAL.damaged(f"{path}: 'data' is {found}; expected uint8 with shape {(size, VALUES)}")
    return images


def _read_images(folder: Path, split: str) -> Tensor:
    """The image files of a folder with shape (N, 3, 32, 32), evenly spaced ones last where some are for validation.

    Raises:
        DataError: another number of images, or one that is damaged or of another size.
    """
    names = image_names(ORIGINAL, folder)
    if len(names) not in IMAGE_COUNTS[split]:
        expected = " or ".join(f"{count:,}" for count in IMAGE_COUNTS[split])
        raise ORIGINAL.incomplete(folder.parent, f"{folder} holds {len(names):,} images; expected {expected}")
    if split == "train":
        last = {(2 * number + 1) * len(names) // (2 * VALIDATION) for number in range(VALIDATION)}
        names = [name for k, name in enumerate(names) if k not in last] + [names[k] for k in sorted(last)]
    return decode_equal(ORIGINAL, folder, names, (SIDE, SIDE), (SIDE, SIDE))


IMAGENET32 = NamedSet(
    name="imagenet32",
    summary="photographs, 1,000 classes",
    shape=(3, SIDE, SIDE),
    samples=sum(max(counts) for counts in IMAGE_COUNTS.values()),
    opener=open_imagenet32,
    original=ORIGINAL,
    folders=HOMES,
    look=_look,
)
