"""Fixtures for all tests: a fixed seed, and the real data where they are at hand."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ardtool
from ardtool.storage.record import read_record


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _no_cache() -> Iterator[None]:
    """Nothing is read from, or left in, the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARDTOOL_CACHE", "off")
        yield


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def seed_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with x.npy and the runs s0 and s1, which differ in the seed alone; one epoch of four axes, measured on x.npy."""
    folder = tmp_path_factory.mktemp("seeds")
    random = np.random.default_rng(0)
    np.save(folder / "x.npy", random.normal(size=(200, 2)) @ random.normal(size=(2, 6)))
    for seed in (0, 1):
        run = ardtool.train(data=str(folder / "x.npy"), latent=4, epochs=1, seed=seed, out=folder / f"s{seed}")
        ardtool.evaluate(run.model, data=str(folder / "x.npy"))
    return folder


@pytest.fixture
def edited_run(seed_runs: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a run folder under `tmp_path`: the description of the run s0 with changes, and no tensors behind it.

    Changes are by name; a mapping changes entries of a mapping. `seed` is the setting of that name; `metrics` True copies metrics.json, a
    mapping changes what is in it.
    """

    def make(name: str, *, seed: int = 0, metrics: Any = False, **changes: Any) -> Path:
        with open(seed_runs / "s0" / "model.safetensors", "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            description = json.loads(json.loads(file.read(length))["__metadata__"]["ardtool"])
        description = merged(description, {"settings": {"seed": seed}, "content_sha256": name})
        header = json.dumps({"__metadata__": {"ardtool": json.dumps(merged(description, changes))}}).encode()
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        if metrics:
            shutil.copy(seed_runs / "s0" / "metrics.json", folder)
            record = merged(read_record(folder / "metrics.json"), {"model_sha256": name})
            (folder / "metrics.json").write_text(json.dumps(merged(record, metrics if isinstance(metrics, dict) else {})))
        return folder

    def merged(old: Any, new: Any) -> Any:
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return new
        return old | {key: merged(old.get(key), value) for key, value in new.items()}

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real MNIST and CIFAR-10 files: $ARDTOOL_TEST_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("ARDTOOL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set ARDTOOL_TEST_DATA")
    return folder
