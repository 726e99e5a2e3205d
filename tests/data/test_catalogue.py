"""The one door to all data: names, paths, and what is said when neither fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ardtool.data.catalogue import catalogue, default_data_root, named_set, open_data
from ardtool.errors import ConfigError, DataError

PATHS = "a folder, .zip, .tar, .npy, .npz or .csv"
SPRITES = ["sprites", "sprites-2", "sprites-3", "sprites-4", "sprites-5", "sprites-6"]
ORIGINALS = ["mnist", "fashion-mnist", "cifar10", "celeba", "imagenet32", "dsprites", "shapes3d"]
NAMES = sorted([*ORIGINALS, *SPRITES, "dsprites-render", "shapes3d-render"])


def test_all_are_there_sorted_and_described():
    sets = catalogue()
    assert [each.name for each in sets] == NAMES
    assert all(each.summary and each.licence for each in sets)
    assert {each.name for each in sets if each.original is None} == set(NAMES) - set(ORIGINALS)
    assert {each.name for each in sets if each.downloads} == {"mnist", "fashion-mnist", "cifar10"}
    assert named_set("mnist") in sets


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ORIGINALS])
def test_what_is_said_of_drawn_sets_is_so(name: str):
    said, splits = named_set(name), [open_data(name, split=split) for split in ("train", "test")]
    assert said.shape == splits[0].shape
    assert said.samples == (len(splits[0]) if splits[0].grid else sum(map(len, splits)))  # a grid has no test split
    assert tuple(said.factors) == splits[0].factor_names
    assert tuple(factor for factor, size in said.factors.items() if size != 1) == splits[0].varying_factors


@pytest.mark.parametrize("name", SPRITES)
def test_named_sprites(name: str):
    data = open_data(name, split="test")
    count = int(name.partition("-")[2] or 4)
    assert data.name == name
    assert data.factors.shape == (2000, count) == (len(data), len(data.factor_names))


@pytest.mark.parametrize("name", [name for name in ORIGINALS if "mnist" not in name])
def test_the_papers_settings_name_its_own_network(name: str):
    from importlib import import_module

    from ardtool.networks.specs import PAPER_NETWORKS
    from ardtool.objectives.ard_vae import ArdVae

    settings = import_module(f"ardtool.data.{name}").SETTINGS
    assert settings["arch"] == f"paper-{name}"
    assert settings["arch"] in PAPER_NETWORKS
    assert name in ArdVae.table  # β comes from there
    assert settings["epochs"] == {"cifar10": 100, "celeba": 50, "imagenet32": 50, "dsprites": 35, "shapes3d": 60}[name]


def test_sprites_have_four_factors():
    assert open_data("sprites", split="test").sha256() == open_data("sprites-4", split="test").sha256()


def test_paths_of_every_kind(tmp_path: Path):
    vectors = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    np.save(tmp_path / "a b.npy", vectors)
    np.savez(tmp_path / "c.NPZ", x=vectors)
    (tmp_path / "c.NPZ.npz").rename(tmp_path / "c.NPZ")
    (tmp_path / "pics.v2").mkdir()
    for number in (10, 200):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "pics.v2" / f"{number}.png")
    for file, name in (("a b.npy", "a-b"), ("c.NPZ", "c")):
        data = open_data(str(tmp_path / file))
        assert torch.equal(data.values, torch.from_numpy(vectors))
        assert data.name == name
    data = open_data(str(tmp_path / "pics.v2"), image_size="16")
    assert data.values.shape == (2, 3, 16, 16)
    assert data.name == "pics.v2"
    assert open_data(str(tmp_path / "pics.v2"), split="test").values.shape == (2, 3, 8, 8)


def test_a_name_wins_over_a_folder_and_dot_slash_means_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("sprites", "mine"):
        Path(folder).mkdir()
        for number in (10, 200):
            Image.new("L", (8, 8), number).save(Path(folder) / f"{number}.png")
    assert len(open_data("sprites", split="test")) == 2000
    assert open_data("./sprites").shape == (1, 8, 8)
    assert open_data("mine").name == "mine"
    assert open_data("./mine/../mine").name == "mine"


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "v.npy", np.eye(3))
    assert open_data("~/v.npy").shape == (3,)


@pytest.mark.parametrize(("written", "meant"), [("mnits", "mnist"), ("MNIST", "mnist"), ("sprite", "sprites"), ("sprites-7", "sprites-")])
def test_near_names_are_suggested(written: str, meant: str, sentence):
    text = sentence(open_data, written, kind=DataError)
    assert f"Unknown data set '{written}'; expected one of {', '.join(NAMES)}, or a path to {PATHS}." in text
    assert f"Did you mean '{meant}" in text


@pytest.mark.parametrize("written", ["qqqq", ""])
def test_strange_names_lead_to_the_list(written: str, sentence):
    text = sentence(open_data, written, kind=DataError)
    assert f"Unknown data set '{written}'" in text
    assert "`ardtool data` lists the names" in text
    assert "Did you mean" not in text


@pytest.mark.parametrize("written", ["photos/", "missing.npy", "a/b", "~/nowhere-at-all"])
def test_missing_paths(written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    monkeypatch.chdir(tmp_path)
    text = sentence(open_data, written, kind=DataError)
    assert f"The data path '{written}' does not exist." in text
    assert "a name from `ardtool data`" in text


def test_unknown_kinds_of_files(tmp_path: Path, sentence):
    for name, said in (("x.txt", "Files that end in '.txt' are not read"), ("plain", "A file without a suffix is not read")):
        (tmp_path / name).write_text("1,2")
        text = sentence(open_data, str(tmp_path / name), kind=DataError)
        assert f"{tmp_path / name}: {said}; expected {PATHS}." in text
        assert "numpy.save" in text


def test_a_single_image_leads_to_its_folder(tmp_path: Path, sentence):
    (tmp_path / "x.png").write_bytes(b"")
    text = sentence(open_data, str(tmp_path / "x.png"), kind=DataError)
    assert f"Name the folder that holds the images: {tmp_path}." in text


def test_paths_that_cannot_be_looked_at(sentence):
    text = sentence(open_data, "x" * 5000, kind=DataError)
    assert "cannot be read: File name too long." in text


def test_wrong_requests(sentence):
    assert "Unknown split 'valid'; expected train or test." in sentence(open_data, "sprites", split="valid", kind=DataError)
    assert "The image size 'huge' is not usable" in sentence(open_data, "sprites", image_size="huge", kind=ConfigError)


def test_named_data_are_resized_when_asked(tmp_path: Path, small_mnist):
    small_mnist(tmp_path)
    native, larger = (open_data("mnist", data_root=tmp_path, image_size=size) for size in ("32", "40x48"))
    assert native.shape == (1, 32, 32)
    assert native.notes == ()
    assert native.settings
    assert larger.shape == (1, 40, 48)
    assert larger.validation == native.validation
    assert larger.notes == ("The images are resized from 32x32 to 40x48 pixels (height x width).",)
    assert larger.settings == {}  # they name a network for 32×32


def test_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ARDTOOL_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    for empty in ("", None):
        monkeypatch.setenv("ARDTOOL_DATA", "") if empty == "" else monkeypatch.delenv("ARDTOOL_DATA")
        assert default_data_root() == Path("data")


def test_data_root_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_mnist):
    monkeypatch.setenv("ARDTOOL_DATA", str(tmp_path))
    small_mnist(tmp_path)
    assert open_data("mnist").shape == (1, 32, 32)


def test_importing_is_light():
    modules = ", ".join(f"ardtool.data.{name}" for name in ("catalogue", "images", "arrays", "tables", "dataset", "shapes3d_rays"))
    code = f"import sys, {modules}; print([m for m in ('PIL', 'torchvision', 'matplotlib', 'sklearn', 'h5py') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]", done.stderr
