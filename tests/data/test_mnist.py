"""MNIST: idx files are found in all the usual places, padded as in the paper, and checked byte by byte."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch

from ardtool.data.catalogue import open_data
from ardtool.data.mnist import FOLDERS, find_images, open_mnist, read_idx_images
from ardtool.errors import DataError

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"


def idx(count: int = 12, *, magic: int = 2051, rows: int = 28, columns: int = 28) -> bytes:
    """A file in the real format; pixel k of the whole file is k mod 251."""
    header = struct.pack(">IIII", magic, count, rows, columns)
    return header + bytes(k % 251 for k in range(count * rows * columns))


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_found_padded_and_split(tmp_path: Path, folder: str, suffix: str):
    write(tmp_path / folder / (TRAIN + suffix), idx(12))
    write(tmp_path / folder / (TEST + suffix), idx(5))
    train, test = open_data("mnist", data_root=tmp_path), open_data("mnist", data_root=tmp_path, split="test")
    assert train.values.shape == (12, 1, 32, 32)
    assert test.values.shape == (5, 1, 32, 32)
    assert train.values.dtype == torch.uint8
    inner = torch.arange(12 * 28 * 28).remainder(251).reshape(12, 28, 28).to(torch.uint8)
    assert torch.equal(train.values[:, 0, 2:30, 2:30], inner)
    assert train.values.long().sum() == inner.long().sum()  # the frame is zero
    assert (train.validation, test.validation) == (2, 0)  # a sixth, as 10,000 of 60,000
    assert train.settings == {"arch": "paper-mnist", "epochs": 50}
    assert train.value_range == (0.0, 1.0)
    plain = open_data("mnist", data_root=tmp_path, image_size="28")
    assert torch.equal(plain.values[:, 0], inner) and plain.notes == () and plain.settings == {}  # without the frame, nothing is resized


def test_damaged_files_say_expected_and_found(tmp_path: Path, sentence):
    def said(content: bytes) -> str:
        path = write(tmp_path / TRAIN, content)
        text = sentence(read_idx_images, path, kind=DataError)
        assert str(path) in text
        assert "Delete" in text
        return text

    assert "is truncated: expected 9424 bytes for 12 images, found 9324 bytes" in said(idx()[:-100])
    assert "is too long: expected 9424 bytes for 12 images, found 9427 bytes" in said(idx() + b"abc")
    assert "is truncated: expected a header of 16 bytes, found 4 bytes" in said(idx()[:4])
    assert "expected the magic number 2051, found 2049" in said(idx(magic=2049))
    assert "images of 32×28 pixels; expected 28×28" in said(idx(rows=32))


def test_damaged_archive_is_named(tmp_path: Path, sentence):
    path = tmp_path / f"{TRAIN}.gz"
    path.write_bytes(gzip.compress(idx())[:-50])
    assert f"{path} cannot be read:" in sentence(read_idx_images, path, kind=DataError)
    path.write_bytes(b"no archive")
    assert f"{path} cannot be read:" in sentence(read_idx_images, path, kind=DataError)


def test_failed_download_says_which_files_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    import torchvision.datasets

    def fail(root: str, download: bool) -> None:
        raise RuntimeError(f"no network for {Path(root).name}")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    text = sentence(open_mnist, tmp_path, "train", kind=DataError)
    assert f"MNIST is not under {tmp_path} and could not be downloaded: no network for {tmp_path.name}." in text
    assert TRAIN in text
    assert TEST in text
    assert str(tmp_path / "MNIST" / "raw") in text
    assert "--data-root" in text


@pytest.mark.parametrize("there", [".", "root", "root/MNIST", "root/MNIST/raw"])
def test_a_failed_download_leaves_nothing_and_says_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, sentence):
    import torchvision.datasets

    def fail(root: str, download: bool) -> None:
        (Path(root) / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
        raise RuntimeError("Error downloading x.gz:\nTried a mirror, got:\nno network\n")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    text = sentence(open_mnist, tmp_path / "root", "train", kind=DataError)
    assert "could not be downloaded: Error downloading x.gz: Tried a mirror, got: no network." in text
    assert sorted(tmp_path.rglob("*")) == before


def test_download_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda root, download: write(Path(root) / "MNIST" / "raw" / f"{TEST}.gz", idx(3)))
    assert len(open_mnist(tmp_path, "test")) == 3


def test_real_files(real_data: Path):
    if find_images(real_data, "train") is None:
        pytest.skip(f"real MNIST: {TRAIN} is not under {real_data}")
    train, test = open_data("mnist", data_root=real_data), open_data("mnist", data_root=real_data, split="test")
    assert (len(train), train.validation, len(test), test.validation) == (60_000, 10_000, 10_000, 0)
    assert abs(train.values[:, 0, 2:30, 2:30].float().mean().item() / 255 - 0.1307) < 1e-4  # the known mean of MNIST
