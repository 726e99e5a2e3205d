"""The commands on models of torch: where codes come from, trust, and an axis that the decoder does not read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.export import Dim

import ardtool
from ardtool.errors import ArdtoolError, ModelFileError, PluginError

DEAD = 2


@pytest.fixture
def script(write):
    """net.py, whose decoder does not read one axis, and data beside it."""

    def kill(state):
        state["first.weight"][:, DEAD] = 0
        return state

    path = write(wrap=kill)
    np.save(path.with_name("x.npy"), np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32))
    return path


def ignored(result) -> list[int]:
    return [axis.axis for axis in result.axes if axis.state == "ignored"]


def test_a_script_needs_codes_but_no_trust(script):
    with pytest.raises(ModelFileError) as caught:
        ardtool.relevance(script)
    assert "--data" in caught.value.hint and "--latents" in caught.value.hint and "--assume-prior" in caught.value.hint
    np.savez(script.with_name("codes.npz"), mean=np.random.default_rng(1).normal(size=(200, 4)))
    data = str(script.with_name("x.npy"))
    for result, codes_from in (
        (ardtool.relevance(script, data=data), "data"),
        (ardtool.relevance(script, latents=script.with_name("codes.npz")), "latents"),
        (ardtool.relevance(script, assume_prior=True), "prior"),
    ):
        assert result.codes_from == codes_from
        assert ignored(result) == [DEAD]


@pytest.mark.parametrize("source", ["data", "latents"])
def test_a_script_is_sampled_traversed_and_pruned(script, tmp_path, source):
    data = str(script.with_name("x.npy"))
    ardtool.encode(script, data=data, out=tmp_path / "codes.npz")
    given: dict[str, Any] = {"data": data} if source == "data" else {"latents": tmp_path / "codes.npz"}
    assert ardtool.sample(script, out=tmp_path / "samples.npz", n=7, **given).shape == [7, 6]
    ardtool.traverse(script, out=tmp_path / "grid.png", **given)
    assert (tmp_path / "grid.png").stat().st_size > 0
    assert ardtool.prune(script, out=tmp_path / "small.safetensors", threshold=1.0, **given).dropped == [DEAD]


def test_pruning_a_script_drops_the_axis_that_is_not_read(script, tmp_path):
    small = tmp_path / "small.safetensors"
    result = ardtool.prune(script, out=small, threshold=1.0, data=str(script.with_name("x.npy")))
    assert result.dropped == [DEAD]
    assert result.max_abs_difference <= 1e-5 * result.output_scale
    with pytest.raises(PluginError) as caught:
        ardtool.relevance(small)
    assert caught.value.message.startswith(f"Loading {small} runs {script}, which can run any code")
    command = [sys.executable, "-m", "ardtool", "relevance", str(small), "--trust", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    found = json.loads(found.stdout)
    assert (found["latent_dim"], found["codes_from"]) == (3, "model")
    assert all(axis["state"] == "relevant" for axis in found["axes"])


def test_an_exported_decoder_is_analysed_by_given_codes_after_trust(export, tmp_path):
    export("decoder.pt2", 4, 6, batch=Dim("batch"), kill=DEAD)
    path = tmp_path / "decoder.pt2"
    with pytest.raises(PluginError, match="unpickles what an exported program holds"):
        ardtool.relevance(path, assume_prior=True)
    np.save(tmp_path / "x.npy", np.zeros((5, 6), np.float32))
    with pytest.raises(ArdtoolError, match=r"decoder\.pt2 is a decoder alone; it encodes nothing\."):
        ardtool.relevance(path, data=str(tmp_path / "x.npy"), trust=True)
    assert ignored(ardtool.relevance(path, assume_prior=True, trust=True)) == [DEAD]


@pytest.mark.parametrize("name", ["small.safetensors", pytest.param("small.pt2", marks=pytest.mark.slow)])
def test_a_pruned_decoder_loads_again(export, tmp_path, name):
    decoder = export("decoder.pt2", 4, 6, batch=Dim("batch"), kill=DEAD)
    result = ardtool.prune(tmp_path / "decoder.pt2", out=tmp_path / name, threshold=1.0, assume_prior=True, trust=True)
    assert result.dropped == [DEAD]
    z = torch.randn(5, 4)
    np.save(tmp_path / "codes.npy", z[:, result.kept].numpy())
    ardtool.decode(tmp_path / name, codes=tmp_path / "codes.npy", out=tmp_path / "decoded.npy", trust=True)
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "decoded.npy")), decoder(z))
