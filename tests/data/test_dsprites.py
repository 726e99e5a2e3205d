"""dSprites: values 0 and 1 become black and white, factors come along, and only the published file passes."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ardtool.data import dsprites
from ardtool.data.catalogue import open_data
from ardtool.data.dsprites import FILE, FOLDERS, open_dsprites
from ardtool.data.dsprites_render import CONSTANT, GRID
from ardtool.errors import DataError

COUNT = 10
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 2, (COUNT, 64, 64), dtype=np.uint8)
CLASSES = np.stack([np.zeros(COUNT, int), *(np.arange(COUNT) % k for k in (3, 6, 40, 32, 31))], axis=1)


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: np.ndarray | None) -> Path:
    """The file with its five entries, one of which is pickled; its checksum becomes the expected one."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = np.array({"date": "April 2017", "latents_names": GRID.names}, dtype=object)
    entries = {"metadata": metadata, "imgs": IMAGES, "latents_classes": CLASSES, "latents_values": CLASSES.astype(float)} | changes
    path = folder / FILE
    np.savez_compressed(path, **{key: value for key, value in entries.items() if value is not None})
    monkeypatch.setattr(dsprites, "CHECKSUM", hashlib.md5(path.read_bytes()).hexdigest())
    return path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsprites, "COUNT", COUNT)
    monkeypatch.setattr(dsprites, "BLOCK", 4)  # the last block is a part of one


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_and_factors(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / folder, monkeypatch)
    data = open_data("dsprites", data_root=tmp_path)
    assert torch.equal(data.values, torch.from_numpy(255 * IMAGES[:, None]))
    assert torch.equal(data.factors, torch.from_numpy(CLASSES))
    assert data.factors.dtype == torch.int64
    assert data.factor_names == ("colour", "shape", "scale", "orientation", "x position", "y position")
    assert data.settings == {"arch": "paper-dsprites", "epochs": 35, "likelihood": "bernoulli"}
    assert (data.value_range, data.validation, data.notes) == ((0.0, 1.0), 0, (CONSTANT,))
    assert data.varying_factors == ("shape", "scale", "orientation", "x position", "y position")
    assert set(data.batch(slice(None)).unique().tolist()) == {0.0, 1.0}


def test_the_same_images_as_from_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path, monkeypatch)
    named, by_path = open_data("dsprites", data_root=tmp_path), open_data(str(path))
    assert named.sha256() == by_path.sha256()
    assert named.pixel_map == by_path.pixel_map == (0.0, 1.0)


def test_there_is_no_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, monkeypatch)
    data = open_data("dsprites", data_root=tmp_path, split="test")
    assert len(data) == COUNT
    assert data.notes == (CONSTANT, "dSprites has no test split: these are all its images.")


def test_published_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert dsprites.COUNT == 1 * 3 * 6 * 40 * 32 * 32


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    path = write(tmp_path, monkeypatch)
    monkeypatch.setattr(dsprites, "CHECKSUM", "7da33b31b13a06f4b04a70402ce90c2e")
    text = sentence(open_dsprites, tmp_path, "train", kind=DataError)
    assert f"{path} is damaged, or not the published file: expected the MD5 checksum 7da33b31b13a06f4b04a70402ce90c2e, found " in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"imgs": IMAGES[:-1]}, "'imgs' is uint8 with shape (9, 64, 64); expected uint8 with shape (10, 64, 64)."),
        ({"imgs": IMAGES.astype(float)}, "'imgs' is float64 with shape"),
        ({"imgs": np.asfortranarray(IMAGES)}, "with shape (10, 64, 64), by columns; expected"),
        ({"imgs": 2 * IMAGES}, "'imgs' holds 2; expected 0 and 1 only."),
        ({"imgs": None}, "has no array 'imgs'; found "),
        ({"latents_classes": CLASSES[:, 1:]}, "'latents_classes' is int64 with shape (10, 5); expected int64 with shape (10, 6)."),
        ({"latents_classes": None}, "has no array 'latents_classes'; found "),
        ({"latents_classes": np.array([{}], dtype=object)}, "'latents_classes' is object with shape (1,); expected int64"),
    ],
)
def test_wrong_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence, changes: dict, said: str):
    path = write(tmp_path, monkeypatch, **changes)
    text = sentence(open_dsprites, tmp_path, "train", kind=DataError)
    assert text.startswith(str(path))
    assert said in text


def test_truncated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    path = write(tmp_path, monkeypatch)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(dsprites, "CHECKSUM", hashlib.md5(path.read_bytes()).hexdigest())
    assert f"{path} cannot be read: File is not a zip file." in sentence(open_dsprites, tmp_path, "train", kind=DataError)
    with zipfile.ZipFile(path, "w") as archive:
        header = np.lib.format.header_data_from_array_1_0(IMAGES)
        with archive.open("imgs.npy", "w") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(IMAGES.tobytes()[:-1])
    monkeypatch.setattr(dsprites, "CHECKSUM", hashlib.md5(path.read_bytes()).hexdigest())
    assert f"{path} is truncated: 'imgs' ends too early." in sentence(open_dsprites, tmp_path, "train", kind=DataError)


def test_nothing_found(tmp_path: Path, sentence):
    text = sentence(open_dsprites, tmp_path, "train", kind=DataError)
    assert (
        f"dSprites is not under {tmp_path}. Hint: Put {FILE} into {tmp_path / 'dsprites'}, or name another folder with --data-root." in text
    )
    assert "Without: --data dsprites-render draws such images" in text
