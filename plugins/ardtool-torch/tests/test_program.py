"""Exported programs: alone and in pairs, with free, bounded and fixed batches; nothing is unpickled without --trust."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from ardtool_torch import build, load, plugin, risk
from torch.export import Dim

from ardtool import Posterior
from ardtool.errors import ArdtoolError, ModelFileError, PluginError
from ardtool.latent.jacobian import column_norms, inference_mode
from ardtool.registry import find_plugin, load_foreign
from ardtool.testing import check_autoencoder

BATCH = Dim("batch")


@pytest.mark.parametrize("chunks", [1, 2])
def test_an_encoder_and_a_decoder(export, tmp_path, chunks):
    encoder = export("pair/encoder.pt2", 6, 4 * chunks, chunks, BATCH)
    export("pair/decoder.pt2", 4, 6, batch=BATCH)
    assert find_plugin(tmp_path / "pair").name == "torch"
    model = load(tmp_path / "pair", "cpu")
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    check_autoencoder(model, x, spec=plugin)
    found = model.encode(x)
    expected = (encoder(x), None) if chunks == 1 else encoder(x)
    torch.testing.assert_close(found.mean, expected[0])
    assert (found.log_variance is None) == (chunks == 1)


@pytest.mark.parametrize("batch", [BATCH, Dim.DYNAMIC, Dim("batch", min=1, max=7), None], ids=["free", "dynamic", "bounded", "fixed"])
def test_a_decoder_with_any_batch(export, tmp_path, batch):
    decoder = export("decoder.pt2", 4, 6, batch=batch)
    model = load(tmp_path / "decoder.pt2", "cpu")
    assert (model.latent_shape, model.input_shape) == ((4,), (6,))
    z = torch.randn(9, 4)
    with inference_mode(model):
        for count in (1, 2, 9):
            torch.testing.assert_close(model.decode(z[:count]), decoder(z[:count]))
        doubles = copy.deepcopy(model).double().decode(z.double())
    torch.testing.assert_close(doubles, decoder.double()(z.double()))
    assert {name.replace("/", "."): value.shape for name, value in model.decoder.state_dict().items()} == {
        name: value.shape for name, value in decoder.state_dict().items()
    }


@pytest.mark.parametrize("batch", [BATCH, None], ids=["free", "fixed"])
def test_jacobian_norms_are_those_of_the_module(export, tmp_path, batch):
    decoder = export("decoder.pt2", 4, 6, batch=batch)
    z = torch.randn(3, 4)
    expected = torch.stack([torch.autograd.functional.jacobian(lambda one: decoder(one[None])[0], each) for each in z]).square().sum(1)
    found = column_norms(load(tmp_path / "decoder.pt2", "cpu"), Posterior(z)).contributions
    torch.testing.assert_close(found.float(), expected)


def test_a_decoder_alone_encodes_nothing(export, tmp_path):
    export("small.pt2", 4, 6, batch=BATCH)
    model = load(tmp_path / "small.pt2", "cpu")
    with pytest.raises(ArdtoolError) as caught:
        model.encode(torch.zeros(2, 6))
    assert caught.value.message == f"{tmp_path / 'small.pt2'} is a decoder alone; it encodes nothing."
    assert caught.value.hint.startswith("Give --latents codes.npz or --assume-prior")


def test_a_maps_decoder(tmp_path):
    decoder = torch.nn.ConvTranspose2d(3, 1, 4, 2, 1).eval()
    program = torch.export.export(decoder, (torch.randn(2, 3, 4, 4),), dynamic_shapes=({0: BATCH},))
    torch.export.save(program, tmp_path / "maps.pt2")
    model = load(tmp_path / "maps.pt2", "cpu")
    assert (model.latent_shape, model.input_shape) == ((3, 4, 4), (1, 8, 8))


def test_programs_that_do_not_fit_each_other(export, tmp_path):
    export("pair/encoder.pt2", 6, 5, batch=BATCH)
    export("pair/decoder.pt2", 4, 6, batch=BATCH)
    with pytest.raises(ModelFileError) as caught:
        load(tmp_path / "pair", "cpu")
    assert caught.value.message == f"{tmp_path / 'pair' / 'encoder.pt2'} maps 6 to 5; the decoder maps codes of 4 to 6."


def test_programs_that_are_no_decoders(export, tmp_path):
    export("two.pt2", 4, 6, chunks=2, batch=BATCH)
    with pytest.raises(ModelFileError, match=r"two\.pt2 gives 2 outputs; a decoder gives one\."):
        load(tmp_path / "two.pt2", "cpu")
    broken = tmp_path / "broken.pt2"
    broken.write_bytes((tmp_path / "two.pt2").read_bytes()[:2000])
    with pytest.raises(ModelFileError, match=r"broken\.pt2 is no exported program that this torch reads"):
        load(broken, "cpu")
    with pytest.raises(ModelFileError, match=r"lost\.pt2 cannot be read: No such file or directory\."):
        load(tmp_path / "lost.pt2", "cpu")


def test_a_pruned_model_rebuilds_from_unchanged_programs(export, tmp_path):
    decoder = export("decoder.pt2", 4, 6, batch=BATCH)
    record = load(tmp_path / "decoder.pt2", "cpu").build_record
    assert json.loads(json.dumps(record)) == record
    assert risk(record) == "unpickles what an exported program holds"
    z = torch.randn(2, 4)
    torch.testing.assert_close(build(record).decode(z), decoder(z))
    export("decoder.pt2", 5, 6, batch=BATCH)
    with pytest.raises(ModelFileError, match=r"decoder\.pt2 has changed since the model was pruned\."):
        build(record)
    (tmp_path / "decoder.pt2").unlink()
    with pytest.raises(ModelFileError, match=r"decoder\.pt2 does not exist; a pruned model is rebuilt from it\."):
        build(record)


def poisoned(path: Path, payload: object) -> None:
    """Put a pickle of something else in the place of the first weight of an exported program."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    (config_name,) = (name for name in members if name.endswith("model_weights_config.json"))
    config = json.loads(members[config_name])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    members[config_name] = json.dumps(config).encode()
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    members[config_name.rpartition("/")[0] + "/" + first["path_name"]] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_malicious_program_is_not_loaded_without_trust(export, tmp_path, canary):
    export("decoder.pt2", 4, 6, batch=BATCH)
    path = tmp_path / "decoder.pt2"
    poisoned(path, canary)
    with pytest.raises(PluginError) as caught:
        load_foreign(find_plugin(path), path, "cpu")
    assert caught.value.message.startswith(f"Loading {path} unpickles what an exported program holds, which can run any code")
    assert not canary.path.exists()
    with pytest.raises(ModelFileError):
        load_foreign(find_plugin(path), path, "cpu", trust=True)
    assert canary.path.exists()
