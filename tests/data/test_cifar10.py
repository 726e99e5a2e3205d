"""CIFAR-10: the same images from pickles and records, from folders and archives; what is incomplete or damaged is named."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ardtool.data import cifar10
from ardtool.data.catalogue import open_data
from ardtool.data.cifar10 import FOLDERS, open_cifar10
from ardtool.errors import DataError

PER_BATCH = 4
NAMES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]


def images(batch: int) -> np.ndarray:
    """Different pixels in each place, channel and batch."""
    return np.random.default_rng(batch).integers(0, 256, (PER_BATCH, 3, 32, 32), dtype=np.uint8)


def pickled(batch: int) -> bytes:
    rows = images(batch).reshape(PER_BATCH, 3072)
    return pickle.dumps({b"data": rows, b"labels": [1] * PER_BATCH, b"batch_label": b"x", b"filenames": [b"y"] * PER_BATCH}, protocol=2)


def records(batch: int) -> bytes:
    return b"".join(bytes([label]) + image.tobytes() for label, image in zip((9, 0, 3, 1), images(batch), strict=True))


def files(binary: bool) -> dict[str, bytes]:
    folder, suffix, content = ("cifar-10-batches-bin", ".bin", records) if binary else ("cifar-10-batches-py", "", pickled)
    return {f"{folder}/{name}{suffix}": content(number) for number, name in enumerate(NAMES)} | {f"{folder}/readme.html": b"hello"}


def write_folder(root: Path, binary: bool) -> Path:
    for name, content in files(binary).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root / next(iter(files(binary))).partition("/")[0]


def write_archive(root: Path, binary: bool) -> Path:
    path = root / f"cifar-10-{'binary' if binary else 'python'}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in reversed(files(binary).items()):  # the published order is another one than that of the numbers
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a batch are complete, whatever their checksums; nothing is downloaded."""
    import torchvision.datasets

    def fail(root: str, download: bool) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(cifar10, "PER_BATCH", PER_BATCH)
    monkeypatch.setattr(cifar10, "VALIDATION", 4)
    monkeypatch.setattr(cifar10, "check_md5", lambda original, path, expected: None)
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)


@pytest.mark.parametrize("write", [write_folder, write_archive])
@pytest.mark.parametrize("binary", [False, True])
def test_the_same_images_from_every_form(tmp_path: Path, write, binary: bool):
    write(tmp_path, binary)
    train, test = (open_data("cifar10", data_root=tmp_path, split=split) for split in ("train", "test"))
    assert torch.equal(train.values, torch.from_numpy(np.concatenate([images(k) for k in range(5)])))  # red, green, blue; in order
    assert torch.equal(test.values, torch.from_numpy(images(5)))
    assert train.values.dtype == torch.uint8 and train.values.is_contiguous()
    assert (train.validation, test.validation) == (4, 0)
    assert train.settings == {"arch": "paper-cifar10", "epochs": 100}
    assert train.value_range == (0.0, 1.0)


@pytest.mark.parametrize("folder", FOLDERS)
def test_usual_folders(tmp_path: Path, folder: str):
    (tmp_path / folder).mkdir(exist_ok=True)
    inside = write_folder(tmp_path / folder, True)
    assert len(open_cifar10(tmp_path, "test")) == PER_BATCH
    assert len(open_cifar10(inside, "test")) == PER_BATCH  # the folder of the batches itself


def test_published_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    from torchvision.datasets import CIFAR10

    assert cifar10.PER_BATCH * 5 == 50_000 and cifar10.VALIDATION == 10_000
    published = {CIFAR10.filename: CIFAR10.tgz_md5} | dict(CIFAR10.train_list) | dict(CIFAR10.test_list)
    assert published.items() <= cifar10.CHECKSUMS.items()


