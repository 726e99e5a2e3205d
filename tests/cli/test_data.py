"""`ardtool data`: the list, and one set of it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with dSprites, and half of MNIST."""
    for name in ("dsprites/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz", "MNIST/raw/t10k-images-idx3-ubyte"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True)
        path.touch()
    return tmp_path / "root"


def row(text: str, name: str) -> str:
    """The words of the first line that starts with a name, with one blank between them."""
    return " ".join(next(line for line in text.splitlines() if line.split()[:1] == [name]).split())


def test_the_list_says_what_is_there_and_what_is_known(ardtool, root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = ardtool("data", "--data-root", root).stdout
    assert row(text, "dsprites") == "dsprites 1x64x64 737,280 5 a white shape on black found in dsprites"
    assert row(text, "celeba").endswith("not there")
    assert row(text, "cifar10").endswith("will be downloaded")
    assert row(text, "sprites-6") == "sprites-6 3x32x32 12,000 6 a soft ellipse drawn, no files"
    assert "incomplete: in MNIST/raw" in row(text, "mnist")
    words = " ".join(text.split())
    assert "dsprites, dsprites-render colour (constant), shape (3), scale (6), orientation (40), x position (32), y position (32)" in words
    assert "shapes3d 3dshapes.h5 · in ./, shapes3d, 3dshapes, 3d-shapes, 3d_shapes · Apache 2.0" in words
    assert f"{root} (exists); change it with --data-root or $ARDTOOL_DATA" in words
    assert "--data PATH a folder, .zip or .tar of images" in words
    assert all(len(line) <= 100 for line in text.splitlines() if str(root) not in line)


def test_the_list_as_json(ardtool, root: Path):
    result = ardtool.json("data", "--data-root", root)
    assert (result["data_root"], result["data_root_exists"]) == (str(root), True)
    states = {each["name"]: each["status"] for each in result["data"]}
    assert {name: states[name] for name in ("dsprites", "mnist", "celeba", "sprites")} == {
        "dsprites": "complete",
        "mnist": "incomplete",
        "celeba": "missing",
        "sprites": "drawn",
    }
    keys = {"name", "summary", "shape", "samples", "licence", "factors", "looked_for", "found", "status"}
    assert all(keys <= set(each) for each in result["data"])
    assert ardtool.json("data", "mnist", "--data-root", root)["data"] == [each for each in result["data"] if each["name"] == "mnist"]


def test_one_data_set_in_full(ardtool, root: Path):
    words = " ".join(ardtool("data", "mnist", "--data-root", root).stdout.split())
    assert words.startswith("mnist handwritten digits samples 70,000 of 1x32x32 factors none known licence ")
    assert "in ./, raw, MNIST/raw, mnist" in words
    assert "incomplete: in MNIST/raw without train-images-idx3-ubyte" in words
    assert f"put them into {root}/MNIST/raw" in words
    complete = ardtool("data", "dsprites", "--data-root", root).stdout
    assert "put them into" not in complete
    assert "https://github.com/google-deepmind/dsprites-dataset" in complete


def test_a_name_that_there_is_not(ardtool):
    sentence, hint = ardtool.error("data", "mnits")
    assert sentence.startswith("Unknown data set 'mnits'; expected one of celeba, cifar10,")
    assert hint == "Did you mean 'mnist'?"
