"""Exported decoders decode, in a new process and at any batch size, as the model did; what cannot be exported says why."""

from __future__ import annotations

import copy
import zipfile

import pytest
import torch
from torch import Tensor, nn

from ardtool.autoencoder import ModulePair, Posterior, flat_latents
from ardtool.errors import ArdtoolError, ModelFileError, StorageError
from ardtool.export.decoder import DecoderModule, export_decoder
from ardtool.export.fresh import check_in_fresh_process
from ardtool.export.program import largest_batch, one_line, trace_decoder
from ardtool.export.pt2 import read_description

pytest.importorskip("onnxruntime")

KINDS = ("pt2", "onnx")
ROWS = 40
slow = pytest.mark.slow


def dense() -> nn.Module:
    return pair(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)))


def convolutional() -> nn.Module:
    decoder = nn.Sequential(
        nn.Linear(6, 128), nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3)
    )
    decoder[3].running_mean.fill_(0.3)
    decoder[3].running_var.fill_(2.0)
    return pair(decoder)


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return pair(nn.Sequential(nn.Linear(6, 64), nn.Unflatten(1, (4, 16)), layer, nn.Linear(16, 5)))


def latent_maps() -> nn.Module:
    decoder = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 3))
    model = flat_latents(pair(decoder, (4, 8, 8)))
    assert isinstance(model, nn.Module)
    return model


class WithContext(nn.Module):
    """A decoder that takes a label beside z."""

    input_shape, latent_shape = (5,), (6,)

    def __init__(self) -> None:
        super().__init__()
        self.labels, self.layer = nn.Embedding(3, 4), nn.Linear(10, 5)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.layer(torch.cat([z, self.labels(context)], 1))


class OwnCode(nn.Module):
    """A decoder with a function of the user's."""

    def __init__(self, function) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(6, 5), function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(self.layer, z)


def pair(decoder: nn.Module, latent: int | tuple[int, ...] = 6) -> nn.Module:
    return ModulePair(nn.Linear(300, 300), decoder, (5,), latent)


def codes_for(model) -> Posterior:
    context = torch.arange(ROWS) % 3 if isinstance(model, WithContext) else None
    return Posterior(torch.randn(ROWS, model.latent_shape[0]), None, context)


@torch.no_grad()
def decoded(model: nn.Module, codes: Posterior) -> Tensor:
    return copy.deepcopy(model).eval().decode(codes.mean, codes.context)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "build",
    [dense, *(pytest.param(build, marks=slow) for build in (convolutional, attention, latent_maps, WithContext))],
)
def test_a_fresh_process_decodes_as_the_model(build, kind, tmp_path, capfd):
    model = build().train()
    before = copy.deepcopy(model.state_dict())
    codes, path = codes_for(model), tmp_path / f"small.{kind}"
    export_decoder(model, codes, path, kind, {"kept": [0, 2]})
    check = check_in_fresh_process(path, kind, codes, decoded(model, codes))
    assert check.relative <= 1e-5
    assert check.batches == [1, 4, 33]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert capfd.readouterr() == ("", "")
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    description = read_description(path)
    assert description["kept"] == [0, 2]
    assert description["decoder"]["inputs"]["z"] == ["batch", *getattr(model, "map_shape", (6,))]


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_holds_the_decoder_and_no_more(kind, tmp_path):
    model, path = dense(), tmp_path / f"small.{kind}"
    codes = Posterior(torch.randn(ROWS, 6))
    export_decoder(model, codes, path, kind, {})
    assert path.stat().st_size < 30_000  # the encoder alone has 361,200 bytes
    content = path.read_bytes()
    if kind == "pt2":
        with zipfile.ZipFile(path) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
    for source in (__file__, nn.__file__, "linear.py"):
        assert source.encode() not in content
    assert codes.mean[0].numpy().tobytes() not in content
    assert model.get_parameter("decoder.0.weight").detach().numpy().tobytes() in content


