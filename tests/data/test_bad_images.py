"""Images that cannot be read, and folders without any: each is one sentence that names what is wrong, or left out and counted."""

from __future__ import annotations

import errno
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ardtool.data.images import open_images
from ardtool.errors import DataError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pack(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as out:
        for path in folder.rglob("*"):
            if path.is_file():
                out.write(path, path.relative_to(folder))
    return archive


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine colour images in nested folders, six of 20×30 pixels, with things beside them that are no images."""
    root = tmp_path / "photos"
    for number in range(9):
        place = root / ("a" if number % 2 else "b/c")
        place.mkdir(parents=True, exist_ok=True)
        size = (20, 30) if number < 6 else (10 + number, 40)
        Image.fromarray(noise(*size, seed=number)).save(place / f"{number}.{'png' if number % 3 else 'BMP'}")
    for junk in ("a/readme.txt", "a/.hidden.png", ".cache/x.png", "__MACOSX/a/0.png"):
        (root / junk).parent.mkdir(parents=True, exist_ok=True)
        (root / junk).write_bytes(b"no image")
    return root


@pytest.mark.parametrize("damage", ["truncated jpg", "truncated png", "text", "empty"])
@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_image_is_named(photos: Path, tmp_path: Path, damage: str, zipped: bool, sentence):
    buffer = io.BytesIO()
    Image.fromarray(noise(40, 40)).save(buffer, "png" if damage.endswith("png") else "jpeg")
    content = {"text": b"no image at all", "empty": b""}.get(damage, buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (photos / "a" / "bad.png").write_bytes(content)
    source = pack(photos, tmp_path / "p.zip") if zipped else photos
    text = sentence(open_images, source, kind=DataError)
    assert f"{source}: the image 'a/bad.png' cannot be decoded:" in text
    assert "Mend or remove it." in text


def test_what_there_is_in_place_of_images_is_said(tmp_path: Path, sentence):
    root = tmp_path / "root"
    for name in ("empty", "classes/cat", "classes/dog", "hidden/.git", "tables", "mixed/deep"):
        (root / name).mkdir(parents=True)
    for name in ("hidden/.x.png", "tables/b.csv", "tables/a.csv", "mixed/Makefile", "mixed/deep/x.MP4", "mixed/deep/y.mp4"):
        (root / name).write_text("1,2")
    for name, found, hint in (
        ("empty", "it is empty", "Name the folder or"),
        ("classes", "found 2 empty folders (cat, dog)", "Name the folder or"),
        ("hidden", "found nothing else", "Name the folder or"),
        ("tables", "found 2 other files (.csv)", f"Name the file itself, such as {root / 'tables' / 'a.csv'}."),
        ("mixed", "found 3 other files (.mp4, no ending)", "Name the folder or"),
    ):
        text = sentence(open_images, root / name, kind=DataError)
        assert f"{root / name} holds no images; expected files that end in" in text
        assert f"; {found}. Hint: {hint}" in text


def test_folders_that_cannot_be_read_are_named(photos: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    original = os.scandir

    def refuse(path: str) -> object:
        if Path(path) == photos / "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", refuse)  # permissions do not hold for root, who may run the tests
    assert f"{photos / 'b'} cannot be read: Permission denied." in sentence(open_images, photos, kind=DataError)


def test_files_that_cannot_be_read_are_named(photos: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    original = Path.open

    def refuse(path: Path, *mode: str) -> object:
        if path.name == "3.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return original(path, *mode)

    (photos / "a" / "3.BMP").rename(photos / "a" / "3.png")
    monkeypatch.setattr(Path, "open", refuse)
    assert "the image 'a/3.png' cannot be decoded: Permission denied." in sentence(open_images, photos, kind=DataError)
    (photos / "a" / "0.png").symlink_to(photos / "nowhere.png")
    assert "the image 'a/0.png' cannot be decoded: No such file or directory." in sentence(open_images, photos, kind=DataError)
    os.mkfifo(photos / "a" / "00.png")
    (photos / "a" / "0.png").unlink()
    assert "the image 'a/00.png' cannot be decoded: it is no regular file." in sentence(open_images, photos, kind=DataError)


def test_bad_images_are_left_out_when_asked(photos: Path, tmp_path: Path, sentence):
    good = open_images(photos)
    buffer = io.BytesIO()
    Image.fromarray(noise(99, 99)).save(buffer, "jpeg")
    for name, content in (("a/0.jpg", buffer.getvalue()[:-900]), ("a/1.jpg", b""), ("a/2.jpg", b"text"), ("b/9.jpg", b"")):
        (photos / name).write_bytes(content)
    text = sentence(open_images, photos, kind=DataError)
    assert "'a/1.jpg' cannot be decoded: it is empty." in text  # the first with a bad header; the first of all is found while decoding
    assert "`--skip-bad` (in Python skip_bad=True) leaves such images out." in text
    for source in (photos, pack(photos, tmp_path / "photos.zip")):
        data = open_images(source, skip_bad=True)
        assert data.sha256() == good.sha256()
        assert data.notes[:-1] == good.notes  # sizes are those of the good images
        assert data.notes[-1].startswith(
            "4 of 13 images are left out: 'a/1.jpg' cannot be decoded: it is empty, 'a/2.jpg' cannot be decoded:"
        )
        assert data.notes[-1].endswith(", ….")
        assert data.left_out == data.notes[-1]
    assert good.left_out == ""


def test_one_bad_image_among_many_is_named_whatever_the_threads_do(tmp_path: Path, sentence):
    for number in range(700):
        Image.new("L", (8, 8), number % 256).save(tmp_path / f"{number:03}.png")
    whole = (tmp_path / "500.png").read_bytes()
    for number in (500, 501, 699):
        (tmp_path / f"{number}.png").write_bytes(whole[:-30])
    for _ in range(3):
        assert "the image '500.png' cannot be decoded: " in sentence(open_images, tmp_path, kind=DataError)
    data = open_images(tmp_path, skip_bad=True)
    expected = torch.tensor([number % 256 for number in range(700) if number not in (500, 501, 699)])
    assert torch.equal(data.values[:, 0, 0, 0].long(), expected)


def test_when_all_images_are_bad_there_is_nothing_left(tmp_path: Path, sentence):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    text = sentence(open_images, tmp_path, skip_bad=True, kind=DataError)
    assert f"{tmp_path}: none of 2 images can be read; 'a.png' cannot be decoded: it is empty, 'b.png'" in text
