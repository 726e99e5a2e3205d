"""Published data sets of a few images in their own formats: numbers of images are those of these files, checksums are not looked at."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import torch

from ardtool.data import cache_file, celeba, cifar10, dsprites, image_cache, imagenet32, shapes3d
from ardtool.data.catalogue import open_data
from ardtool.data.factors import FactorGrid

from .makers import npy_header, npz, tar_of, zip_of

__all__ = ["SETS", "forged_sets", "set_seeds"]

N = 4
GRID = FactorGrid(shapes3d.GRID.names, (2, 1, 2, 1, 1, 1))
SPRITE_GRID = FactorGrid(dsprites.GRID.names, (1, 2, 1, 1, 2, 1))
LIST = "celeba/list_eval_partition.txt"
SMALL: tuple[tuple[Any, str, Any], ...] = (
    (cifar10, "PER_BATCH", N),
    (imagenet32, "BATCHES", {"train": {}, "test": {"val_data": N}}),
    (shapes3d, "GRID", GRID),
    (dsprites, "GRID", SPRITE_GRID),
    (dsprites, "COUNT", N),
    (celeba, "COUNTS", {0: 2, 1: 1, 2: 1}),
    *((module, "check_md5", lambda *_: None) for module in (cifar10, shapes3d, dsprites)),
)


def _read(name: str, above: int = 1, split: str = "test") -> Callable[[Path], Any]:
    """A reader of a set's images, whose file lies so many folders below the data root."""

    def read(path: Path) -> Any:
        with _small():
            return open_data(name, data_root=path.parents[above - 1], split=split).batch(torch.arange(1))

    return read


class _small:
    """While it is on, published sets are as small as these files, and checksums are not looked at."""

    def __enter__(self) -> None:
        self._patches = [mock.patch.object(module, name, value) for module, name, value in SMALL]
        for patch in self._patches:
            patch.start()

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()


def _read_cache(path: Path) -> Any:
    """What the cache gives back is what was put there, or nothing."""
    kept = image_cache.read(path)
    assert kept is None or np.array_equal(kept.images, _images()), "the cache gave back something else"
    return None


SETS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "cifar10": ("cifar-10-batches-py/test_batch", _read("cifar10", 2)),
    "cifar10 bin": ("cifar-10-batches-bin/test_batch.bin", _read("cifar10", 2)),
    "cifar10 tar": ("cifar-10-python.tar.gz", _read("cifar10")),
    "imagenet32": ("val_data", _read("imagenet32")),
    "imagenet32 npz": ("val_data.npz", _read("imagenet32")),
    "hdf5": (shapes3d.FILE, _read("shapes3d")),
    "hdf5 packed": (shapes3d.FILE, _read("shapes3d")),
    "dsprites": (dsprites.FILE, _read("dsprites")),
    "celeba list": (LIST, _read("celeba", 2, "train")),
    "image cache": (f"{'a' * 40}.npy", _read_cache),
}


def _images() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (N, 3, 32, 32), dtype=np.uint8)


def set_seeds(folder: Path) -> dict[str, bytes]:
    """Small valid content for every kind."""
    rows = _images().reshape(N, -1)
    batch = pickle.dumps({b"data": rows, b"labels": [1] * N, b"filenames": [b"y"] * N}, protocol=2)
    cached = folder / f"{'a' * 40}.npy"
    cache_file.write(cached, _images(), image_cache.VERSION, ("a note",))
    return {
        "cifar10": batch,
        "cifar10 bin": b"".join(b"\x03" + row.tobytes() for row in rows),
        "cifar10 tar": tar_of({"cifar-10-batches-py/test_batch": batch}),
        "imagenet32": pickle.dumps({"data": rows, "labels": [7] * N}),
        "imagenet32 npz": npz(data=rows, labels=np.ones(N)),
        "hdf5": _hdf5(folder),
        "hdf5 packed": _hdf5(folder, chunks=(1, 16, 16, 1), compression="gzip"),
        "dsprites": npz(
            imgs=(_images()[:, :1].repeat(2, 2).repeat(2, 3)[:, 0] > 127).astype(np.uint8), latents_classes=np.zeros((N, 6), np.int64)
        ),
        "celeba list": b"000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n000004.jpg 2\n",
        "image cache": cached.read_bytes(),
    }


def forged_sets(bomb: Any) -> Iterator[tuple[str, str, bytes]]:
    """Kind, name and content of files that a forger makes; `bomb` runs something where it is unpickled."""
    for kind in ("cifar10", "imagenet32"):
        yield kind, "payload", pickle.dumps({"data": bomb})
    yield "cifar10 tar", "payload", tar_of({"cifar-10-batches-py/test_batch": pickle.dumps({b"data": bomb})})
    yield "cifar10 tar", "bomb", tar_of({"cifar-10-batches-py/test_batch": bytes(2**28)})
    yield "imagenet32 npz", "payload", npz(data=np.array([bomb], dtype=object))
    for kind, name in (("imagenet32 npz", "data"), ("dsprites", "imgs"), ("dsprites", "latents_classes")):
        for size in (2**33, 10**13):
            yield kind, f"claims {size}", zip_of({f"{name}.npy": npy_header((size,), "|u1") + bytes(2**28)})


def _hdf5(folder: Path, **options: Any) -> bytes:
    path = folder / "small.h5"
    factors = GRID.factors_of(torch.arange(len(GRID))).numpy()
    images = np.random.default_rng(0).integers(0, 256, (len(GRID), 64, 64, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **options)
        file.create_dataset("labels", data=factors.astype(np.float64) / 7)
    return path.read_bytes()
