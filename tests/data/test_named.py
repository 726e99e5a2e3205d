"""Looking for files: what is there, what lacks, and that nothing is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ardtool.data.catalogue import catalogue, named_set
from ardtool.data.named import NamedSet

IDX = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
CIFAR = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
IMAGENET = tuple(f"train_data_batch_{number}" for number in range(1, 11))
# names of empty files, below the folder that the hint names; those that end in / are folders
COMPLETE = [
    ("mnist", IDX),
    ("mnist", tuple(f"{name}.gz" for name in IDX)),
    ("fashion-mnist", IDX),
    ("cifar10", tuple(f"cifar-10-batches-py/{name}" for name in CIFAR)),
    ("cifar10", tuple(f"cifar-10-batches-bin/{name}.bin" for name in CIFAR)),
    ("cifar10", ("cifar-10-python.tar.gz",)),
    ("cifar10", ("cifar-10-binary.tar.gz",)),
    ("celeba", ("img_align_celeba.zip", "list_eval_partition.txt")),
    ("celeba", ("img_align_celeba/", "list_eval_partition.csv")),
    ("imagenet32", (*IMAGENET, "val_data")),
    ("imagenet32", (*(f"Imagenet32_train_npz/{name}.npz" for name in IMAGENET), "Imagenet32_val_npz/val_data.npz")),
    ("imagenet32", ("train_32x32/", "valid_32x32/")),
    ("imagenet32", (*(f"Imagenet32_train/{name}" for name in IMAGENET), "val/")),
    ("dsprites", ("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",)),
    ("shapes3d", ("3dshapes.h5",)),
]


def put(data_set: NamedSet, root: Path, names: tuple[str, ...]) -> list[Path]:
    assert data_set.original is not None
    paths = [root / data_set.original.folder / name for name in names]
    for path, name in zip(paths, names, strict=True):
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    return paths


@pytest.mark.parametrize(("name", "files"), COMPLETE)
def test_files_in_the_folder_that_the_hint_names_are_complete(name: str, files: tuple[str, ...], tmp_path: Path):
    data_set = named_set(name)
    paths = put(data_set, tmp_path, files)
    found = data_set.found(tmp_path)
    assert (found.status, found.lacking) == ("complete", ())
    assert set(found.paths) == set(paths)
    inside = [any(path.is_relative_to(tmp_path / folder) for folder in data_set.folders) for path in paths]
    assert all(inside)


@pytest.mark.parametrize(("name", "files"), [case for case in COMPLETE if len(case[1]) > 1])
def test_without_the_last_file_the_set_is_incomplete_and_says_so(name: str, files: tuple[str, ...], tmp_path: Path):
    data_set = named_set(name)
    paths = put(data_set, tmp_path, files[:-1])
    found = data_set.found(tmp_path)
    assert found.status == "incomplete"
    assert set(found.paths) == set(paths)
    assert found.lacking == (data_set.found(tmp_path / "nowhere").lacking[-1],)


@pytest.mark.parametrize("data_set", catalogue(), ids=lambda each: each.name)
def test_an_empty_root_lacks_everything_and_drawn_sets_nothing(data_set: NamedSet, tmp_path: Path):
    found = data_set.found(tmp_path)
    assert found.paths == ()
    assert found.status == ("drawn" if data_set.original is None else "missing")
    assert bool(found.lacking) == (data_set.original is not None)


def test_a_batch_that_lacks_among_others_is_named(tmp_path: Path):
    put(named_set("cifar10"), tmp_path, tuple(f"cifar-10-batches-py/{name}" for name in CIFAR if name != "data_batch_3"))
    assert named_set("cifar10").found(tmp_path).lacking == ("data_batch_3",)


def test_one_entry_of_the_list(tmp_path: Path):
    (path,) = put(named_set("dsprites"), tmp_path, ("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",))
    entry = named_set("dsprites").to_dict(tmp_path)
    assert entry["shape"] == [1, 64, 64]
    assert entry["samples"] == 737_280
    assert entry["licence"] == "Apache 2.0"
    assert [(each["size"], each["varies"]) for each in entry["factors"][:2]] == [(1, False), (3, True)]
    assert entry["looked_for"]["folders"][:2] == [".", "dsprites"]
    assert (entry["status"], entry["found"], entry["lacking"], entry["downloads"]) == ("complete", [str(path)], [], False)
    drawn = named_set("sprites-2").to_dict(tmp_path)
    assert (drawn["site"], drawn["looked_for"], drawn["status"]) == (None, None, "drawn")
    assert drawn["factors"] == [{"name": name, "size": None, "varies": True} for name in ("x position", "y position")]