def test_another_file_than_the_published_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    monkeypatch.undo()
    archive = write_archive(tmp_path, False)
    text = sentence(open_cifar10, tmp_path, "train", kind=DataError)
    assert f"{archive} is damaged, or not the published file: expected the MD5 checksum c58f30108f718f92721af3b95e74349a, found" in text
    assert "Get the published CIFAR-10 again from https://www.cs.toronto.edu/~kriz/cifar.html" in text
    folder = write_folder(tmp_path, False)
    text = sentence(open_cifar10, tmp_path, "test", kind=DataError)
    assert (
        f"{folder / 'test_batch'} is damaged, or not the published file: expected the MD5 checksum 40351d587109b95175f43aff81a1287e" in text
    )


@pytest.mark.parametrize("binary", [False, True])
def test_shorter_and_missing_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binary: bool, sentence):
    folder = write_folder(tmp_path, binary)
    third = folder / f"data_batch_3{'.bin' if binary else ''}"
    monkeypatch.setattr(cifar10, "PER_BATCH", PER_BATCH + 1)
    text = sentence(open_cifar10, tmp_path, "test", kind=DataError)
    assert ("test_batch.bin has 12,292 bytes; expected 15,365 for 5 images" if binary else "expected uint8 with shape (5, 3072)") in text
    monkeypatch.setattr(cifar10, "PER_BATCH", PER_BATCH)
    third.unlink()
    assert f"{folder} is incomplete: {third.name} is not in it." in sentence(open_cifar10, tmp_path, "train", kind=DataError)
    assert len(open_cifar10(tmp_path, "test")) == PER_BATCH


def test_damaged_and_incomplete_archives(tmp_path: Path, sentence):
    path = write_archive(tmp_path, False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{path} cannot be read: " in sentence(open_cifar10, tmp_path, "train", kind=DataError)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("cifar-10-batches-py/readme.html"))
    assert f"{path} is incomplete: test_batch is not in it." in sentence(open_cifar10, tmp_path, "test", kind=DataError)


def test_wrong_contents(tmp_path: Path, sentence):
    binary, python = write_folder(tmp_path / "b", True), write_folder(tmp_path / "p", False)
    (binary / "test_batch.bin").write_bytes(bytes([10]) + records(5)[1:])
    assert "is no batch of CIFAR-10: found the class 10, expected 0 to 9" in sentence(open_cifar10, tmp_path / "b", "test", kind=DataError)
    (python / "test_batch").write_bytes(pickle.dumps({"images": images(0)}))
    assert "test_batch has no array 'data'; found images." in sentence(open_cifar10, tmp_path / "p", "test", kind=DataError)
    (python / "test_batch").write_bytes(pickle.dumps({"data": images(0).reshape(PER_BATCH, 3072).astype(float)}))
    assert "'data' is float64 with shape (4, 3072); expected uint8" in sentence(open_cifar10, tmp_path / "p", "test", kind=DataError)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, sentence):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    folder = write_folder(tmp_path, False)
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": Evil()}, protocol=2))
    text = sentence(open_cifar10, tmp_path, "test", kind=DataError)
    assert f"{folder / 'test_batch'} is refused: it asks for posix.mkdir" in text
    assert not (tmp_path / "trace").exists()


def test_nothing_found_and_nothing_downloaded(tmp_path: Path, sentence):
    text = sentence(open_cifar10, tmp_path / "new", "train", kind=DataError)
    assert f"CIFAR-10 is not under {tmp_path / 'new'} and could not be downloaded: no network." in text
    assert "Put cifar-10-python.tar.gz or cifar-10-binary.tar.gz (packed, or the folder that is in it)" in text
    assert f"into {tmp_path / 'new' / 'cifar10'}, or name another folder with --data-root." in text
    assert "--arch paper-cifar10" in text
    assert list(tmp_path.iterdir()) == []


def test_download_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torchvision.datasets

    def fetch(root: str, download: bool) -> None:
        write_folder(Path(root), False)

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fetch)
    assert len(open_cifar10(tmp_path, "train")) == 5 * PER_BATCH
