"""`.tar` archives hold what the folder holds that they were made of; what is damaged is said, and nothing is written."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ardtool.data import image_files
from ardtool.data.catalogue import open_data
from ardtool.data.images import open_images
from ardtool.errors import DataError

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def png(seed: int, height: int = 8, width: int = 9) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **changes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in changes.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images whose sorted order is not that in which they are archived."""
    root = tmp_path / "photos"
    for number in (3, 1, 10, 2, 20, 0, 7):
        place = root / ("b" if number % 2 else "a/c")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(number))
    (root / "a" / "readme.txt").write_text("no image")
    (root / "a" / ".hidden.png").write_bytes(b"no image")
    return root


def pack(folder: Path, path: Path, mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for each in sorted(folder.rglob("*"), key=lambda each: each.name, reverse=True):
            archive.add(each, each.relative_to(folder).as_posix(), recursive=False)
    return path


@pytest.mark.parametrize("ending", MODES)
def test_an_archive_equals_its_folder(folder: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_files, "BLOCK", 3)
    path = pack(folder, tmp_path / f"My photos{ending.upper()}", MODES[ending])
    before = sorted(tmp_path.rglob("*"))
    data = open_data(str(path))
    assert data.values.shape == (7, 3, 8, 9)
    assert data.sha256() == open_data(str(folder)).sha256()
    assert data.name == "My-photos"
    assert sorted(tmp_path.rglob("*")) == before


def test_blocks_are_small_where_files_are_large(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_files, "BLOCK_BYTES", 1)
    with image_files.open_files(pack(folder, tmp_path / "x.tar", "w")) as files:
        assert [len(block) for block in files.blocks(files.names)] == [1] * 7
    assert len(open_images(tmp_path / "x.tar")) == 7


def test_names_of_members_are_labels(tmp_path: Path):
    path, outside = tmp_path / "in" / "x.tar", tmp_path / "outside.png"
    path.parent.mkdir()
    outside.write_bytes(png(99, 30, 30))
    outside.with_name("outside2.png").write_bytes(png(98))
    with tarfile.open(path, "w") as archive:
        add(archive, "../outside.png", png(1))
        add(archive, str(outside), png(2))
        add(archive, "link.png", type=tarfile.SYMTYPE, linkname="../outside2.png")
        add(archive, "hard.png", type=tarfile.LNKTYPE, linkname=str(outside.with_name("outside2.png")))
        add(archive, "fifo.png", type=tarfile.FIFOTYPE)
        add(archive, "folder.png", type=tarfile.DIRTYPE)
        add(archive, "b.png", png(3))
    data = open_images(path)
    assert data.values.shape == (2, 3, 8, 9)  # the absolute name and b.png; "..", like all that begins with a dot, is hidden
    expected = [np.array(Image.open(io.BytesIO(png(seed)))) for seed in (2, 3)]
    assert torch.equal(data.values.permute(0, 2, 3, 1), torch.from_numpy(np.stack(expected)))
    assert outside.read_bytes() == png(99, 30, 30)
    assert sorted(tmp_path.rglob("*")) == sorted([path.parent, path, outside, outside.with_name("outside2.png")])


def test_links_within_an_archive_are_followed_as_in_a_folder(folder: Path, tmp_path: Path):
    (folder / "a" / "sym.png").symlink_to("../b/7.png")
    (folder / "b" / "hard.png").hardlink_to(folder / "b" / "1.png")
    path = pack(folder, tmp_path / "x.tar.gz", "w:gz")
    with tarfile.open(path) as archive:
        assert sum(member.islnk() for member in archive) == sum(member.issym() for member in archive) == 1
    assert len(open_images(path)) == 9
    assert open_images(path).sha256() == open_images(folder).sha256()


def test_of_one_name_the_last_member_counts(tmp_path: Path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for seed in (1, 2):
            add(archive, "a.png", png(seed))
    expected = np.array(Image.open(io.BytesIO(png(2))))
    assert torch.equal(open_images(tmp_path / "x.tar").values[0].permute(1, 2, 0), torch.from_numpy(expected))


@pytest.mark.parametrize("ending", MODES)
@pytest.mark.parametrize("part", [0, 0.1, 0.3, 0.6])
def test_archives_that_are_cut_off(folder: Path, tmp_path: Path, ending: str, part: float, sentence):
    path = pack(folder, tmp_path / f"x{ending}", MODES[ending])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    text = sentence(open_images, path, kind=DataError)
    assert f"{path} is not a readable {ending} archive: " in text
    assert "Write the archive again, or unpack it into a folder." in text


def test_a_tar_that_ends_between_two_members_is_cut_off(tmp_path: Path, sentence):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "a.png", png(1))
        end = archive.offset
        add(archive, "b.png", png(2))
    for size in (end, end + 100):
        path.write_bytes(path.read_bytes()[:size])
        assert "it ends without an end mark: it is damaged or cut off." in sentence(open_images, path, kind=DataError)


def test_a_wrong_checksum_is_seen(folder: Path, tmp_path: Path, sentence):
    path = pack(folder, tmp_path / "x.tar.gz", "w:gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # within the checksum at the end
    path.write_bytes(content)
    assert "CRC check failed" in sentence(open_images, path, kind=DataError)


def test_a_damaged_member_is_named(folder: Path, tmp_path: Path, sentence):
    (folder / "b" / "bad.png").write_bytes(png(5)[:60])
    path = pack(folder, tmp_path / "x.tgz", "w:gz")
    assert f"{path}: the image 'b/bad.png' cannot be decoded: " in sentence(open_images, path, kind=DataError)
    assert len(open_images(path, skip_bad=True)) == 7


def test_gigantic_members_are_not_unpacked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentence):
    monkeypatch.setattr(image_files, "LARGEST_FILE", 100)
    text = sentence(open_images, pack(folder, tmp_path / "x.tar", "w"), kind=DataError)
    assert "the image 'a/c/0.png' cannot be decoded: it unpacks to" in text


def test_an_archive_without_images(tmp_path: Path, sentence):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "a.npy", b"1")
        add(archive, "b.npy", b"1")
    text = sentence(open_images, tmp_path / "x.tar", kind=DataError)
    assert f"{tmp_path / 'x.tar'} holds no images; expected files that end in" in text
    assert "found 2 other files (.npy)." in text


def test_a_zip_may_hold_a_member_without_a_name(folder: Path, tmp_path: Path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for each in sorted(folder.rglob("*.png")):
            archive.write(each, each.relative_to(folder))
        archive.writestr("unnamed member", b"")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"unnamed member", b"\0nnamed member"))  # a name ends at a zero
    torch.testing.assert_close(open_data(str(path)).tensor, open_data(str(folder)).tensor)
