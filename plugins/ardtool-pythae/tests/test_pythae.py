"""Models as pythae saves them: the same numbers as pythae's own, nothing unpickled without --trust, a line for every broken folder."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
import torch
from ardtool_pythae import build, load, plugin, risk
from ardtool_pythae.model import MODELS
from pythae.data.datasets import DatasetOutput
from pythae.models import AutoModel

from ardtool.errors import ModelFileError, PluginError
from ardtool.registry import find_plugin, load_foreign
from ardtool.testing import check_autoencoder

POINTS = ("AE", "PoincareVAE", "RAE_GP", "RAE_L2", "SVAE", "VAE_IAF", "VAE_LinNF", "VQVAE", "WAE_MMD")


def images(model, count: int = 5) -> torch.Tensor:
    return torch.rand(count, *model.input_shape, generator=torch.Generator().manual_seed(1))


def smooth(model: Any) -> None:
    """Every hidden unit of the decoder is on, so that central differences meet no kink."""
    model.decoder.layers[0][0].bias.fill_(3)


@pytest.mark.parametrize("name", sorted(MODELS.values()))
def test_every_class_keeps_the_contract(save, name):
    folder = save(name, change=smooth)
    assert find_plugin(folder).name == "pythae"
    model = load_foreign(find_plugin(folder), folder, "cpu")  # not trusted: nothing is unpickled
    x = images(model)
    check_autoencoder(model, x, spec=plugin)
    assert (model.encode(x).log_variance is None) == (name in POINTS)


@pytest.mark.parametrize("name", ["AE", "VQVAE", "WAE_MMD", "RAE_L2"])
def test_deterministic_models_reconstruct_as_pythae_does(save, name):
    folder = save(name)
    original: Any = AutoModel.load_from_folder(str(folder)).eval()
    model = load(folder, "cpu")
    x = images(model)
    torch.testing.assert_close(model.decode(model.encode(x).mean), original(DatasetOutput(data=x)).recon_x)


@pytest.mark.parametrize("name", ["VAE_IAF", "VAE_LinNF"])
def test_codes_of_flow_models_are_draws_without_variance(save, name):
    """With a posterior as narrow as a point, pythae's own embedding is our code."""

    def narrow(model) -> None:
        model.encoder.log_var.weight.zero_()
        model.encoder.log_var.bias.fill_(-60)

    folder = save(name, change=narrow)
    original: Any = AutoModel.load_from_folder(str(folder)).eval()
    model = load(folder, "cpu")
    x = images(model)
    torch.testing.assert_close(model.encode(x).mean, original.embed(x))


def test_codes_on_the_sphere_have_length_one(save):
    model = load(save("SVAE"), "cpu")
    torch.testing.assert_close(model.encode(images(model)).mean.norm(dim=1), torch.ones(5))


def test_networks_of_ones_own_are_unpickled_after_trust_only(save):
    folder = save(own=True)
    with pytest.raises(PluginError) as caught:
        load_foreign(find_plugin(folder), folder, "cpu")
    assert caught.value.message.startswith(f"Loading {folder} unpickles encoder.pkl and decoder.pkl, which can run any code")
    model: Any = load_foreign(find_plugin(folder), folder, "cpu", trust=True)
    check_autoencoder(model, images(model), spec=plugin)
    assert risk(model.build_record) == f"unpickles networks in {folder}"


def test_a_malicious_pickle_is_not_executed_without_trust(save, canary):
    folder = save(own=True)
    (folder / "encoder.pkl").write_bytes(pickle.dumps(canary))
    with pytest.raises(PluginError):
        load_foreign(find_plugin(folder), folder, "cpu")
    assert not canary.path.exists()
    with pytest.raises(ModelFileError, match=r"pythae cannot load encoder\.pkl and decoder\.pkl: "):
        load_foreign(find_plugin(folder), folder, "cpu", trust=True)
    assert canary.path.exists()


def test_a_pickle_that_the_description_does_not_ask_for_is_left_alone(save, canary):
    folder = save()
    (folder / "encoder.pkl").write_bytes(pickle.dumps(canary))
    assert load_foreign(find_plugin(folder), folder, "cpu").latent_shape == (3,)
    assert not canary.path.exists()


@pytest.mark.parametrize("own", [False, True])
def test_malicious_weights_are_never_executed(save, canary, own):
    folder = save(own=own)
    state = torch.load(folder / "model.pt", weights_only=True)
    torch.save(state | {"settings": canary}, folder / "model.pt")
    with pytest.raises(ModelFileError, match=r"model\.pt would run code .*posix\.mkdir"):
        load_foreign(find_plugin(folder), folder, "cpu", trust=True)
    assert not canary.path.exists()


def describe(folder, **changes) -> None:
    path = folder / "model_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "MAFConfig"}, "{folder}/model_config.json describes 'MAFConfig', which is none of pythae's autoencoders."),
        ({"input_dim": None}, "{folder}/model_config.json does not say the shape of the data: `input_dim` is empty."),
        (
            {"latent_dim": 2},
            "{folder}/model.pt does not fit model_config.json: 'decoder.layers.0.0.weight' is 512×3, the model has 512×2; "
            "'encoder.embedding.weight' is 3×512, the model has 2×512; 'encoder.embedding.bias' is 3, the model has 2; and 2 more.",
        ),
        ({"latent_dim": "many"}, "{folder}/model_config.json: pythae makes no VAE of it: 1 validation error for VAEConfig."),
        (
            {"name": "AEConfig"},
            "{folder}/model.pt does not fit model_config.json: 'encoder.log_var.weight' is not part of the model; "
            "'encoder.log_var.bias' is not part of the model.",
        ),
    ],
)
def test_a_wrong_description_is_one_line(save, changes, sentence):
    folder = save()
    describe(folder, **changes)
    assert find_plugin(folder).name == "pythae"
    with pytest.raises(ModelFileError) as caught:
        load(folder, "cpu")
    assert caught.value.message == sentence.format(folder=folder)


def test_missing_files_are_named(save):
    folder = save(own=True)
    (folder / "decoder.pkl").unlink()
    with pytest.raises(ModelFileError) as caught:
        load(folder, "cpu")
    assert caught.value.message == f"{folder} has a model_config.json but no decoder.pkl."
    (folder / "model.pt").unlink()
    with pytest.raises(ModelFileError) as caught:
        load(folder, "cpu")
    assert caught.value.message == f"{folder} has a model_config.json but no model.pt and decoder.pkl."
    (folder / "model_config.json").write_text("{}")
    assert not plugin.matches(folder.parent)
    with pytest.raises(ModelFileError, match=r"model_config\.json has no `name`, which says what model it describes\."):
        load(folder, "cpu")


def test_a_pruned_model_of_pickled_networks_needs_its_folder_unchanged(save):
    folder = save(own=True)
    record = load(folder, "cpu").build_record
    (folder / "encoder.pkl").write_bytes(b"something else")
    with pytest.raises(ModelFileError, match=r"encoder\.pkl has changed since the model was pruned\."):
        build(record)
    (folder / "encoder.pkl").unlink()
    with pytest.raises(ModelFileError, match=r"encoder\.pkl does not exist; a pruned model reads its networks from there\."):
        build(record)
