"""Fashion-MNIST: MNIST's format in folders of its own, with its own number of images and checksums."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import pytest
import torch

from ardtool.data import fashion_mnist
from ardtool.data.catalogue import open_data
from ardtool.data.fashion_mnist import FOLDERS, open_fashion_mnist
from ardtool.errors import DataError

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def idx(count: int) -> bytes:
    return struct.pack(">IIII", 2051, count, 28, 28) + bytes(k % 251 for k in range(count * 28 * 28))


def write(root: Path, folder: str, name: str, content: bytes) -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "COUNTS", {"train": 12, "test": 5})


@pytest.mark.parametrize("folder", FOLDERS)
def test_found_padded_and_split(tmp_path: Path, folder: str):
    write(tmp_path, folder, TRAIN, idx(12))
    write(tmp_path, folder, TEST, idx(5))
    train, test = (open_data("fashion-mnist", data_root=tmp_path, split=split) for split in ("train", "test"))
    assert (train.values.shape, test.values.shape) == ((12, 1, 32, 32), (5, 1, 32, 32))
    inner = torch.arange(12 * 28 * 28).remainder(251).reshape(12, 28, 28).to(torch.uint8)
    assert torch.equal(train.values[:, 0, 2:30, 2:30], inner)
    assert (train.validation, test.validation, train.padding) == (2, 0, 2)
    assert train.settings == {"arch": "paper-mnist"}  # the paper says nothing of these data
    assert train.name == "fashion-mnist"


def test_mnist_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    """Both have files of the same names: MNIST's folders are not searched, and a packed file must have the right checksum."""
    import torchvision.datasets

    def fail(root: str, download: bool) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fail)
    for folder in (".", "MNIST/raw", "raw", "mnist"):
        write(tmp_path, folder, TRAIN, idx(12))
    text = sentence(open_fashion_mnist, tmp_path, "train", kind=DataError)
    assert f"Fashion-MNIST is not under {tmp_path} and could not be downloaded: no network." in text
    assert f"Put {TRAIN} and {TEST} (plain or .gz) into {tmp_path / 'FashionMNIST' / 'raw'}" in text
    assert "https://github.com/zalandoresearch/fashion-mnist (MIT licence)" in text


def test_packed_files_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    path = write(tmp_path, "FashionMNIST/raw", f"{TEST}.gz", gzip.compress(idx(5)))
    found = hashlib.md5(path.read_bytes()).hexdigest()
    text = sentence(open_fashion_mnist, tmp_path, "test", kind=DataError)
    assert (
        f"{path} is damaged, or not the published file: expected the MD5 checksum bef4ecab320f06d8554ea6380940ec79, found {found}." in text
    )
    monkeypatch.setattr(fashion_mnist, "CHECKSUMS", {"test": found})
    assert len(open_fashion_mnist(tmp_path, "test")) == 5


def test_a_shorter_file_is_refused(tmp_path: Path, sentence):
    path = write(tmp_path, "FashionMNIST/raw", TRAIN, idx(11))
    text = sentence(open_fashion_mnist, tmp_path, "train", kind=DataError)
    assert f"{path} holds 11 images; Fashion-MNIST has 12 in the split 'train'." in text


def test_download_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", lambda root, download: write(Path(root), "FashionMNIST/raw", TEST, idx(5)))
    assert len(open_fashion_mnist(tmp_path, "test")) == 5
    assert sorted(tmp_path.iterdir()) == [tmp_path / "FashionMNIST"]


def test_checksums_are_those_that_torchvision_has():
    from torchvision.datasets import FashionMNIST

    assert {(f"{TRAIN}.gz", fashion_mnist.CHECKSUMS["train"]), (f"{TEST}.gz", fashion_mnist.CHECKSUMS["test"])} <= set(
        FashionMNIST.resources
    )
