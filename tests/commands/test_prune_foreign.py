"""Foreign models are pruned like ardtool's own: a model with latent maps and a context, brought in by a plugin file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import ardtool
from ardtool.autoencoder import ModulePair
from ardtool.commands.opening import open_model
from ardtool.errors import ArdtoolError, ModelFileError
from ardtool.storage.model_file import load_model

PLUGIN = """
import json
import torch
from torch import nn
from ardtool import PluginSpec
from ardtool.autoencoder import Posterior


class Maps(nn.Module):
    input_shape, latent_shape = (1, 8, 8), (3, 4, 4)

    def __init__(self, width):
        super().__init__()
        self.build_record = {"width": width}
        self.down = nn.Conv2d(1, 6, 2, stride=2)
        self.up = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.SiLU(), nn.ConvTranspose2d(width, 1, 2, stride=2))

    def encode(self, x):
        mean, log_variance = self.down(x).chunk(2, dim=1)
        return Posterior(mean, log_variance - 4, x.mean(dim=(1, 2, 3))[:, None])

    def decode(self, z, context=None):
        return self.up(z) + context[:, :, None, None]


def load(path, device):
    torch.manual_seed(0)
    model = Maps(json.loads(path.read_text())["width"])
    with torch.no_grad():
        model.up[0].weight[:, 1] *= 0.01
    return model.to(device).eval()


plugin = PluginSpec("maps", "maps", lambda path: path.suffix == ".maps", load, build=BUILD)
"""


@pytest.fixture
def foreign(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("plugin.py").write_text(PLUGIN.replace("BUILD", "lambda record: Maps(record['width'])"))
    Path("model.maps").write_text(json.dumps({"width": 5}))
    return Path("model.maps")


def images():
    return torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_channels_of_a_foreign_model_are_removed_and_its_file_needs_no_data(foreign):
    result = ardtool.prune(foreign, out="small.safetensors", plugin="plugin.py", data=images(), keep=2)
    assert (result.kept, result.dropped) == ([0, 2], [1])
    assert (result.noun, result.granularity, result.codes_from) == ("channels", "channel", "data")
    assert result.latent_shape == {"before": [3, 4, 4], "after": [2, 4, 4]}
    assert result.decoder == "bias map"  # the convolution is padded: the constant differs at the borders
    assert result.exports[0]["relative"] <= 1e-5
    full, small = open_model(foreign, plugin="plugin.py"), open_model("small.safetensors", plugin="plugin.py")
    posterior = full.autoencoder.encode(images())
    held = posterior.mean.clone()
    held[:, 16:32] = small_mean(full)
    expected = full.autoencoder.decode(held, posterior.context)
    found = small.autoencoder.decode(posterior.mean[:, [*range(16), *range(32, 48)]], posterior.context)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    metadata = load_model("small.safetensors", plugin="plugin.py").metadata
    assert (metadata["foreign"]["plugin"], metadata["foreign"]["record"]) == ("maps", {"width": 5})
    assert (metadata["axes"]["kept"], metadata["axes"]["of"]) == ([0, 2], 3)
    scores = ardtool.relevance("small.safetensors", plugin="plugin.py")
    assert (scores.latent_dim, scores.original_axes) == (2, (0, 2))


def small_mean(full):
    """The aggregate mean of channel 1 over the samples, sampled as `prune` samples codes."""
    from ardtool.commands.inputs import data_for
    from ardtool.commands.opening import codes_for

    return codes_for(full, data=data_for(full, images(), None)).statistics.mean[16:32].float()


def test_a_foreign_model_without_codes_names_the_three_sources(foreign):
    with pytest.raises(ModelFileError) as caught:
        ardtool.prune(foreign, out="small.safetensors", plugin="plugin.py")
    for option in ("--data", "--latents", "--assume-prior"):
        assert option in caught.value.hint


def test_a_plugin_that_cannot_rebuild_its_model_is_named(foreign):
    Path("plugin.py").write_text(PLUGIN.replace("BUILD", "None"))
    with pytest.raises(ModelFileError) as caught:
        ardtool.prune(foreign, out="small.safetensors", plugin="plugin.py", data=images())
    assert caught.value.message == "The plugin 'maps' cannot rebuild a Maps from a .safetensors file."
    assert "--out small.pt2" in caught.value.hint
    assert not Path("small.safetensors").exists()


def test_an_object_without_weights_cannot_be_written(tmp_path):
    class Plain:
        input_shape, latent_shape = (4,), (4,)

        def encode(self, x):
            raise AssertionError("nothing is encoded")

        decode = encode

    with pytest.raises(ArdtoolError) as caught:
        ardtool.prune(Plain(), out=tmp_path / "x.pt2", assume_prior=True)
    assert caught.value.message == "A Plain is no torch.nn.Module, so it has no weights to write."


@pytest.mark.slow
def test_the_decoder_of_a_module_pair_is_exported(tmp_path):
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 6))
    with torch.no_grad():
        decoder[0].weight[:, 2] = 0
    model = ModulePair(torch.nn.Linear(6, 4), decoder, (6,), 4)
    result = ardtool.prune(model, out=tmp_path / "x.pt2", assume_prior=True, threshold=1.0)
    assert (result.kept, result.dropped, result.codes_from) == ([0, 1, 3], [2], "prior")
    assert [Path(file).name for file in result.files] == ["x.pt2", "x.json"]
    program = torch.export.load(tmp_path / "x.pt2").module()
    c = torch.randn(5, 3)
    mean = torch.zeros(5, 1)
    torch.testing.assert_close(program(c), decoder(torch.cat([c[:, :2], mean, c[:, 2:]], dim=1)), rtol=1e-5, atol=1e-6)


def test_the_features_of_a_foreign_model_are_read_by_the_same_plugin(foreign):
    found = ardtool.evaluate(foreign, data=images(), plugin=Path("plugin.py"), metrics="fid", features=foreign, out="metrics.json").metrics
    assert any(name.startswith("fd[") for name in found)
