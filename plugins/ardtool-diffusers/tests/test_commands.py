"""Every command on models of all five classes, and a channel that the decoder does not read: it is found, and it alone is pruned."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ardtool

KILLED = 1


@pytest.fixture(scope="module")
def photos(images, tmp_path_factory) -> str:
    """The images as a data set in a file."""
    path = tmp_path_factory.mktemp("data") / "photos.npy"
    np.save(path, images.numpy())
    return str(path)


@torch.no_grad()
def kill(model: Any, channel: int) -> Any:
    """Let the decoder not read one channel of its codes; the encoder goes on writing it."""
    if hasattr(model, "post_quant_conv"):
        model.post_quant_conv.weight[:, channel] = 0
    elif hasattr(model.decoder, "layers"):
        model.decoder.layers[0].weight[:, channel] = 0
    else:
        # the first layer adds its input to the result of its convolution; a kernel of −1 takes it away again
        weight = model.decoder.conv_in.weight
        assert weight.shape[0] == weight.shape[1], "one hidden channel for each channel of the code"
        weight[:, channel] = 0
        weight[channel, channel, 1, 1] = -1
    return model


@pytest.fixture(scope="module")
def killed_of(make_model, save_model, tmp_path_factory) -> Callable[[str], Path]:
    """The saved model of a class whose decoder does not read channel KILLED."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = save_model(kill(make_model(name), KILLED), tmp_path_factory.mktemp("killed") / name)
        return folders[name]

    return folder


def states(result: Any) -> dict[int, str]:
    return {axis.axis: axis.state for axis in result.axes}


def test_channels_are_scored_from_data(name, folder_of, photos, latent_shapes):
    result = ardtool.relevance(folder_of(name), data=photos)
    assert result.method == "foreign" and result.codes_from == "data"
    assert result.latent_dim == latent_shapes[name][0]
    assert sorted(states(result)) == list(range(result.latent_dim))
    assert sum(axis.explained for axis in result.axes) == pytest.approx(1)
    assert json.loads(json.dumps(result.to_dict()))["schema"] == "ardtool.relevance/1"


