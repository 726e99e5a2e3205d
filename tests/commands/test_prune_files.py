"""The files of a pruned model: how they are named, that none is put in place before its check, and that the original is left alone."""

from __future__ import annotations

import pytest
import torch

import ardtool
from ardtool.autoencoder import Posterior
from ardtool.commands.pruning import files
from ardtool.errors import ArdtoolError, ConfigError, StorageError
from ardtool.export.fresh import FreshCheck
from ardtool.latent.codes import LatentCodes
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.statistics import CodeStatistics
from ardtool.networks.build import NetworkAutoencoder, architecture_record, build_network
from ardtool.storage.model_file import SavedModel


def small_model(seed: int = 0) -> SavedModel:
    """An untrained network of ardtool's own, L = 4 on vectors of 8, whose axis 3 the decoder hardly reads."""
    network = build_network(architecture_record("dense", (8,), 4, value_range=None), seed)
    with torch.no_grad():
        network.decoder[0].weight[:, 3] *= 1e-3
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(300, 4, generator=generator) @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 1.0])) + 0.4
    reference = Posterior(mean, torch.full((300, 4), -3.0))
    z = reference.sample(generator)
    codes = LatentCodes(CodeStatistics.of(z), reference, GammaPosterior.uninformed(4).updated(z))
    return SavedModel(network.eval(), codes, {"method": "ard-vae"})


def test_a_file_that_decodes_something_else_is_refused_and_the_old_one_kept(tmp_path, monkeypatch):
    out = tmp_path / "x.safetensors"
    out.write_bytes(b"the old one")
    wrong = FreshCheck(max_abs_difference=0.1, output_scale=2.0, seconds_per_sample=1e-6, batches=[1])
    monkeypatch.setattr(files, "check_in_fresh_process", lambda *_, **__: wrong)
    with pytest.raises(ArdtoolError) as caught:
        ardtool.prune(small_model(), out=out, keep=2, force=True)
    assert caught.value.message == (
        f"{out}, loaded in a fresh process, differs from the original decoder by 5.0e-02 of the output's scale; expected at most 1e-05. "
        "Nothing was written."
    )
    assert out.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_that_cannot_be_loaded_is_named_by_its_final_name(tmp_path, monkeypatch):
    def broken(path, *_, **__):
        raise ArdtoolError(f"{path} is damaged.", "hint")

    monkeypatch.setattr(files, "check_in_fresh_process", broken)
    with pytest.raises(ArdtoolError) as caught:
        ardtool.prune(small_model(), out=tmp_path / "x.safetensors", keep=2)
    assert (caught.value.message, caught.value.hint) == (f"{tmp_path / 'x.safetensors'} is damaged.", "hint")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_found_by_the_fresh_process(tmp_path, monkeypatch):
    """The real check, on a file that loses its weights after it was written."""
    real = files.save_model

    def damage(model, path):
        with torch.no_grad():
            model.autoencoder.decoder[-2].bias += 1.0
        real(model, path)

    monkeypatch.setattr(files, "save_model", damage)
    with pytest.raises(ArdtoolError, match="loaded in a fresh process, differs from the original decoder"):
        ardtool.prune(small_model(), out=tmp_path / "x.safetensors", keep=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"out": "x.safetensors", "export": ["pickle"]}, "--export is 'pickle'; expected safetensors, pt2 or onnx."),
        ({"out": "x.bin"}, "--out is x.bin; a pruned model is a .safetensors, .pt2 or .onnx file."),
        ({"out": "x"}, "--out is x; a pruned model is a .safetensors, .pt2 or .onnx file."),
        ({"basis": "nonsense"}, "--basis is 'nonsense'; expected axes or principal."),
        ({"basis": "principal", "axes": [0]}, "--axes names axes; --basis principal keeps directions."),
        ({"axes": [0], "plot": "c.png"}, "--plot shows errors by the number of most relevant axes; --axes chooses others."),
        ({"basis": "principal", "keep": 9}, "--keep is 9; expected 1 to 3."),  # the decoder hardly reads axis 3
    ],
)
def test_wrong_requests_write_nothing(tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        ardtool.prune(small_model(), **{"out": "x.safetensors"} | options)
    assert caught.value.message == sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.safetensors", "x.json", "x.curve.png", "x.onnx"])
def test_no_file_is_replaced_without_force(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError) as caught:
        ardtool.prune(small_model(), out="x.safetensors", export=["onnx"], max_output_change=1.0)
    assert caught.value.message == f"{name} exists already."
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_is_not_replaced_by_force(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(StorageError, match=r"x\.json is a folder\."):
        ardtool.prune(small_model(), out=tmp_path / "x.safetensors", force=True)


def test_the_original_is_left_as_it_was():
    model = small_model()
    before = {name: value.clone() for name, value in model.autoencoder.state_dict().items()}
    required = [value.requires_grad for value in model.autoencoder.parameters()]
    files.decoder_bytes(model.autoencoder, model.codes.reference)
    assert [value.requires_grad for value in model.autoencoder.parameters()] == required
    assert all(value.grad is None for value in model.autoencoder.parameters())
    for name, value in model.autoencoder.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_that_only_the_encoder_reads_are_not_the_decoders():
    network = small_model().autoencoder
    assert isinstance(network, NetworkAutoencoder)
    expected = 4 * sum(value.numel() for value in network.decoder.parameters())
    assert files.decoder_bytes(network, Posterior(torch.zeros(1, 4))) == expected
    for value in network.parameters():
        value.requires_grad_(False)
    assert files.decoder_bytes(network, Posterior(torch.zeros(1, 4))) == expected


@pytest.mark.parametrize(
    ("out", "export", "names"),
    [
        ("small.safetensors", None, ["small.safetensors"]),
        ("small.safetensors", ["onnx", "safetensors", "pt2"], ["small.safetensors", "small.onnx", "small.pt2"]),
        ("small.v2.onnx", None, ["small.v2.onnx"]),
        ("small", ["pt2"], ["small.pt2"]),
    ],
)
def test_files_are_named_after_out(tmp_path, out, export, names):
    targets = files.plan_files(tmp_path / out, export, None, has_curve=True, force=False)
    assert list(targets.exports.values()) == [tmp_path / name for name in names]
    assert list(targets.exports) == [name.rsplit(".", 1)[1] for name in names]
    stem = names[0].rsplit(".", 1)[0]
    assert (targets.record, targets.plot) == (tmp_path / f"{stem}.json", tmp_path / f"{stem}.curve.png")
