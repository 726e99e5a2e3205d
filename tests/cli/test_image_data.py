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
