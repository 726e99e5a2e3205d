"""3D Shapes: one set of images and factors from chunks and from one piece, mapped where that is possible."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ardtool.data import shapes3d
from ardtool.data.catalogue import open_data
from ardtool.data.factors import FactorGrid
from ardtool.data.shapes3d import FILE, FOLDERS, open_shapes3d
from ardtool.errors import DataError

h5py = pytest.importorskip("h5py")

GRID = FactorGrid(shapes3d.GRID.names, (2, 1, 3, 1, 2, 1))
IMAGES = np.random.default_rng(0).integers(0, 256, (len(GRID), 64, 64, 3), dtype=np.uint8)
VALUES = ((0.0, 0.5), (0.3,), (0.1, 0.2, 0.9), (0.75,), (0.0, 3.0), (-30.0,))
LABELS = np.array([[VALUES[k][int(v)] for k, v in enumerate(row)] for row in GRID.factors_of(torch.arange(len(GRID)))])
COMPRESSED: dict[str, Any] = {"chunks": (5, 16, 16, 1), "compression": "gzip"}


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, images: Any = IMAGES, labels: Any = LABELS, **options: Any) -> Path:
    """The file; its checksum becomes the expected one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with h5py.File(path, "w") as file:
        if images is not None:
            file.create_dataset("images", data=images, **options)
        if labels is not None:
            file.create_dataset("labels", data=labels)
    monkeypatch.setattr(shapes3d, "CHECKSUM", hashlib.md5(path.read_bytes()).hexdigest())
    return path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes3d, "GRID", GRID)
    monkeypatch.setattr(shapes3d, "BLOCK", 4)


@pytest.mark.parametrize("options", [{}, COMPRESSED, {"chunks": (1, 64, 64, 3)}, {"chunks": (12, 8, 8, 3), "compression": "lzf"}])
def test_images_and_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict):
    write(tmp_path, monkeypatch, **options)
    data = open_data("shapes3d", data_root=tmp_path)
    expected = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    assert torch.equal(data.values, expected)
    assert torch.equal(data.factors, GRID.factors_of(torch.arange(len(GRID))))
    assert data.factors.dtype == torch.int64
    assert data.factor_names == ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")
    assert data.settings == {"arch": "paper-shapes3d", "epochs": 60}
    assert (data.value_range, data.validation, data.notes) == ((0.0, 1.0), 0, ())
    for index in (torch.tensor([7, 2]), slice(3, 6)):
        batch = data.batch(index)
        assert batch.is_contiguous()
        assert torch.equal(batch, expected[index].float() / 255)
    assert data.sha256() == open_data("shapes3d", data_root=tmp_path, split="test").sha256()


def test_both_forms_have_one_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hashes = set()
    for name, options in (("a", {}), ("b", COMPRESSED)):
        write(tmp_path / name, monkeypatch, **options)
        hashes.add(open_shapes3d(tmp_path / name, "train").sha256())
    assert len(hashes) == 1


def test_one_piece_is_mapped_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path, monkeypatch)
    before = path.read_bytes()
    monkeypatch.setattr(shapes3d, "CHECKSUM", "of the compressed file")  # a copy in one piece has another, and is not read whole
    data = open_shapes3d(tmp_path, "train")
    with path.open("r+b") as file:
        file.seek(before.find(IMAGES.tobytes()))
        file.write(bytes([IMAGES[0, 0, 0, 0] ^ 255]))
    assert int(data.values[0, 0, 0, 0]) == int(IMAGES[0, 0, 0, 0]) ^ 255  # what the file holds now: nothing was copied
    after = path.read_bytes()
    data.values[0] = 7
    assert path.read_bytes() == after


@pytest.mark.parametrize("folder", FOLDERS)
def test_usual_folders(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / folder, monkeypatch, **COMPRESSED)
    data = open_shapes3d(tmp_path, "test")
    assert len(data) == len(GRID)
    assert data.notes == ("3D Shapes has no test split: these are all its images.",)


def test_published_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert len(shapes3d.GRID) == 480_000
    assert shapes3d.CHECKSUM == "099a2078d58cec4daad0702c55d06868"


def test_another_compressed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    path = write(tmp_path, monkeypatch, **COMPRESSED)
    monkeypatch.setattr(shapes3d, "CHECKSUM", "099a2078d58cec4daad0702c55d06868")
    text = sentence(open_shapes3d, tmp_path, "train", kind=DataError)
    assert f"{path} is damaged, or not the published file: expected the MD5 checksum 099a2078d58cec4daad0702c55d06868" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": IMAGES[:-1]}, "'images' is uint8 with shape (11, 64, 64, 3); expected uint8 with shape (12, 64, 64, 3)."),
        ({"images": IMAGES.astype("float32")}, "'images' is float32 with shape"),
        ({"images": None}, "has no array 'images'; found labels."),
        ({"labels": None}, "has no array 'labels'; found images."),
        ({"labels": LABELS[::-1].copy()}, "'labels' is not the grid of floor hue (2), wall hue (1), object hue (3), scale (1)"),
        ({"labels": LABELS[:, :5]}, "'labels' is float64 with shape (12, 5); expected float64 with shape (12, 6)."),
    ],
)
def test_wrong_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence, changes: dict, said: str):
    path = write(tmp_path, monkeypatch, **changes)
    text = sentence(open_shapes3d, tmp_path, "train", kind=DataError)
    assert text.startswith(str(path))
    assert said in text


@pytest.mark.parametrize("options", [{}, COMPRESSED])
def test_truncated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence, options: dict):
    path = write(tmp_path, monkeypatch, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{path} cannot be read: " in sentence(open_shapes3d, tmp_path, "train", kind=DataError)


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    monkeypatch.setitem(sys.modules, "h5py", None)
    text = sentence(open_shapes3d, tmp_path, "train", kind=DataError)
    assert f"3D Shapes is not under {tmp_path}. Hint: Put {FILE} into {tmp_path / 'shapes3d'}" in text  # the file first
    path = tmp_path / FILE
    path.touch()
    text = sentence(open_shapes3d, tmp_path, "train", kind=DataError)
    assert text == f"Reading {path} needs h5py, which is not installed. Hint: `pip install h5py`."
