"""One small trained model of vectors and one of images, shared by all command tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ardtool


def rank_two(n: int = 600, columns: int = 12, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(columns, 2)))[0]
    signal = random.normal(size=(n, 2)) @ basis.T
    return (signal + 0.02 * random.normal(size=signal.shape)).astype(np.float32)


@pytest.fixture(scope="session")
def vectors_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "vectors.npy"
    np.save(path, rank_two() * 40 + 7)
    return path


@pytest.fixture(scope="session")
def vectors_run(vectors_file, tmp_path_factory):
    """Rank 2 in 12 columns, L = 6, on a shortened schedule."""
    return ardtool.train(data=str(vectors_file), latent=6, epochs=150, out=tmp_path_factory.mktemp("runs") / "vectors")


@pytest.fixture(scope="session")
def images_run(tmp_path_factory):
    """Random smooth images; a few steps only."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 16)
    images = 0.5 + 0.5 * np.sin(3 * random.uniform(size=(300, 1, 1)) + 4 * ramp[:, None] * random.uniform(size=(300, 1, 1)) + ramp)
    np.save(folder / "waves.npy", (255 * images).astype(np.uint8))
    return ardtool.train(data=str(folder / "waves.npy"), latent=5, epochs=15, out=tmp_path_factory.mktemp("runs") / "waves")
