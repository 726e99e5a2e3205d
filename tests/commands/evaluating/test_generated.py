"""Somebody else's samples are read like data, and compared in the units of the data or not at all."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ardtool
from ardtool.commands.evaluating.features import samples_of
from ardtool.commands.evaluating.generated import open_generated
from ardtool.data.catalogue import open_data
from ardtool.data.dataset import DataSet
from ardtool.errors import DataError

IMAGES = torch.randint(0, 256, (7, 3, 8, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
DATA = DataSet("data", IMAGES, (0.0, 1.0))
ALL = slice(None)


def save_images(folder: Path) -> Path:
    folder.mkdir()
    for number, image in enumerate(IMAGES):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder


def refused(path: Path | str, data: DataSet = DATA) -> str:
    with pytest.raises(DataError) as caught:
        open_generated(path, data)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("kind", ["folder", "zip", "npz", "npy", "channels first", "unit", "tanh", "real bytes"])
def test_images_are_the_same_bytes_wherever_they_lie(tmp_path: Path, kind: str):
    last = IMAGES.permute(0, 2, 3, 1).numpy()
    path = tmp_path / "samples.npy"
    if kind in ("folder", "zip"):
        path = save_images(tmp_path / "samples")
        if kind == "zip":
            with zipfile.ZipFile(tmp_path / "samples.zip", "w") as archive:
                for file in path.iterdir():
                    archive.write(file, file.name)
            path = tmp_path / "samples.zip"
    elif kind == "npz":
        path = tmp_path / "samples.npz"
        np.savez(path, samples=last)
    else:
        np.save(
            path, {"unit": last / 255, "tanh": last / 127.5 - 1, "real bytes": last * 1.0, "channels first": IMAGES.numpy()}.get(kind, last)
        )
    found = open_generated(path, DATA)
    assert len(found) == 7
    assert samples_of(found, ALL).equal(IMAGES)


def test_images_are_brought_to_the_size_and_colours_of_the_data(tmp_path: Path):
    folder = save_images(tmp_path / "samples")
    grey = DataSet("data", IMAGES[:, :1, :4, :5].clone(), (0.0, 1.0))
    found = open_generated(folder, grey)
    assert samples_of(found, ALL).shape == (7, 1, 4, 5)
    assert any("resized" in note for note in found.notes)


def test_a_path_is_no_name_of_a_data_set(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused("sprites") == "--generated sprites does not exist."
    save_images(tmp_path / "sprites")
    assert samples_of(open_generated("sprites", DATA), ALL).equal(IMAGES)


def test_numbers_in_odd_units_are_those_of_the_data(tmp_path: Path):
    units = np.linspace(-3, 7, 2 * 36, dtype=np.float32).reshape(2, 6, 6)
    np.save(tmp_path / "data.npy", units)
    data = open_data(str(tmp_path / "data.npy"))
    assert data.pixel_map == (-3.0, 7.0)
    np.save(tmp_path / "samples.npy", np.concatenate([units[:, ::-1] * 0.9, units[:1] * 1.1]))
    found = open_generated(tmp_path / "samples.npy", data)
    inside = np.clip(units[0] * 1.1, -3, 7)
    np.testing.assert_allclose(samples_of(found, ALL)[2, 0], (inside + 3) / 10 * 255, atol=0.501)
    outside = (units[0] * 1.1 != inside).sum() / (3 * 36)
    assert found.notes[-1] == f"{outside:.2%} of the pixel values lie outside [-3, 7] and are clipped."

    said = refused(tmp_path / "samples.npy", DataSet("bytes", torch.zeros(3, 1, 6, 6, dtype=torch.uint8), (0.0, 1.0)))
    assert said.startswith(f"--generated {tmp_path / 'samples.npy'}: the pixel values lie in [-3.3, 6.3]; ")
    assert said.endswith("; expected bytes, or numbers in [0, 1], [-1, 1] or 0 to 255.")


def test_vectors_stay_in_the_users_units(tmp_path: Path):
    vectors = np.random.default_rng(0).normal(size=(9, 4)) * 1e6
    np.save(tmp_path / "x.npy", vectors)
    found = open_generated(tmp_path / "x.npy", DataSet("data", torch.zeros(5, 4)))
    np.testing.assert_array_equal(samples_of(found, ALL), vectors)


def test_what_sample_writes_is_read(images_run, tmp_path: Path):
    data = DataSet("data", torch.zeros(3, 1, 16, 16, dtype=torch.uint8), (0.0, 1.0))
    for out in ("samples.npz", "folder"):
        ardtool.sample(images_run.model, n=5, seed=3, out=tmp_path / out)
    found = samples_of(open_generated(tmp_path / "samples.npz", data), ALL)
    assert found.float().std() > 1
    assert samples_of(open_generated(tmp_path / "folder", data), ALL).equal(found)


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path):
    path = tmp_path / "x.npy"
    words, start = "3×8×10 pixels (channels × height × width)", f"--generated {path} holds samples of "
    np.save(path, np.zeros((4, 8, 8)))
    assert refused(path) == f"{start}1×8×10 pixels (channels × height × width); the data are {words}."
    np.save(path, np.zeros((4, 5)))
    assert refused(path) == f"{start}5 numbers; the data are {words}."
    assert refused(path, DataSet("x", torch.zeros(3, 6))) == f"{start}5 numbers; the data are 6 numbers."
    np.save(path, np.zeros((1, 5)))
    assert refused(path, DataSet("x", torch.zeros(3, 5))) == f"--generated {path} holds 1 sample; at least 2 are needed."
    np.save(path, np.full((4, 5), np.nan))
    assert "NaN, infinite or beyond float32" in refused(path, DataSet("x", torch.zeros(3, 5)))
    assert refused(tmp_path / "none") == f"--generated {tmp_path / 'none'} does not exist."
