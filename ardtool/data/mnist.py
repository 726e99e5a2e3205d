"""MNIST: 60,000 training and 10,000 test images of handwritten digits, padded with zeros from 28×28 to 32×32 as in the paper.

Read from the original idx files, which hold big-endian whole numbers (magic number 2051, count, rows, columns) and then one byte
a pixel. They are looked for under the data root, plain or `.gz`, and downloaded by torchvision where they are missing. The last
10,000 training images are the validation split.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from .named import NamedSet
from .originals import Original, download, first_file

if TYPE_CHECKING:
    from torch import Tensor

    from .dataset import DataSet

__all__ = ["FILES", "MNIST", "PADDING", "find_images", "open_mnist", "read_idx_images"]

FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
FOLDERS = (".", "raw", "MNIST/raw", "mnist")  # below the data root, searched in this order
MAGIC = 2051
SIDE = 28
PADDING = 2
LARGEST = 300_000  # images; more are a damaged or a hostile header
SETTINGS = {"arch": "paper-mnist", "epochs": 50}  # ARD-VAE paper (arXiv 2501.10901), supp. Tables 4 and 6
ORIGINAL = Original(
    title="MNIST",
    files=f"{FILES['train']} and {FILES['test']} (plain or .gz)",
    site="https://ossci-datasets.s3.amazonaws.com/mnist",  # the copy that torchvision downloads; the authors' page has no files any more
    licence="none stated; often given as CC BY-SA 3.0",
    folder="MNIST/raw",
    instead="--data takes any folder of images, and --data sprites needs no files",
)


def open_mnist(data_root: Path, split: str) -> DataSet:
    """MNIST images as uint8 with shape (N, 1, 32, 32): N = 60,000 for the split "train", 10,000 for "test".

    Raises:
        DataError: the files are damaged, or neither found nor downloaded.
    """
    import torch

    from .dataset import DataSet

    path = find_images(data_root, split) or _download(data_root, split)
    images = torch.nn.functional.pad(read_idx_images(path), (PADDING,) * 4)
    return DataSet(
        name="mnist",
        values=images[:, None],
        value_range=(0.0, 1.0),
        validation=len(images) // 6 if split == "train" else 0,
        padding=PADDING,
        settings=dict(SETTINGS),
    )


def find_images(data_root: Path, split: str, folders: tuple[str, ...] = FOLDERS) -> Path | None:
    """The idx file of a split's images in one of the folders below the data root, or None."""
    return first_file(data_root, folders, (FILES[split], f"{FILES[split]}.gz"))


def read_idx_images(path: Path) -> Tensor:
    """Images of an idx file, plain or `.gz`, as uint8 with shape (N, 28, 28).

    Raises:
        DataError: the file cannot be read, is no idx image file, or has another length than its header says.
    """
    import torch

    hint = f"Delete {path} and run the command again to download it anew."
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(16 + LARGEST * SIDE * SIDE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", hint) from error
    if len(content) < 16:
        raise DataError(f"{path} is truncated: expected a header of 16 bytes, found {len(content)} bytes.", hint)
    magic, count, rows, columns = struct.unpack(">IIII", content[:16])
    if magic != MAGIC:
        raise DataError(f"{path} is no idx image file: expected the magic number {MAGIC}, found {magic}.", hint)
    if (rows, columns) != (SIDE, SIDE):
        raise DataError(f"{path} holds images of {rows}×{columns} pixels; expected {SIDE}×{SIDE}.", hint)
    expected = 16 + count * rows * columns
    if count > LARGEST:
        raise DataError(f"{path} claims to hold {count} images; expected at most {LARGEST}.", hint)
    if len(content) != expected:
        problem = "is truncated" if len(content) < expected else "is too long"
        raise DataError(f"{path} {problem}: expected {expected} bytes for {count} images, found {len(content)} bytes.", hint)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=16).reshape(count, rows, columns)


def _download(data_root: Path, split: str) -> Path:
    """Download MNIST into the data root and return the split's file.

    Raises:
        DataError: the download failed, with the files to fetch by hand.
    """

    def fetch() -> None:
        from torchvision.datasets import MNIST

        MNIST(str(data_root), download=True)

    reason = download(data_root / ORIGINAL.folder, fetch)
    path = None if reason else find_images(data_root, split)
    if path is None:
        raise ORIGINAL.missing(data_root, reason)
    return path


MNIST = NamedSet(
    name="mnist",
    summary="handwritten digits",
    shape=(1, 32, 32),
    samples=70_000,
    opener=open_mnist,
    original=ORIGINAL,
    folders=FOLDERS,
    look=lambda data_root: {name: find_images(data_root, split) for split, name in FILES.items()},
    downloads=True,
)
