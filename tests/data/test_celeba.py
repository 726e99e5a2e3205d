"""CelebA: the middle of every photograph, in the parts that the list says; a list and images that differ are errors."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from ardtool.data import celeba
from ardtool.data.catalogue import open_data
from ardtool.data.celeba import open_celeba
from ardtool.errors import DataError

PARTS = [0, 0, 0, 1, 1, 2, 0]  # the published list has its parts in one piece each; nothing relies on that
NAMES = [f"{number:06d}.jpg" for number in range(1, len(PARTS) + 1)]
TRAIN = [0, 1, 2, 6, 3, 4]  # training, then validation


def jpeg(number: int, size: tuple[int, int] = (178, 218)) -> bytes:
    """White outside the middle 140×140 pixels; in the middle a level of its own in red, and green on the right."""
    image = Image.new("RGB", size, "white")
    level = 20 * number
    image.paste((level, 0, 0), (19, 39, 19 + 70, 39 + 140))
    image.paste((level, 200, 0), (19 + 70, 39, 19 + 140, 39 + 140))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def write_list(path: Path, parts: list[int] = PARTS, names: list[str] = NAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} {part}" for name, part in zip(names, parts, strict=True)]
    if path.suffix == ".csv":
        lines = ["image_id,partition", *(line.replace(" ", ",") for line in lines)]
    path.write_text("\n".join(lines) + "\n")


def write_images(path: Path, prefix: str = "img_align_celeba/") -> None:
    """A folder, or an archive with the folder in it."""
    if path.suffix == ".zip":
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for number, name in enumerate(NAMES):
                archive.writestr(prefix + name, jpeg(number))
        return
    path.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (path / name).write_bytes(jpeg(number))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celeba, "COUNTS", {0: 4, 1: 2, 2: 1})


@pytest.mark.parametrize(
    ("images", "listed"),
    [
        ("img_align_celeba", "list_eval_partition.txt"),
        ("celeba/img_align_celeba", "celeba/list_eval_partition.txt"),  # torchvision's
        ("celeba/img_align_celeba.zip", "celeba/list_eval_partition.txt"),
        ("CelebA/Img/img_align_celeba.zip", "CelebA/Eval/list_eval_partition.txt"),  # as published
        ("celeba/img_align_celeba/img_align_celeba", "celeba/list_eval_partition.csv"),  # Kaggle's
    ],
)
def test_found_cropped_and_split(tmp_path: Path, images: str, listed: str):
    write_images(tmp_path / images)
    write_list(tmp_path / listed)
    train, test = (open_data("celeba", data_root=tmp_path, split=split, for_training=False) for split in ("train", "test"))
    assert (train.values.shape, test.values.shape) == ((6, 3, 64, 64), (1, 3, 64, 64))
    assert (train.validation, test.validation) == (2, 0)
    assert train.settings == {"arch": "paper-celeba", "epochs": 50}
    assert train.values.is_contiguous() and train.values.dtype == torch.uint8
    for place, number in enumerate(TRAIN):
        image = train.values[place].int()
        assert (image[0] - 20 * number).abs().max() <= 8  # no white of the border; JPEG and Lanczos ring at the edge
        assert image[1, :, :28].max() <= 8 and (image[1, :, 36:] - 200).abs().max() <= 12 and image[2].max() <= 8
    assert (test.values[0, 0].int() - 20 * 5).abs().max() <= 8
    batch = test.batch(slice(None))
    assert test.value_range == (-1.0, 1.0)
    assert torch.allclose(batch, test.values.float() / 127.5 - 1, atol=1e-6)


def test_published_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert list(celeba.COUNTS.values()) == [162_770, 19_867, 19_962] and sum(celeba.COUNTS.values()) == 202_599


def test_images_and_list_must_agree(tmp_path: Path, sentence):
    folder, listed = tmp_path / "img_align_celeba", tmp_path / "list_eval_partition.txt"
    write_images(folder)
    write_list(listed)
    (folder / "000002.jpg").unlink()
    (folder / "000005.jpg").unlink()
    text = sentence(open_celeba, tmp_path, "test", kind=DataError)
    assert f"{folder} lacks 2 of the 7 images that list_eval_partition.txt names, the first is 000002.jpg." in text
    for name in ("000002.jpg", "000005.jpg", "000008.jpg"):
        (folder / name).write_bytes(jpeg(1))
    text = sentence(open_celeba, tmp_path, "train", kind=DataError)
    assert f"{folder} holds 1 image without a line in list_eval_partition.txt, the first is 000008.jpg." in text


def test_lists_that_are_not_the_published_one(tmp_path: Path, sentence):
    listed = tmp_path / "list_eval_partition.txt"
    write_images(tmp_path / "img_align_celeba.zip")
    write_list(listed, PARTS[:-1], NAMES[:-1])
    text = sentence(open_celeba, tmp_path, "train", kind=DataError)
    assert f"{listed} names 3, 2, 1 images for training, validation and test; expected 4, 2, 1." in text
    listed.write_text("000001.jpg 0\n000002.jpg 3\n")
    text = sentence(open_celeba, tmp_path, "train", kind=DataError)
    assert f"{listed}, line 2: expected a file name and 0, 1 or 2, found '000002.jpg 3'." in text
    listed.write_bytes(b"\xff\xfe\x00")
    assert f"{listed} cannot be read: " in sentence(open_celeba, tmp_path, "train", kind=DataError)


def test_unusable_images_are_named(tmp_path: Path, sentence):
    folder = tmp_path / "img_align_celeba"
    write_images(folder)
    write_list(tmp_path / "list_eval_partition.txt")
    (folder / "000004.jpg").write_bytes(jpeg(1, (218, 178)))
    text = sentence(open_celeba, tmp_path, "train", kind=DataError)
    assert f"{folder}: the image '000004.jpg' cannot be used: it has 178x218 pixels (height x width); expected 218x178." in text
    (folder / "000002.jpg").write_bytes(jpeg(1)[:300])
    text = sentence(open_celeba, tmp_path, "train", kind=DataError)
    assert f"{folder}: the image '000002.jpg' cannot be used: " in text
    assert len(open_celeba(tmp_path, "test")) == 1  # of the parts asked for alone


def test_damaged_archives(tmp_path: Path, sentence):
    path = tmp_path / "img_align_celeba.zip"
    write_images(path)
    write_list(tmp_path / "list_eval_partition.txt")
    content = bytearray(path.read_bytes())
    content[content.find(jpeg(1)) + 500] ^= 255
    path.write_bytes(content)
    text = sentence(open_celeba, tmp_path, "train", kind=DataError)
    assert f"{path}: the image 'img_align_celeba/000002.jpg' cannot be used: Bad CRC-32" in text
    path.write_bytes(content[: len(content) // 2])
    assert f"{path} is not a readable .zip archive: " in sentence(open_celeba, tmp_path, "train", kind=DataError)


def test_what_is_missing_is_said(tmp_path: Path, sentence):
    text = sentence(open_celeba, tmp_path, "train", kind=DataError)
    assert f"CelebA is not under {tmp_path}." in text
    assert "Put img_align_celeba.zip (packed, or the folder that is in it) and list_eval_partition.txt into" in text
    assert str(tmp_path / "celeba") in text and "non-commercial research only" in text
    write_images(tmp_path / "img_align_celeba.zip")
    text = sentence(open_celeba, tmp_path, "train", kind=DataError)
    assert f"CelebA is incomplete: {tmp_path / 'img_align_celeba.zip'} is there, list_eval_partition.txt is not." in text
    (tmp_path / "img_align_celeba.zip").unlink()
    write_list(tmp_path / "list_eval_partition.txt")
    assert "is there, img_align_celeba or img_align_celeba.zip is not." in sentence(open_celeba, tmp_path, "train", kind=DataError)
