"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes, in the format and the size of MNIST (Xiao, Rasul, Vollgraf 2017).

The files have the names that MNIST's have, so they are looked for in folders of their own: those that torchvision and the clone of
the data set's repository make. A `.gz` file must have the published checksum, which tells it from MNIST's. The images are padded
from 28×28 to 32×32 and the last 10,000 training images are the validation split, as for MNIST. The ARD-VAE paper has no experiments
with these data: they get the network for MNIST and the default number of epochs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .mnist import FILES, PADDING, find_images, read_idx_images
from .named import NamedSet
from .originals import Original, check_md5, download

if TYPE_CHECKING:
    from .dataset import DataSet

__all__ = ["FASHION_MNIST", "open_fashion_mnist"]

FOLDERS = ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist/data/fashion", "fashion-mnist", "fashion_mnist", "data/fashion")
COUNTS = {"train": 60_000, "test": 10_000}
CHECKSUMS = {"train": "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "test": "bef4ecab320f06d8554ea6380940ec79"}  # of the .gz files
SETTINGS = {"arch": "paper-mnist"}
ORIGINAL = Original(
    title="Fashion-MNIST",
    files=f"{FILES['train']} and {FILES['test']} (plain or .gz)",
    site="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT licence",
    folder="FashionMNIST/raw",
    instead="--data takes any folder of images, and --data sprites needs no files",
)


def open_fashion_mnist(data_root: Path, split: str) -> DataSet:
    """Fashion-MNIST images as uint8 with shape (N, 1, 32, 32): N = 60,000 for the split "train", 10,000 for "test".

    Raises:
        DataError: the files are damaged, or neither found nor downloaded.
    """
    import torch

    from .dataset import DataSet

    path = find_images(data_root, split, FOLDERS) or _download(data_root, split)
    if path.suffix == ".gz":
        check_md5(ORIGINAL, path, CHECKSUMS[split])
    images = read_idx_images(path)
    if len(images) != COUNTS[split]:
        raise ORIGINAL.damaged(f"{path} holds {len(images):,} images; Fashion-MNIST has {COUNTS[split]:,} in the split '{split}'")
    return DataSet(
        name="fashion-mnist",
        values=torch.nn.functional.pad(images, (PADDING,) * 4)[:, None],
        value_range=(0.0, 1.0),
        validation=len(images) // 6 if split == "train" else 0,
        padding=PADDING,
        settings=dict(SETTINGS),
    )


def _download(data_root: Path, split: str) -> Path:
    """Download into the data root and return the split's file.

    Raises:
        DataError: the download failed, with the files to fetch by hand.
    """

    def fetch() -> None:
        from torchvision.datasets import FashionMNIST

        FashionMNIST(str(data_root), download=True)

    reason = download(data_root / ORIGINAL.folder, fetch)
    path = None if reason else find_images(data_root, split, FOLDERS)
    if path is None:
        raise ORIGINAL.missing(data_root, reason)
    return path


FASHION_MNIST = NamedSet(
    name="fashion-mnist",
    summary="images of clothes",
    shape=(1, 32, 32),
    samples=70_000,
    opener=open_fashion_mnist,
    original=ORIGINAL,
    folders=FOLDERS,
    look=lambda data_root: {name: find_images(data_root, split, FOLDERS) for split, name in FILES.items()},
    downloads=True,
)
