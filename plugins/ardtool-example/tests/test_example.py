"""The example plugin on a PCA model whose relevance is known, installed or by file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ardtool
from ardtool.registry import find_plugin, list_plugins
from ardtool.testing import check_autoencoder

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


def test_it_keeps_the_contract(pca):
    spec = find_plugin(pca, PLUGIN_FILE)
    check_autoencoder(spec.load(pca, "cpu"), torch.from_numpy(np.load(pca.parent / "x.npy")[:5]).float(), spec=spec)


def test_prune_drops_an_axis_that_the_decoder_does_not_read_and_the_file_loads_in_a_fresh_process(pca, tmp_path):
    with np.load(pca) as file:
        mean, components = file["mean"], file["components"]
    data, small = str(tmp_path / "x.npy"), tmp_path / "small.safetensors"
    np.savez(tmp_path / "killed.npz", mean=mean, components=components * np.array([[1], [0], [1]]))
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(500, 3)) @ components)

    result = ardtool.prune(tmp_path / "killed.npz", out=small, threshold=1.0, data=data, plugin=PLUGIN_FILE)
    assert result.dropped == [1] and result.decoder == "folded"
    command = [sys.executable, "-m", "ardtool", "relevance", str(small), "--json", "--plugin", PLUGIN_FILE]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert found["latent_dim"] == 2 and found["original_axes"] == [0, 2] and found["codes_from"] == "model"


@pytest.mark.parametrize("source", ["data", "latents"])
def test_every_command_takes_codes_from_either_source(pca, tmp_path, source):
    data = str(pca.parent / "x.npy")
    ardtool.encode(pca, data=data, out=tmp_path / "codes.npz", plugin=PLUGIN_FILE)
    given: dict[str, Any] = {"data": data} if source == "data" else {"latents": tmp_path / "codes.npz"}
    given["plugin"] = PLUGIN_FILE
    assert ardtool.relevance(pca, **given).codes_from == source
    assert ardtool.sample(pca, out=tmp_path / "s.npz", n=7, **given).shape == [7, 8]
    ardtool.traverse(pca, out=tmp_path / "grid.png", **given)
    assert ardtool.prune(pca, out=tmp_path / "small.safetensors", keep=2, **given).dropped == [2]
    assert ardtool.evaluate(pca, data=data, metrics=["mse"], plugin=PLUGIN_FILE).metrics["mse"].value > 0


def test_without_codes_one_line_names_the_three_sources(pca):
    with pytest.raises(ardtool.ArdtoolError) as caught:
        ardtool.relevance(pca, plugin=PLUGIN_FILE)
    assert all(option in caught.value.hint for option in ("--data", "--latents", "--assume-prior"))


def test_it_is_found_once_installed(pca):
    if "example" not in {listing.name for listing in list_plugins()}:
        pytest.skip("ardtool-example is not installed")
    assert find_plugin(pca).name == "example"
    assert find_plugin(pca, "example").name == "example"
    assert ardtool.relevance(pca, data=str(pca.parent / "x.npy")).active == 2
