"""The plugin on small random models of all five classes: the contract, the files it reads, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ardtool_diffusers import build, load, matches, plugin
from safetensors.torch import load_file, save_file

from ardtool.errors import ModelFileError
from ardtool.registry import find_plugin, list_plugins
from ardtool.testing import check_autoencoder

WEIGHTS = "diffusion_pytorch_model.safetensors"
BIN = "diffusion_pytorch_model.bin"


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def kl(folder_of, tmp_path) -> Path:
    """A copy of the saved AutoencoderKL to change."""
    return Path(shutil.copytree(folder_of("AutoencoderKL"), tmp_path / "kl"))


def as_bin(folder: Path) -> Path:
    torch.save(load_file(folder / WEIGHTS), folder / BIN)
    (folder / WEIGHTS).unlink()
    return folder / BIN


def test_the_contract_holds(name, folder_of, images, latent_shapes):
    model = load(folder_of(name), "cpu")
    assert model.input_shape == (3, 8, 8)
    assert model.latent_shape == latent_shapes[name]
    check_autoencoder(model, images[:3], spec=plugin)


def test_weights_come_back_equal(name, folder_of, make_model):
    original, loaded = make_model(name).state_dict(), load(folder_of(name), "cpu").model.state_dict()
    assert original.keys() == loaded.keys()
    assert all(torch.equal(original[key], loaded[key]) for key in original)


def test_the_library_reconstructs_the_same(name, folder_of, images):
    """Against encode and decode of the class itself on images in [−1, 1]."""
    model = load(folder_of(name), "cpu")
    with torch.no_grad():
        found = model.model.encode(2 * images[:2] - 1)
        code = found.latent_dist.mean if "latent_dist" in found else found.to_tuple()[0]
        options = {"force_not_quantize": True} if name == "VQModel" else {}
        expected = model.model.decode(code, **options).sample / 2 + 0.5
        posterior = model.encode(images[:2])
        assert torch.equal(posterior.mean, code)
        torch.testing.assert_close(model.decode(posterior.mean), expected, rtol=0, atol=1e-6)
    assert (posterior.log_variance is None) == ("KL" not in name)


def test_latents_are_raw(make_model, save_model, images, tmp_path):
    """Factors and shifts in the config change nothing."""
    plain = load(save_model(make_model("AutoencoderKL"), tmp_path / "plain"), "cpu")
    scaled = load(save_model(make_model("AutoencoderKL", scaling_factor=7.0, shift_factor=3.0), tmp_path / "scaled"), "cpu")
    assert torch.equal(plain.encode(images[:2]).mean, scaled.encode(images[:2]).mean)


def test_decoded_images_are_not_clamped(folder_of):
    model = load(folder_of("AutoencoderKL"), "cpu")
    with torch.no_grad():
        z = torch.randn(2, *model.latent_shape)
        before = model.decode(z)
        for shift in (10, -20):
            model.model.decoder.conv_out.bias += shift
            torch.testing.assert_close(model.decode(z), before + (5 if shift == 10 else -5), rtol=0, atol=1e-5)


def test_codebook_models_that_decode_indices_are_read_too(make_model, save_model, images, tmp_path):
    plain = load(save_model(make_model("VQModel"), tmp_path / "plain"), "cpu")
    lookup = load(save_model(make_model("VQModel", lookup_from_codebook=True), tmp_path / "lookup"), "cpu")
    spatial = load(
        save_model(make_model("VQModel", norm_type="spatial", block_out_channels=(32, 32), vq_embed_dim=4), tmp_path / "spatial"), "cpu"
    )
    z = plain.encode(images[:2]).mean
    assert torch.equal(plain.decode(z), lookup.decode(z))
    check_autoencoder(spatial, images[:2], spec=plugin)


def test_nothing_is_asked_of_the_network(folder_of, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    load(folder_of("AutoencoderTiny"), "cpu")


def test_it_matches_by_config_alone(name, folder_of, tmp_path):
    folder = folder_of(name)
    assert matches(folder) and matches(folder / WEIGHTS)
    pipeline = tmp_path / "pipeline"
    (pipeline / "vae").mkdir(parents=True)
    shutil.copy(folder / "config.json", pipeline / "vae")
    assert not matches(pipeline)
    (pipeline / "model_index.json").write_text("{}")
    assert matches(pipeline)


@pytest.mark.parametrize("config", ['{"_class_name": "UNet2DModel"}', "{}", "[1]", "no JSON"])
def test_it_does_not_match_others(config, tmp_path):
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.npz").touch()
    assert not matches(tmp_path)
    assert not matches(tmp_path / "model.npz")
    assert not matches(tmp_path / "nowhere")


def test_it_is_installed_and_found(folder_of):
    listing = next(each for each in list_plugins() if each.name == "diffusers")
    assert listing.distribution == "ardtool-diffusers" and listing.spec is not None
    assert find_plugin(folder_of("AutoencoderKL")).name == "diffusers"


def test_finding_plugins_imports_nothing_heavy():
    code = "import sys, ardtool_diffusers; assert not {'torch', 'diffusers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pipeline_a_file_and_a_variant_hold_the_same_model(kl, tmp_path, images):
    expected = load(kl, "cpu").encode(images[:2]).mean
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    shutil.copytree(kl, tmp_path / "pipeline" / "vae")
    assert torch.equal(load(tmp_path / "pipeline", "cpu").encode(images[:2]).mean, expected)
    assert torch.equal(load(kl / WEIGHTS, "cpu").encode(images[:2]).mean, expected)
    (kl / WEIGHTS).rename(kl / "diffusion_pytorch_model.ema.safetensors")
    assert torch.equal(load(kl, "cpu").encode(images[:2]).mean, expected)
    shutil.copy(kl / "diffusion_pytorch_model.ema.safetensors", kl / "diffusion_pytorch_model.other.safetensors")
    with pytest.raises(ModelFileError, match=r"several variants .* diffusion_pytorch_model.ema.safetensors, diffusion_"):
        load(kl, "cpu")


@pytest.mark.parametrize("safe", [True, False])
def test_shards_are_joined(safe, make_model, save_model, folder_of, tmp_path, images):
    folder = save_model(make_model("AutoencoderKL"), tmp_path / "shards", max_shard_size="10KB", safe_serialization=safe)
    shards = sorted(folder.glob("*-of-*"))
    assert len(shards) > 1
    expected = load(folder_of("AutoencoderKL"), "cpu").encode(images[:2]).mean
    assert torch.equal(load(folder, "cpu").encode(images[:2]).mean, expected)
    shards[1].unlink()
    with pytest.raises(ModelFileError, match=rf"lacks {shards[1].name}, which diffusion_pytorch_model.*index.json lists"):
        load(folder, "cpu")


def test_half_precision_weights_are_computed_in_float32(make_model, save_model, tmp_path, images):
    model = load(save_model(make_model("AutoencoderKL").half(), tmp_path / "half"), "cpu")
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert not model.training
    check_autoencoder(model, images[:2], spec=plugin)


def test_old_names_of_attention_layers_are_read(kl, images):
    expected = load(kl, "cpu").encode(images[:2]).mean
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(kl / WEIGHTS)
    renamed = {}
    for key, value in weights.items():
        for new, former in old.items():
            key = key.replace(f".{new}.", f".{former}.")
        renamed[key] = value
    assert renamed.keys() != weights.keys()
    save_file(renamed, kl / WEIGHTS)
    assert torch.equal(load(kl, "cpu").encode(images[:2]).mean, expected)


def test_a_pickle_of_tensors_is_read(kl, images):
    expected = load(kl, "cpu").encode(images[:2]).mean
    path = as_bin(kl)
    assert torch.equal(load(kl, "cpu").encode(images[:2]).mean, expected)
    assert matches(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_runs_nothing(zipped, kl, tmp_path):
    weights = load_file(kl / WEIGHTS)
    (kl / WEIGHTS).unlink()
    torch.save(weights | {"extra": Canary(tmp_path / "ran")}, kl / BIN, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelFileError, match=r"would run posix.mkdir when unpickled" if zipped else r"is not a file of weights"):
        load(kl, "cpu")
    assert matches(kl)
    assert not (tmp_path / "ran").exists()
    torch.load(kl / BIN, weights_only=False)
    assert (tmp_path / "ran").exists()  # so the file was hostile indeed


def test_a_pickle_of_something_else_is_refused(kl):
    path = as_bin(kl)
    torch.save({"epoch": 3, "state_dict": {}}, path)
    with pytest.raises(ModelFileError, match="holds something other than tensors by name"):
        load(kl, "cpu")
    path.write_bytes(b"\x80")
    with pytest.raises(ModelFileError, match="is not a file of weights"):
        load(kl, "cpu")


def test_wrong_files_are_named(kl, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match=r"empty has no config.json"):
        load(tmp_path / "empty", "cpu")
    (kl / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelFileError, match=r"safetensors is not a whole safetensors file.*Git LFS pointer"):
        load(kl, "cpu")
    (kl / WEIGHTS).unlink()
    with pytest.raises(ModelFileError, match=r"kl holds no weights; expected diffusion_pytorch_model.safetensors or"):
        load(kl, "cpu")
    (kl / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ModelFileError, match=r"describes a 'UNet2DModel'; expected one of AutoencoderKL"):
        load(kl, "cpu")
    (kl / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config.json cannot be read"):
        load(kl, "cpu")


def test_weights_that_do_not_fit_are_named(kl):
    weights = load_file(kl / WEIGHTS)
    name = "decoder.conv_out.bias"
    save_file({key: value for key, value in weights.items() if key != name}, kl / WEIGHTS)
    with pytest.raises(ModelFileError, match=rf"safetensors lacks '{name}'\."):
        load(kl, "cpu")
    save_file(weights | {"a": torch.zeros(1), "b": torch.zeros(1)}, kl / WEIGHTS)
    with pytest.raises(ModelFileError, match=r"has the unknown 'a' and 1 more tensors"):
        load(kl, "cpu")
    save_file(weights | {name: torch.zeros(5)}, kl / WEIGHTS)
    with pytest.raises(ModelFileError, match=rf"'{name}' is 5 in the file; config.json makes it 3"):
        load(kl, "cpu")


def change_config(folder: Path, **settings) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


def test_sample_size_decides_the_size_of_images(kl):
    for size, shape, latents in ((16, (3, 16, 16), (4, 8, 8)), ([8, 24], (3, 8, 24), (4, 4, 12)), (None, (3, 256, 256), (4, 128, 128))):
        change_config(kl, sample_size=size)
        if size is None:
            config = json.loads((kl / "config.json").read_text())
            del config["sample_size"]
            (kl / "config.json").write_text(json.dumps(config))
        model = load(kl, "cpu")
        assert (model.input_shape, model.latent_shape) == (shape, latents)


def test_sizes_that_do_not_fit_are_named(kl, folder_of, tmp_path):
    change_config(kl, sample_size=15)
    with pytest.raises(ModelFileError, match=r"images of 3×15×15 come back as 3×14×14; expected the same shape.*sample_size"):
        load(kl, "cpu")
    change_config(kl, sample_size="large")
    with pytest.raises(ModelFileError, match=r"sample_size is 'large'; expected a number of pixels or \[height, width\]"):
        load(kl, "cpu")
    dc = Path(shutil.copytree(folder_of("AutoencoderDC"), tmp_path / "dc"))
    change_config(dc, sample_size=15)
    with pytest.raises(ModelFileError, match=r"the model takes no images of 3×15×15"):
        load(dc, "cpu")


def test_settings_that_make_no_model_are_named(kl):
    change_config(kl, act_fn="sudden")
    with pytest.raises(ModelFileError, match=r"diffusers makes no AutoencoderKL of .*config.json"):
        load(kl, "cpu")


def test_build_takes_the_five_classes_only(folder_of):
    record = load(folder_of("AutoencoderKL"), "cpu").build_record
    with pytest.raises(ModelFileError, match=r"describes a 'DiffusionPipeline'; expected one of AutoencoderKL"):
        build(record | {"class": "DiffusionPipeline"})
