"""Features out of the cache are the features that would be computed; whatever changes a feature changes its place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ardtool.commands.evaluating.feature_cache import data_features
from ardtool.commands.evaluating.features import Extractor
from ardtool.data import cache_file
from ardtool.data.dataset import DataSet

IMAGES = torch.randint(0, 256, (30, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
DATA = DataSet("x", IMAGES, (0.0, 1.0))


class Counted(Extractor):
    """Some features, and how often they were computed."""

    label, width, rows = "counted", 4, 7

    def __init__(self, sha256: str | None = "abc", convention: str = "one") -> None:
        self.sha256, self.convention, self.computed = sha256, convention, 0

    def __call__(self, samples: Tensor) -> Tensor:
        self.computed += len(samples)
        return samples.flatten(1)[:, : self.width].float() / 7

    def provenance(self) -> dict:
        return {"weights_sha256": self.sha256, "convention": self.convention}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARDTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def computes(extractor: Counted, data: DataSet = DATA, index: Tensor | None = None, **options) -> bool:
    """Whether the features were computed and not read; they are the right ones in either case."""
    before = extractor.computed
    found = data_features(extractor, data, index, **options)
    expected = IMAGES if index is None else IMAGES[index]
    assert found.equal(expected.flatten(1)[:, :4].float() / 7)
    return extractor.computed > before


def test_the_second_time_nothing_is_computed(cache: Path):
    assert computes(Counted())
    told: list[tuple[int, int]] = []
    assert not computes(Counted(), progress=lambda done, total: told.append((done, total)))
    assert told == []
    (file,) = cache.iterdir()
    assert file.suffix == ".npy"
    assert len(file.stem) == 40


def test_whatever_changes_features_changes_their_place(cache: Path):
    some = torch.tensor([3, 1, 20])
    for extractor in (Counted(), Counted("def"), Counted(convention="two")):
        assert computes(extractor)
        assert computes(extractor, index=some)
        assert not computes(extractor, index=some)
    assert computes(Counted(), index=some.flip(0))
    other = IMAGES.clone()
    other[29, 0, 5, 5] ^= 1
    changed = Counted()
    data_features(changed, DataSet("x", other, (0.0, 1.0)))
    assert changed.computed


def test_the_same_samples_are_known_again_in_whatever_they_come(cache: Path):
    assert computes(Counted())
    assert not computes(Counted(), DataSet("y", IMAGES / 255, (0.0, 1.0)))
    assert not computes(Counted(), DataSet("z", IMAGES / 255 * 2 - 1, (-1.0, 1.0)))
    assert not computes(Counted(), DataSet("longer", torch.cat([IMAGES, IMAGES]), (0.0, 1.0)), torch.arange(30))


def test_what_has_no_hash_is_not_kept(cache: Path):
    assert computes(Counted(None))
    assert computes(Counted(None))
    assert not cache.exists()


def test_off_means_off(cache: Path, monkeypatch):
    assert computes(Counted(), cache=False)
    monkeypatch.setenv("ARDTOOL_CACHE", "off")
    assert computes(Counted())
    assert not cache.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-400],
        lambda content: content[:-2],
        lambda content: content + b"more",
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
        lambda content: content.replace(b'"version": 1', b'"version": 0'),
        lambda content: content.replace(b"<f4", b"<i4"),
        lambda content: content.replace(b"(30, 4)", b"(4, 30)"),
    ],
)
def test_damaged_files_are_made_again(cache: Path, damage):
    computes(Counted())
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    assert damage(whole) != whole
    file.write_bytes(damage(whole))
    assert computes(Counted())
    assert file.read_bytes() == whole


@pytest.mark.parametrize(("function", "code"), [("open", errno.EROFS), ("fsync", errno.EDQUOT), ("replace", errno.EACCES)])
def test_a_cache_that_cannot_be_written_stops_nothing(cache: Path, monkeypatch, function: str, code: int):
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache_file.os, function, fail)
    told: list[str] = []
    assert computes(Counted(), tell=told.append)
    assert told == [f"the features could not be kept in {cache}: {os.strerror(code)}; the next call computes them again"]
    assert list(cache.iterdir()) == []


def test_another_writer_in_between_does_no_harm(cache: Path, monkeypatch):
    original = cache_file.os.replace

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(cache_file.os, "replace", original)
        assert computes(Counted())  # a whole call while ours waits to rename its file
        original(source, target)

    monkeypatch.setattr(cache_file.os, "replace", late)
    assert computes(Counted())
    assert not computes(Counted())
    assert [path.suffix for path in cache.iterdir()] == [".npy"]


def test_features_are_computed_by_the_common_loop(cache: Path):
    told: list[tuple[int, int]] = []
    data_features(Counted(), DATA, progress=lambda done, total: told.append((done, total)))
    assert told == [(7, 30), (14, 30), (21, 30), (28, 30), (30, 30)]
