"""Folders of images on the command line: decoded once, with or without the bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(ardtool, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARDTOOL_CACHE", "cache")
    folder = Path("photos")
    folder.mkdir()
    for number in range(30):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number:02}.png")
    return folder


def train(folder: Path, *arguments: object) -> list[object]:
    return ["train", "--data", folder, "--arch", "dense", "--latent", 2, "--epochs", 1, *arguments]


def test_the_second_run_reads_the_cache(ardtool, photos):
    said = "decoding 30 images once; the next run reads the cache"
    assert said in ardtool(*train(photos, "--out", "a")).stderr
    assert said not in ardtool(*train(photos, "--out", "b")).stderr
    first, second = (json.loads(Path(run, "relevance.json").read_text())["axes"] for run in ("a", "b"))
    assert first == second
    assert len(list(Path("cache").iterdir())) == 1


def test_no_cache(ardtool, photos):
    for run in ("a", "b"):
        said = ardtool(*train(photos, "--no-cache", "--out", run)).stderr
        assert "decoding 30 images\n" in said
    assert not Path("cache").exists()


def test_bad_images_stop_the_run_or_are_left_out(ardtool, photos):
    (photos / "07.png").write_bytes((photos / "07.png").read_bytes()[:60])
    message, hint = ardtool.error(*train(photos, "--quiet"))
    assert "photos: the image '07.png' cannot be decoded: " in message
    assert "--skip-bad" in hint
    said = ardtool(*train(photos, "--skip-bad")).stderr
    assert "1 of 30 images is left out: '07.png' cannot be decoded: " in said
    assert "26 training samples" in said
    assert "3 for validation" in said
    assert "has finished already" in ardtool(*train(photos, "--skip-bad")).stderr


@pytest.fixture
def spoilt(ardtool, photos: Path) -> Path:
    """The photos, on which a model was trained before one of them was cut off."""
    ardtool(*train(photos, "--out", "a"))
    (photos / "07.png").write_bytes((photos / "07.png").read_bytes()[:60])
    return photos


@pytest.mark.parametrize(
    "command",
    [
        ("relevance", "a"),
        ("prune", "a", "--keep", 1, "--out", "small.safetensors"),
        ("sample", "a", "-n", 2),
        ("traverse", "a"),
        ("evaluate", "a", "--metrics", "mse"),
        ("encode", "a"),
    ],
    ids=lambda command: command[0],
)
def test_bad_images_are_left_out_of_what_a_trained_model_is_measured_on(ardtool, spoilt, command):
    message, hint = ardtool.error(*command, "--data", spoilt)
    assert "photos: the image '07.png' cannot be decoded: " in message
    assert hint == "Mend or remove it. `--skip-bad` (in Python skip_bad=True) leaves such images out."
    result = ardtool(*command, "--data", spoilt, "--skip-bad", "--json", *(("--force",) if command[0] == "prune" else ()))
    said = "1 of 30 images is left out: '07.png' cannot be decoded: "
    assert said in result.stderr
    found = json.loads(result.stdout)
    assert said in (found["note"] if command[0] == "evaluate" else found["warnings"][0])


def test_bad_images_of_others_are_left_out_of_a_comparison_too(ardtool, spoilt):
    Path("theirs").mkdir()
    for number in range(5):
        Path("theirs", f"{number}.png").write_bytes((spoilt / f"{number:02}.png").read_bytes())
    Path("theirs", "5.png").write_bytes(b"")
    (spoilt / "07.png").unlink()
    asked = ("evaluate", "a", "--data", spoilt, "--metrics", "fid", "--features", "pixels", "--generated", "theirs")
    assert "'5.png' cannot be decoded: it is empty." in ardtool.error(*asked)[0]
    assert "--generated: 1 of 6 images is left out: '5.png' cannot be decoded: it is empty." in ardtool.json(*asked, "--skip-bad")["note"]
