"""The example plugin on a PCA model whose relevance is known, installed or by file."""

from pathlib import Path

import numpy as np
import pytest

import ardtool
from ardtool.registry import find_plugin, list_plugins

PLUGIN_FILE = str(Path(__file__).parents[1] / "ardtool_example.py")
DEVIATIONS = np.array([3.0, 1.0, 0.1])


@pytest.fixture
def pca(tmp_path) -> Path:
    random = np.random.default_rng(0)
    components = np.linalg.qr(random.normal(size=(8, 3)))[0].T
    np.savez(tmp_path / "pca.npz", mean=random.normal(size=8), components=components)
    np.save(tmp_path / "x.npy", random.normal(size=(4000, 3)) * DEVIATIONS @ components)
    return tmp_path / "pca.npz"


def test_scores_are_the_variances_along_the_components(pca):
    result = ardtool.relevance(pca, data=str(pca.parent / "x.npy"), plugin=PLUGIN_FILE)
    assert result.method == "foreign"
    assert result.active == 2
    for axis in result.axes:
        assert axis.weight == pytest.approx(1, rel=1e-5)
        assert axis.score == pytest.approx(DEVIATIONS[axis.axis] ** 2, rel=0.1)


def test_other_commands_take_it_too(pca, tmp_path):
    data = str(pca.parent / "x.npy")
    sample = ardtool.sample(pca, out=tmp_path / "s.npz", n=7, data=data, plugin=PLUGIN_FILE)
    assert sample.shape == [7, 8]
    ardtool.traverse(pca, out=tmp_path / "grid.png", data=data, plugin=PLUGIN_FILE)
    assert ardtool.evaluate(pca, data=data, metrics=["mse"], plugin=PLUGIN_FILE).metrics["mse"].value > 0


def test_it_is_found_once_installed(pca):
    if "example" not in {listing.name for listing in list_plugins()}:
        pytest.skip("ardtool-example is not installed")
    assert find_plugin(pca).name == "example"
    assert find_plugin(pca, "example").name == "example"
    assert ardtool.relevance(pca, data=str(pca.parent / "x.npy")).active == 2
