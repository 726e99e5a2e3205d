"""The commands on models of pythae: where codes come from, trust, and an axis that the decoder does not read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import ardtool
from ardtool.errors import ModelFileError, PluginError

DEAD = 1


def kill(model: Any) -> None:
    """The decoder stops reading one axis, which the encoder writes clearly."""
    means = model.encoder.mean if hasattr(model.encoder, "mean") else model.encoder.embedding
    means.weight.mul_(20)
    layer = model.decoder.layer if hasattr(model.decoder, "layer") else model.decoder.layers[0][0]
    layer.weight[:, DEAD] = 0


@pytest.fixture
def data(tmp_path) -> str:
    """Images of 6×6 pixels."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(size=(300, 1, 6, 6)).astype(np.float32))
    return str(tmp_path / "x.npy")


def ignored(result: Any) -> list[int]:
    return [axis.axis for axis in result.axes if axis.state == "ignored"]


def test_codes_come_from_data_or_from_the_prior(save, data):
    folder = save(change=kill)
    with pytest.raises(ModelFileError) as caught:
        ardtool.relevance(folder)
    assert all(option in caught.value.hint for option in ("--data", "--latents", "--assume-prior"))
    result = ardtool.relevance(folder, data=data)
    assert ignored(result) == [DEAD]
    assert all(axis.kl is not None for axis in result.axes)
    assert ardtool.relevance(folder, assume_prior=True).codes_from == "prior"


@pytest.mark.parametrize("source", ["data", "latents"])
def test_every_command_takes_codes_from_either_source(save, data, tmp_path, source):
    folder = save(change=kill)
    ardtool.encode(folder, data=data, out=tmp_path / "codes.npz")
    given: dict[str, Any] = {"data": data} if source == "data" else {"latents": tmp_path / "codes.npz"}
    assert ardtool.relevance(folder, **given).codes_from == source
    assert ardtool.sample(folder, out=tmp_path / "samples.npz", n=7, **given).shape == [7, 1, 6, 6]
    ardtool.traverse(folder, out=tmp_path / "grid.png", **given)
    assert (tmp_path / "grid.png").stat().st_size > 0
    assert ardtool.prune(folder, out=tmp_path / "small.safetensors", threshold=1.0, **given).dropped == [DEAD]


@pytest.mark.parametrize("own", [False, True], ids=["default", "pickled"])
def test_pruning_drops_the_axis_that_is_not_read(save, data, tmp_path, own):
    folder = save(own=own, change=kill)
    small = tmp_path / "small.safetensors"
    if own:
        with pytest.raises(PluginError, match=r"unpickles encoder\.pkl and decoder\.pkl"):
            ardtool.prune(folder, out=small, data=data)
    result = ardtool.prune(folder, out=small, threshold=1.0, data=data, trust=own)
    assert result.dropped == [DEAD]
    assert result.max_abs_difference <= 1e-5 * result.output_scale
    if own:
        with pytest.raises(PluginError, match="unpickles networks in"):
            ardtool.relevance(small)
    command = [sys.executable, "-m", "ardtool", "relevance", str(small), "--json", *(["--trust"] if own else [])]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["latent_dim"], found["codes_from"]) == (2, "model")
    assert not any(axis["state"] == "ignored" for axis in found["axes"])