def test_altered_weights_are_seen(tmp_path):
    onnx = pytest.importorskip("onnx")
    model, path = dense(), tmp_path / "small.onnx"
    codes = codes_for(model)
    export_decoder(model, codes, path, "onnx", {})
    altered = onnx.load(path)
    for weights in altered.graph.initializer:
        values = onnx.numpy_helper.to_array(weights) + 0.1
        weights.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), weights.name))
    onnx.save(altered, path)
    assert check_in_fresh_process(path, "onnx", codes, decoded(model, codes)).relative > 1e-2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda layer, z: layer(z) if z.sum() > 0 else -layer(z), r"depends on the values of a tensor \(test_export.py, line \d+\)"),
        (lambda layer, z: torch.stack([layer(row) for row in z]), "its code fixes the number of samples"),
        (lambda layer, z: torch.from_numpy(layer(z).numpy()), "numpy"),
    ],
)
def test_what_cannot_be_exported_says_why(kind, function, sentence, tmp_path):
    path = tmp_path / f"small.{kind}"
    path.write_text("the file that was there")
    with pytest.raises(ArdtoolError, match=f"cannot be exported as {kind}: .*{sentence}") as caught:
        export_decoder(pair(OwnCode(function)), Posterior(torch.randn(ROWS, 6)), path, kind, {})
    assert "--export safetensors" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert path.read_text() == "the file that was there"


def test_an_operation_unknown_to_onnx_is_named_with_other_routes(tmp_path):
    model = pair(OwnCode(lambda layer, z: torch.special.bessel_j0(layer(z))))
    with pytest.raises(ArdtoolError, match=r"exported as onnx: .*bessel_j0") as caught:
        export_decoder(model, Posterior(torch.randn(ROWS, 6)), tmp_path / "small.onnx", "onnx", {})
    assert "--export pt2" in caught.value.hint


def test_a_batch_asked_for_as_a_number_stays_free():
    def decode(layer: nn.Module, z: Tensor) -> Tensor:
        return layer(z) + torch.ones(5).expand(len(z), -1)

    module = DecoderModule(pair(OwnCode(decode))).eval()
    program = trace_decoder(module, {"z": torch.randn(2, 6)})
    for batch in (1, 7):
        z = torch.randn(batch, 6)
        torch.testing.assert_close(program.module()(z), module(z))
    assert set(program.state_dict) == {"model.decoder.layer.weight", "model.decoder.layer.bias"}


@slow
def test_a_bounded_batch_is_told_and_kept_to(tmp_path):
    model = pair(OwnCode(lambda layer, z: layer(z) if z.shape[0] < 20 else layer(z) + 1))
    codes, path = Posterior(torch.randn(19, 6)), tmp_path / "small.pt2"
    assert largest_batch(trace_decoder(DecoderModule(model).eval(), {"z": torch.randn(2, 6)})) == 19
    export_decoder(model, codes, path, "pt2", {})
    check = check_in_fresh_process(path, "pt2", codes, decoded(model, codes))
    assert check.relative <= 1e-5
    assert check.batches == [1, 4, 19]


def test_a_missing_package_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ArdtoolError, match="a package that is not installed: onnxscript") as caught:
        export_decoder(dense(), Posterior(torch.randn(ROWS, 6)), tmp_path / "small.onnx", "onnx", {})
    assert caught.value.hint == "`pip install onnxscript`."


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(StorageError, match="is a folder"):
        export_decoder(dense(), Posterior(torch.randn(ROWS, 6)), tmp_path, "pt2", {})


def test_descriptions_of_other_files(tmp_path):
    with pytest.raises(ModelFileError, match=r"Cannot read .*: No such file"):
        read_description(tmp_path / "none.pt2")
    (tmp_path / "text.onnx").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("archive/models/model.json", "{}")
    for name in ("text.onnx", "other.pt2"):
        with pytest.raises(ModelFileError, match=f"{name} is no decoder that ardtool exported"):
            read_description(tmp_path / name)


def test_the_innermost_cause_is_one_line():
    error = RuntimeError("step 1 of 3 failed")
    error.__cause__ = ValueError("\x1b[31mthe cause.\x1b[0m\nmore of it")
    assert one_line(error) == "ValueError: the cause"
    assert one_line(KeyError()) == "KeyError: no reason given"