def test_elements_are_scored_on_request(folder_of, photos):
    """The score of a channel is the sum of those of its elements."""
    folder = folder_of("VQModel")
    channels = ardtool.relevance(folder, data=photos, estimator="exact", samples=8)
    elements = ardtool.relevance(folder, data=photos, estimator="exact", samples=8, granularity="element")
    assert elements.latent_dim == 3 * 4 * 4
    sums = np.zeros(3)
    for axis in elements.axes:
        sums[axis.axis // 16] += axis.score
    for axis in channels.axes:
        assert axis.score == pytest.approx(sums[axis.axis], rel=1e-4)


def test_codes_in_a_file_and_the_prior_will_do(name, folder_of, photos, tmp_path, latent_shapes):
    folder, channels = folder_of(name), latent_shapes[name][0]
    ardtool.encode(folder, data=photos, out=tmp_path / "codes.npz")
    codes = tmp_path / "codes.npz"
    from_codes = ardtool.relevance(folder, latents=codes, samples=8)
    assert from_codes.codes_from == "latents" and from_codes.latent_dim == channels
    assert ardtool.sample(folder, out=tmp_path / "s.npz", n=3, latents=codes).shape == [3, 3, 8, 8]
    ardtool.traverse(folder, out=tmp_path / "grid.png", latents=codes)
    assert len(ardtool.prune(folder, out=tmp_path / "small.safetensors", keep=2, latents=codes).kept) == 2
    from_prior = ardtool.relevance(folder, assume_prior=True, samples=8)
    assert from_prior.codes_from == "prior" and from_prior.latent_dim == channels


def test_without_codes_one_line_names_the_three_sources(name, folder_of):
    with pytest.raises(ardtool.ArdtoolError, match=r"carries no codes.*--data .* --latents codes.npz, or --assume-prior"):
        ardtool.relevance(folder_of(name))


def test_samples_and_traversals_are_drawn(name, folder_of, photos, tmp_path):
    folder = folder_of(name)
    sample = ardtool.sample(folder, out=tmp_path / "s.npz", n=3, data=photos)
    assert sample.shape == [3, 3, 8, 8]
    ardtool.traverse(folder, out=tmp_path / "grid.png", data=photos)
    assert (tmp_path / "grid.png").stat().st_size > 0


def test_a_file_of_weights_beside_its_config_will_do(folder_of, photos):
    folder = folder_of("AutoencoderTiny")
    file = folder / "diffusion_pytorch_model.safetensors"
    assert states(ardtool.relevance(file, data=photos, samples=8)) == states(ardtool.relevance(folder, data=photos, samples=8))


def test_a_channel_that_is_not_read_is_ignored(name, killed_of, photos, latent_shapes):
    result = ardtool.relevance(killed_of(name), data=photos)
    assert [axis for axis, state in states(result).items() if state == "ignored"] == [KILLED]
    assert result.axes[-1].axis == KILLED
    assert result.axes[-1].score == 0


@pytest.mark.slow
def test_pruning_drops_it_and_a_fresh_process_reads_the_rest(name, killed_of, photos, tmp_path, latent_shapes):
    out = tmp_path / "small.safetensors"
    pruned = ardtool.prune(killed_of(name), out=out, threshold=1.0, data=photos)
    channels = latent_shapes[name][0]
    assert pruned.dropped == [KILLED]
    assert pruned.kept == [axis for axis in range(channels) if axis != KILLED]
    assert pruned.max_abs_difference <= 1e-5 * pruned.output_scale
    assert pruned.output_change <= 1e-10
    assert pruned.parameters["after"] <= pruned.parameters["before"]
    assert pruned.mse is not None and pruned.mse["after"] == pytest.approx(pruned.mse["before"], rel=1e-5)
    code = "import json, sys, ardtool; print(json.dumps(ardtool.relevance(sys.argv[1], samples=8).to_dict()))"
    finished = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found["latent_dim"] == channels - 1
    assert found["codes_from"] == "model"
    assert "ignored" not in {axis["state"] for axis in found["axes"]}


@pytest.mark.slow
def test_the_pruned_model_reconstructs_what_the_full_one_does(killed_of, photos, images, tmp_path):
    """Encode and decode with one channel fewer give the same images, for the decoder did not read it."""
    folder, out = killed_of("AutoencoderKL"), tmp_path / "small.safetensors"
    ardtool.prune(folder, out=out, threshold=1.0, data=photos)
    full = ardtool_model(folder)
    small = ardtool.load_model(out).autoencoder
    with torch.no_grad():
        expected = full.decode(full.encode(images[:4]).mean)
        found = small.decode(small.encode(images[:4]).mean)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def ardtool_model(folder: Path) -> Any:
    from ardtool_diffusers import load

    return load(folder, "cpu")


def test_weights_of_channels_are_those_of_finite_differences(folder_of, images, photos):
    """s_c = Σ over elements of (∂x̂/∂z)² σ², with derivatives of the model on images in [0, 1] taken by differences."""
    result = ardtool.relevance(folder_of("AutoencoderTiny"), data=photos, estimator="exact", samples=16)
    model = ardtool_model(folder_of("AutoencoderTiny"))
    with torch.no_grad():
        codes = model.encode(images).mean
        variance = codes.var(dim=0, unbiased=False)
        direction = torch.zeros_like(codes)
        scores: list[Tensor] = []
        for channel in range(codes.shape[1]):
            score = torch.zeros(())
            for element in range(16):
                direction.zero_()
                direction[:, channel].flatten(1)[:, element] = 1e-2
                change = (model.decode(codes + direction) - model.decode(codes - direction)) / 2e-2
                score += change.square().sum() / len(codes) * variance[channel].flatten()[element]
            scores.append(score)
    for axis in result.axes:
        assert axis.score == pytest.approx(float(scores[axis.axis]), rel=0.02)
