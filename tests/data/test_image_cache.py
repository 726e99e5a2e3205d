"""What the cache gives back is what decoding gives; it changes when the files do, and nothing that lies in it is believed unseen."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ardtool.data import cache_file, image_cache, images
from ardtool.data.catalogue import open_data
from ardtool.data.images import open_images
from ardtool.errors import DataError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache, not there yet."""
    monkeypatch.setenv("ARDTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "b").mkdir(parents=True)
    for number in range(5):
        save(root / "b" / f"{number}.png", number)
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(root / "grey.png")
    return root


def save(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass over files has opened."""
    passes: list[int] = []
    original = images._for_each

    def counted(files, names, *rest):
        passes.append(len(names))
        return original(files, names, *rest)

    monkeypatch.setattr(images, "_for_each", counted)
    return passes


@pytest.mark.parametrize("limit", [0, 2**30])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_second_time_nothing_is_decoded(photos: Path, cache: Path, decoded, monkeypatch, limit: int, zipped: bool):
    monkeypatch.setattr(image_cache, "MAPPED", limit)
    source = photos
    if zipped:
        source = photos.parent / "photos.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in photos.rglob("*.png"):
                archive.write(path, path.relative_to(photos))
    plain = open_images(source, cache=False)
    assert not cache.exists()
    told: list[str] = []
    first = open_data(str(source), tell=told.append)
    assert decoded == [6, 6] * 2
    second = open_data(str(source), tell=told.append)
    assert decoded == [6, 6] * 2
    assert told == ["decoding 6 images once; the next run reads the cache"]
    for data in (first, second):
        assert data.sha256() == plain.sha256()
        assert (data.notes, data.name, data.value_range) == (plain.notes, "photos", (0.0, 1.0))
    assert len(data.notes) == 2
    (file,) = cache.iterdir()
    mapped = np.load(file, mmap_mode="r")  # NumPy reads it too
    assert mapped.dtype == np.uint8
    np.testing.assert_array_equal(mapped, plain.values)
    assert file.stat().st_mode & 0o777 == 0o666 & ~image_cache_umask()


def image_cache_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_large_sets_stay_on_disk_and_small_ones_are_read(photos: Path, cache: Path, monkeypatch):
    for limit, kind in ((0, np.memmap), (2**30, np.ndarray)):
        monkeypatch.setattr(image_cache, "MAPPED", limit)
        open_images(photos)
        (file,) = cache.iterdir()
        kept = image_cache.read(file)
        assert kept is not None
        assert type(kept.images) is kind
        file.unlink()


def test_whatever_changes_the_images_changes_the_key(photos: Path, cache: Path, decoded):
    def reads(**request: object) -> bool:
        """Whether images were decoded, and were not the second time."""
        before = len(decoded)
        open_images(photos, **request)  # pyright: ignore[reportArgumentType]
        once = len(decoded) - before
        open_images(photos, **request)  # pyright: ignore[reportArgumentType]
        assert len(decoded) - before == once
        return once > 0

    assert reads()
    assert not reads()
    assert not reads(skip_bad=True)  # nothing is bad: the same images
    assert reads(image_size="9")
    assert reads(image_size=(9, 9)) is False
    assert reads(channels=1)
    save(photos / "b" / "9.png", 9)
    assert reads()
    stamp = (photos / "b" / "0.png").stat()
    save(photos / "b" / "0.png", 77)
    os.utime(photos / "b" / "0.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the same name and time, perhaps the same size
    assert reads()
    (photos / "b" / "1.png").rename(photos / "b" / "8.png")
    assert reads()
    (photos / "readme.txt").write_text("no image")
    assert not reads()


def test_members_of_a_zip_count_by_content(tmp_path: Path, cache: Path, decoded):
    def pack(name: str, seed: int) -> Path:
        save(tmp_path / "x.bmp", seed)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for index in range(2):
                archive.write(tmp_path / "x.bmp", f"{index}.bmp")
        return tmp_path / name

    first, copy, other = pack("a.zip", 1), pack("b.zip", 1), pack("c.zip", 2)
    assert open_images(first).sha256() == open_images(copy).sha256()
    assert len(decoded) == 2
    assert open_images(copy).name == "b"
    assert open_images(other).sha256() != open_images(first).sha256()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:50],
        lambda content: content[:-400],
        lambda content: content[:-2],
        lambda content: content + b"more",
        lambda content: content.replace(b'"version": 1', b'"version": 0'),
        lambda content: content.replace(b"|u1", b"|i1"),
        lambda content: content.replace(b"(6, 3,", b"(9, 3,"),
        lambda content: b"\x80\x04" + content,
        lambda content: b"PK\x03\x04" + content,
    ],
)
@pytest.mark.parametrize("limit", [0, 2**30])
def test_damaged_files_are_made_again(photos: Path, cache: Path, decoded, monkeypatch, damage, limit: int):
    expected = open_images(photos).sha256()
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    assert damage(whole) != whole
    file.write_bytes(damage(whole))
    monkeypatch.setattr(image_cache, "MAPPED", limit)
    before = len(decoded)
    assert open_images(photos).sha256() == expected
    assert len(decoded) == before + 2
    assert image_cache.read(file) is not None


def test_a_changed_pixel_is_seen_where_the_file_is_read_as_a_whole(photos: Path, cache: Path, monkeypatch):
    open_images(photos)
    (file,) = cache.iterdir()
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    assert image_cache.read(file) is None
    monkeypatch.setattr(image_cache, "MAPPED", 0)
    assert image_cache.read(file) is not None  # of a mapped file no more than size and version is looked at


def test_a_bad_image_leaves_nothing_behind(photos: Path, cache: Path, monkeypatch):
    (photos / "b" / "2.png").write_bytes((photos / "b" / "2.png").read_bytes()[:-60])
    for limit in (0, 2**30):
        monkeypatch.setattr(image_cache, "MAPPED", limit)
        with pytest.raises(DataError, match=r"2\.png"):
            open_images(photos)
        assert not cache.exists() or not list(cache.iterdir())


def test_sets_with_bad_images_are_kept_apart(photos: Path, cache: Path, decoded):
    (photos / "b" / "2.png").write_bytes((photos / "b" / "2.png").read_bytes()[:-60])
    first = open_images(photos, skip_bad=True)
    assert decoded == [6, 6, 5]  # headers, pixels, and once more without the bad one
    second = open_images(photos, skip_bad=True)
    assert len(decoded) == 3
    assert len(first) == 5
    assert second.sha256() == first.sha256()
    assert second.notes == first.notes
    with pytest.raises(DataError, match=r"2\.png"):
        open_images(photos)


def fail(code: int):
    def raise_error(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return raise_error


@pytest.mark.parametrize("limit", [0, 2**30])
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("file", "Not a directory"),
        ("full", "No space left on device"),
        ("quota", "Disk quota exceeded"),
        ("read-only", "Read-only file system"),
        ("rename", "Permission denied"),
    ],
)
def test_a_cache_that_cannot_be_written_stops_nothing(photos: Path, cache: Path, monkeypatch, limit: int, broken: str, said: str):
    expected = open_images(photos, cache=False)
    if broken == "file":
        cache.parent.joinpath("blocked").write_text("")
        cache = cache.parent / "blocked" / "cache"
        monkeypatch.setenv("ARDTOOL_CACHE", str(cache))
    elif broken == "full":
        usage = cache_file.shutil.disk_usage(photos)
        monkeypatch.setattr(cache_file.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    elif broken == "quota":
        monkeypatch.setattr(cache_file.os, "fsync", fail(errno.EDQUOT))
    elif broken == "read-only":
        monkeypatch.setattr(cache_file.os, "open", fail(errno.EROFS))
    else:
        monkeypatch.setattr(cache_file.os, "replace", fail(errno.EACCES))
    monkeypatch.setattr(image_cache, "MAPPED", limit)
    told: list[str] = []
    data = open_images(photos, tell=told.append)
    assert told[1:] == [f"the decoded images could not be kept in {cache}: {said}; the next run decodes again"]
    assert data.sha256() == expected.sha256()
    assert data.notes == expected.notes
    if broken != "file":
        assert list(cache.iterdir()) == []


def test_two_processes_may_write_at_once(photos: Path, cache: Path):
    code = f"from pathlib import Path; from ardtool.data.images import open_images; print(open_images(Path({str(photos)!r})).sha256())"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0].strip() for process in running}
    assert said == {open_images(photos, cache=False).sha256()}
    assert [path.suffix for path in cache.iterdir()] == [".npy"]


def test_another_writer_in_between_does_no_harm(photos: Path, cache: Path, monkeypatch):
    original = cache_file.os.replace

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(cache_file.os, "replace", original)
        assert open_images(photos).sha256()  # a whole run while ours waits to rename its file
        original(source, target)

    monkeypatch.setattr(cache_file.os, "replace", late)
    expected = open_images(photos).sha256()
    (file,) = cache.iterdir()
    assert image_cache.read(file) is not None
    assert open_images(photos).sha256() == expected


def test_what_nobody_uses_goes(photos: Path, cache: Path):
    cache.mkdir()
    names = ("0" * 40 + ".npy", "." + "1" * 40 + ".12-ab.part", "mine.npy", "2" * 40 + ".npy", "." + "3" * 40 + ".12-ab.part")
    for name in names:
        (cache / name).write_text("x")
        age = 1 if name[0] == "2" or name[1] == "3" else 61
        os.utime(cache / name, (time.time() - age * 86_400,) * 2)
    open_images(photos)
    assert set(names) & {path.name for path in cache.iterdir()} == set(names[2:])
    (file,) = (path for path in cache.iterdir() if path.name not in names)
    os.utime(file, (0, 0))
    open_images(photos)  # a read file counts as used
    assert file.stat().st_mtime > 0


def test_off_means_off(photos: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ARDTOOL_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    told: list[str] = []
    open_images(photos, tell=told.append)
    assert told == ["decoding 6 images"]
    assert set(tmp_path.rglob("*")) == before
