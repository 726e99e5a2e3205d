"""ImageNet 32×32: the same images from pickles, .npz and image files, in order, into one array; nothing incomplete passes."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ardtool.data import imagenet32
from ardtool.data.catalogue import open_data
from ardtool.data.imagenet32 import open_imagenet32
from ardtool.errors import DataError

SIZES = {f"train_data_batch_{k}": 3 if k < 10 else 5 for k in range(1, 11)}
N = sum(SIZES.values())


def images(name: str, count: int) -> np.ndarray:
    return np.random.default_rng(len(name) + ord(name[-1])).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def write_batches(folder: Path, npz: bool, sizes: dict[str, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in sizes.items():
        content = {"data": images(name, count).reshape(count, 3072), "labels": [7] * count, "mean": np.full(3072, 0.5)}
        if npz:
            np.savez(folder / f"{name}.npz", **content)
        else:
            (folder / name).write_bytes(pickle.dumps(content))


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (32, 32), (number, 2 * number, 255 - number)).save(folder / f"{number:05d}.png")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet32, "BATCHES", {"train": SIZES, "test": {"val_data": 6}})
    monkeypatch.setattr(imagenet32, "IMAGE_COUNTS", {"train": (30, 40), "test": (6, 8)})
    monkeypatch.setattr(imagenet32, "VALIDATION", 4)


@pytest.mark.parametrize("npz", [False, True])
@pytest.mark.parametrize(
    ("train", "test"),
    [(".", "."), ("Imagenet32_train", "Imagenet32_val"), ("imagenet32/Imagenet32_train_npz", "imagenet32/Imagenet32_val_npz")],
)
def test_batches_in_order(tmp_path: Path, train: str, test: str, npz: bool):
    write_batches(tmp_path / train, npz, SIZES)
    write_batches(tmp_path / test, npz, {"val_data": 6})
    data, other = (open_data("imagenet32", data_root=tmp_path, split=split) for split in ("train", "test"))
    expected = np.concatenate([images(name, count) for name, count in SIZES.items()])  # 10 comes last, not after 1
    assert torch.equal(data.values, torch.from_numpy(expected))
    assert torch.equal(other.values, torch.from_numpy(images("val_data", 6)))
    assert data.values.is_contiguous()
    assert (data.validation, other.validation) == (4, 0)
    assert data.settings == {"arch": "paper-imagenet32", "epochs": 50}
    assert data.value_range == (0.0, 1.0)


def test_published_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert list(imagenet32.BATCHES["train"]) == [f"train_data_batch_{k}" for k in range(1, 11)]
    assert sum(imagenet32.BATCHES["train"].values()) == 1_281_167
    assert imagenet32.BATCHES["test"] == {"val_data": 50_000}


def test_memory_is_the_array_and_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes = dict.fromkeys(SIZES, 200)
    monkeypatch.setattr(imagenet32, "BATCHES", {"train": sizes})
    write_batches(tmp_path, False, sizes)
    batch = 200 * 3072
    tracemalloc.start()
    data = open_imagenet32(tmp_path, "train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data) == 2000
    assert peak < 2.5 * batch  # the array itself is torch's, which is not traced; reading one batch takes its bytes, not those of ten


def test_image_files(tmp_path: Path):
    write_images(tmp_path / "train_32x32", 30)
    write_images(tmp_path / "valid_32x32", 6)
    data, other = (open_data("imagenet32", data_root=tmp_path, split=split) for split in ("train", "test"))
    order = data.values[:, 0, 0, 0].tolist()
    assert order[-4:] == [3, 11, 18, 26]  # evenly spaced: their names may be sorted by class
    assert order[:-4] == sorted(set(range(30)) - {3, 11, 18, 26})
    assert torch.equal(data.values[:, 1, 5, 5], 2 * data.values[:, 0, 9, 9])
    assert other.values[:, 0, 0, 0].tolist() == list(range(6))
    assert (data.validation, other.validation) == (4, 0)


def test_own_folder_in_its_home(tmp_path: Path):
    write_images(tmp_path / "imagenet32" / "train" / "n01440764", 40)
    assert open_imagenet32(tmp_path, "train").values.shape == (40, 3, 32, 32)


def test_another_number_or_size_of_images(tmp_path: Path, sentence):
    write_images(tmp_path / "train_32x32", 29)
    text = sentence(open_imagenet32, tmp_path, "train", kind=DataError)
    assert f"ImageNet 32x32 is incomplete: {tmp_path / 'train_32x32'} holds 29 images; expected 30 or 40." in text
    Image.new("RGB", (32, 31)).save(tmp_path / "train_32x32" / "x.png")
    text = sentence(open_imagenet32, tmp_path, "train", kind=DataError)
    assert "the image 'x.png' cannot be used: it has 31x32 pixels (height x width); expected 32x32." in text


@pytest.mark.parametrize("npz", [False, True])
def test_incomplete_and_damaged_batches(tmp_path: Path, npz: bool, monkeypatch: pytest.MonkeyPatch, sentence):
    ending = ".npz" if npz else ""
    write_batches(tmp_path, npz, SIZES)
    last = tmp_path / f"train_data_batch_10{ending}"
    whole = last.read_bytes()
    last.unlink()
    (tmp_path / f"train_data_batch_7{ending}").unlink()
    text = sentence(open_imagenet32, tmp_path, "train", kind=DataError)
    assert f"{tmp_path} is incomplete: train_data_batch_7{ending}, train_data_batch_10{ending} is not in it." in text
    write_batches(tmp_path, npz, SIZES)
    last.write_bytes(whole[: len(whole) // 2])
    assert f"{last} cannot be read" in sentence(open_imagenet32, tmp_path, "train", kind=DataError)
    last.write_bytes(whole)
    monkeypatch.setattr(imagenet32, "BATCHES", {"train": SIZES | {"train_data_batch_10": 128_123}})
    text = sentence(open_imagenet32, tmp_path, "train", kind=DataError)
    assert f"{last}: 'data' is uint8 with shape (5, 3072); expected uint8 with shape (128123, 3072)." in text


def test_wrong_keys_and_code(tmp_path: Path, sentence):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trace"),)

    np.savez(tmp_path / "val_data.npz", images=np.zeros(3), labels=np.zeros(3))
    assert "has no array 'data'; found images, labels." in sentence(open_imagenet32, tmp_path, "test", kind=DataError)
    np.savez(tmp_path / "val_data.npz", data=np.array([Evil()], dtype=object))
    assert "val_data.npz: 'data' is object with shape (1,); expected uint8" in sentence(open_imagenet32, tmp_path, "test", kind=DataError)
    (tmp_path / "val_data").write_bytes(pickle.dumps({"data": Evil()}))
    assert f"{tmp_path / 'val_data'} is refused: it asks for posix.mkdir" in sentence(open_imagenet32, tmp_path, "test", kind=DataError)
    assert not (tmp_path / "trace").exists()


def test_nothing_found(tmp_path: Path, sentence):
    text = sentence(open_imagenet32, tmp_path, "train", kind=DataError)
    assert f"ImageNet 32x32 is not under {tmp_path}." in text
    assert "Put train_data_batch_1 … train_data_batch_10 and val_data" in text
    assert f"into {tmp_path / 'imagenet32'}, or name another folder with --data-root." in text
    assert "https://image-net.org/download-images" in text and "--arch paper-imagenet32" in text
