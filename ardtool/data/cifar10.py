"""CIFAR-10: 50,000 training and 10,000 test images of ten classes of things, 3×32×32 (Krizhevsky 2009).

Read from the published batches, 10,000 images each, in folders or in the archives as they are downloaded:

    cifar-10-batches-py    cifar-10-python.tar.gz    pickled dictionaries; `data` is uint8 with shape (10,000, 3072)
    cifar-10-batches-bin   cifar-10-binary.tar.gz    10,000 records of 3073 bytes: the class, and the image

An image is its 1024 red, then green, then blue values, row by row. The pickles are read with nothing executed (`numpy_pickle.py`), and
downloaded by torchvision where no files are found. The last 10,000 training images are the validation split.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .named import NamedSet
from .numpy_pickle import read_arrays
from .originals import Original, check_md5, download, first_file

if TYPE_CHECKING:
    import numpy as np

    from .dataset import DataSet

__all__ = ["CIFAR10", "open_cifar10"]

FOLDERS = (".", "cifar10", "cifar-10", "CIFAR10", "CIFAR-10")
BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
PER_BATCH = 10_000
VALUES = 3 * 32 * 32
VALIDATION = 10_000
CLASSES = 10
LARGEST_MEMBER = 2**26  # bytes; a batch has 31 MB
CHECKSUMS = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
SETTINGS = {"arch": "paper-cifar10", "epochs": 100}  # ARD-VAE paper (arXiv 2501.10901), supp. Tables 4 and 6
ORIGINAL = Original(
    title="CIFAR-10",
    files="cifar-10-python.tar.gz or cifar-10-binary.tar.gz (packed, or the folder that is in it)",
    site="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="no licence stated",
    folder="cifar10",
    instead="--data takes any folder of 32x32 images, with --arch paper-cifar10 for the same network",
)


def open_cifar10(data_root: Path, split: str) -> DataSet:
    """CIFAR-10 images as uint8 with shape (N, 3, 32, 32): N = 50,000 for the split "train", 10,000 for "test".

    Raises:
        DataError: the files are damaged or incomplete, ask for code to be run, or are neither found nor downloaded.
    """
    import torch

    from .dataset import DataSet

    path = _find(data_root, split) or _download(data_root, split)
    return DataSet(
        name="cifar10",
        values=torch.from_numpy(_read(path, BATCHES[split])),
        value_range=(0.0, 1.0),
        validation=VALIDATION if split == "train" else 0,
        settings=dict(SETTINGS),
    )


def _find(data_root: Path, split: str) -> Path | None:
    """An archive, or the first batch of the split in a folder; None without any."""
    first = BATCHES[split][0]
    python = (f"cifar-10-batches-py/{first}", "cifar-10-python.tar.gz", first)
    binary = (f"cifar-10-batches-bin/{first}.bin", "cifar-10-binary.tar.gz", f"{first}.bin")
    return first_file(data_root, FOLDERS, (*python, *binary))


def _look(data_root: Path) -> dict[str, Path | None]:
    """Where each batch is: in an archive, or a file."""
    parts: dict[str, Path | None] = {}
    for split, names in BATCHES.items():
        first = _find(data_root, split)
        for name in names:
            batch = first if first is None or first.name.endswith(".tar.gz") else first.with_name(name + first.suffix)
            parts[name] = batch if batch is not None and batch.is_file() else None
    return parts


def _read(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """The images of an archive, or of the folder that the first batch lies in, with shape (N, 3, 32, 32)."""
    import numpy as np

    archive = path.name.endswith(".tar.gz")
    suffix = ".bin" if path.name.endswith((".bin", "binary.tar.gz")) else ""
    if archive:
        check_md5(ORIGINAL, path, CHECKSUMS[path.name])
    images = np.empty((len(names), PER_BATCH, VALUES), dtype=np.uint8)
    missing = [name + suffix for name in names]
    for file, content in _members(path, missing) if archive else _files(path.parent, missing):
        where = f"{path}, {file}" if archive else str(path.parent / file)
        images[names.index(file.removesuffix(".bin"))] = _records(where, content) if suffix else _pickled(where, content)
        missing.remove(file)
    if missing:
        raise ORIGINAL.damaged(f"{path if archive else path.parent} is incomplete: {', '.join(missing)} is not in it")
    return images.reshape(-1, 3, 32, 32)


def _members(path: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of those files of an archive, in the order in which it has them.

    Raises:
        DataError: the archive cannot be read.
    """
    wanted = set(names)
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                file = archive.extractfile(member) if name in wanted and member.size <= LARGEST_MEMBER else None
                if file is not None:
                    wanted.remove(name)
                    yield name, file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ORIGINAL.damaged(f"{path} cannot be read: {error}") from error


def _files(folder: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of those files that a folder has.

    Raises:
        DataError: one cannot be read, or is not the published one.
    """
    for name in tuple(names):
        path = folder / name
        if not path.is_file():
            continue
        if name in CHECKSUMS:
            check_md5(ORIGINAL, path, CHECKSUMS[name])
        try:
            yield name, path.read_bytes()
        except OSError as error:
            raise ORIGINAL.damaged(f"{path} cannot be read: {error}") from error


def _pickled(where: str, content: bytes) -> np.ndarray:
    """The images, with shape (10,000, 3072), of a pickled batch."""
    arrays = read_arrays(where, io.BytesIO(content))
    if "data" not in arrays:
        raise ORIGINAL.damaged(f"{where} has no array 'data'; found {', '.join(arrays) or 'none'}")
    images = arrays["data"]
    if images.shape != (PER_BATCH, VALUES) or images.dtype.name != "uint8":
        found = f"{images.dtype} with shape {images.shape}"
        raise ORIGINAL.damaged(f"{where}: 'data' is {found}; expected uint8 with shape {(PER_BATCH, VALUES)}")
    return images


def _records(where: str, content: bytes) -> np.ndarray:
    """The images, with shape (10,000, 3072), of a binary batch."""
    import numpy as np

    expected = PER_BATCH * (1 + VALUES)
    if len(content) != expected:
        raise ORIGINAL.damaged(f"{where} has {len(content):,} bytes; expected {expected:,} for {PER_BATCH:,} images")
    records = np.frombuffer(content, dtype=np.uint8).reshape(PER_BATCH, 1 + VALUES)
    if records[:, 0].max() >= CLASSES:
        raise ORIGINAL.damaged(f"{where} is no batch of CIFAR-10: found the class {records[:, 0].max()}, expected 0 to {CLASSES - 1}")
    return records[:, 1:]


def _download(data_root: Path, split: str) -> Path:
    """Download into the data root and return the split's first file.

    Raises:
        DataError: the download failed, with the files to fetch by hand.
    """

    def fetch() -> None:
        from torchvision.datasets import CIFAR10

        CIFAR10(str(data_root / ORIGINAL.folder), download=True)

    reason = download(data_root / ORIGINAL.folder, fetch)
    path = None if reason else _find(data_root, split)
    if path is None:
        raise ORIGINAL.missing(data_root, reason)
    return path


CIFAR10 = NamedSet(
    name="cifar10",
    summary="photographs, ten classes",
    shape=(3, 32, 32),
    samples=60_000,
    opener=open_cifar10,
    original=ORIGINAL,
    folders=FOLDERS,
    look=_look,
    downloads=True,
)
