"""Model files: complete, checked on reading, never half-written."""

import copy
import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ardtool.autoencoder import FlatLatents, Posterior
from ardtool.data.dataset import Scaling
from ardtool.errors import ModelFileError, PluginError, StorageError
from ardtool.latent.axes import LatentAxes
from ardtool.latent.codes import LatentCodes
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.pruning import prune_axes, prune_directions
from ardtool.latent.statistics import CodeStatistics
from ardtool.networks.build import architecture_record, build_network
from ardtool.registry import PluginListing, PluginSpec, find_plugin, foreign_record
from ardtool.storage import atomic
from ardtool.storage.header import kind_of_file, read_metadata
from ardtool.storage.model_file import SavedModel, load_model, save_model


@pytest.fixture
def model() -> SavedModel:
    network = build_network(architecture_record("auto", (1, 16, 16), 4, value_range=(0.0, 1.0)), 0)
    z = torch.randn(50, 4)
    codes = LatentCodes(CodeStatistics.of(z), Posterior(z, -torch.ones(50, 4)), GammaPosterior.uninformed(4, mean=0.25).updated(z))
    return SavedModel(network, codes, {"method": "ard-vae"}, None, Scaling(torch.zeros(3), torch.ones(3)))


@pytest.fixture
def path(model, tmp_path) -> Path:
    save_model(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def metadata_of(path: Path) -> dict:
    return json.loads(json.loads(path.read_bytes()[8 : 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]])["__metadata__"]["ardtool"])


def rewrite(path: Path, tensors=None, **metadata) -> None:
    record = metadata_of(path) | metadata
    save_file(load_file(path) if tensors is None else tensors, path, metadata={"ardtool": json.dumps(record)})


def test_everything_comes_back(model, path):
    again = load_model(path)
    for name, value in model.autoencoder.state_dict().items():
        assert torch.equal(value, again.autoencoder.state_dict()[name])
    assert again.codes.prior.a == 25
    assert again.codes.prior.mean == 0.25
    assert torch.equal(again.codes.prior.b, model.codes.prior.b)
    torch.testing.assert_close(again.codes.statistics.covariance, model.codes.statistics.covariance)
    assert torch.equal(again.codes.reference.mean, model.codes.reference.mean)
    assert torch.equal(again.codes.reference.log_variance, model.codes.reference.log_variance)
    assert torch.equal(again.scaling.scale, torch.ones(3))
    assert again.method == "ard-vae"
    assert not again.autoencoder.training


def test_documented_tensor_names(path):
    names = {name.split(".")[0] for name in load_file(path)}
    assert names == {"encoder", "decoder", "prior", "codes", "reference", "data"}
    assert {"prior.a", "prior.b", "codes.mean", "codes.second_moment", "codes.covariance", "reference.mean"} <= set(load_file(path))


def error_of(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    assert caught.value.hint
    return caught.value


def test_missing(tmp_path):
    assert error_of(tmp_path / "no.safetensors").message == f"{tmp_path / 'no.safetensors'} does not exist."


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><html>404</html>", "an HTML page (an error page saved in place of the file?)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer, not the file itself"),
        (b"PK\x03\x04" + b"0" * 60, "a truncated or damaged zip archive (a torch checkpoint, an .npz or an exported program)"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"", "an empty file"),
        (b"nothing in particular, but long enough\x00", "of an unknown kind"),
    ],
)
def test_files_of_another_kind(tmp_path, content, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert kind_of_file(path) == kind
    assert error_of(path).message == f"{path} is {kind}; expected a safetensors file."


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_truncated(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert error_of(path).message == f"{path} is truncated: {int(len(data) * keep):,} of {len(data):,} bytes are there."


def test_truncated_within_the_header(path):
    path.write_bytes(path.read_bytes()[:300])
    assert "its header cannot be read" in error_of(path).message


def test_not_ardtools(path):
    save_file({"weight": torch.ones(2)}, path)
    assert error_of(path).message == f"{path} holds tensors but no ardtool description."


def test_a_newer_format(path):
    rewrite(path, format=99)
    assert error_of(path).message == f"{path} has file format 99; this ardtool reads up to 1."
    assert "Install a newer ardtool." in error_of(path).hint


def test_missing_tensor(path):
    tensors = load_file(path)
    del tensors["decoder.0.weight"]
    rewrite(path, tensors)
    assert error_of(path).message == f"{path}: tensor 'decoder.0.weight' is missing."


def test_missing_codes(path):
    tensors = load_file(path)
    del tensors["codes.mean"]
    rewrite(path, tensors, content_sha256=None)
    assert error_of(path).message == f"{path}: tensor 'codes.mean' is missing."


def test_misshapen_tensor(path):
    tensors = load_file(path)
    tensors["decoder.0.weight"] = torch.ones(256, 9)
    rewrite(path, tensors)
    assert error_of(path).message == f"{path}: 'decoder.0.weight' is 256×9 float32 on disk, the description builds 256×4 float32."


def test_wrong_type_and_stranger(path):
    tensors = load_file(path)
    rewrite(path, tensors | {"decoder.0.weight": tensors["decoder.0.weight"].half()})
    assert "float16 on disk" in error_of(path).message
    rewrite(path, tensors | {"backdoor": torch.ones(1)})
    assert error_of(path).message == f"{path}: tensor 'backdoor' is not part of the network."


def test_changed_values(path):
    tensors = load_file(path)
    tensors["decoder.0.weight"][0, 0] += 1
    rewrite(path, tensors)
    assert error_of(path).message == f"{path} has changed since ardtool wrote it."


def test_changed_description(path):
    rewrite(path, method="another")
    assert error_of(path).message == f"{path} has changed since ardtool wrote it."


def test_broken_description(path):
    record = metadata_of(path)
    del record["architecture"]
    save_file(load_file(path), path, metadata={"ardtool": json.dumps(record)})
    assert "its description is incomplete or wrong" in error_of(path).message
    for text in ("{not json", '{"format": Infinity}', "[" * 100_000):
        save_file(load_file(path), path, metadata={"ardtool": text})
        assert "its ardtool description is not readable" in error_of(path).message


def test_a_description_of_a_huge_network_is_compared_before_it_is_built(path, monkeypatch):
    from ardtool.storage import model_file

    record = metadata_of(path)["architecture"]
    built = []
    real = model_file.build_network
    monkeypatch.setattr(model_file, "build_network", lambda record: built.append(torch.empty(0).device.type) or real(record))
    rewrite(path, architecture=record | {"name": "dense", "input_shape": [1, 16, 16], "latent_dim": 10**10})
    assert "the description builds" in error_of(path).message or "is missing" in error_of(path).message
    assert set(built) == {"meta"}


def test_metadata_are_read_without_tensors(path):
    data = path.read_bytes()
    assert read_metadata(path)["method"] == "ard-vae"
    assert len(data) > 100_000


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")])
def test_a_full_or_read_only_disk_leaves_the_old_file_and_nothing_else(model, path, monkeypatch, error):
    before = path.read_bytes()

    def fail(*_args):
        raise error

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        save_model(model, path)
    assert caught.value.message == f"Cannot write {path}: {error.strerror}."
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot make the folder"):
        atomic.write_text(tmp_path / "file" / "x" / "y.txt", "text")


# pruned and foreign models


def codes_of(size: int, rows: int = 40) -> LatentCodes:
    z = torch.randn(rows, size) + torch.randn(size)
    return LatentCodes(CodeStatistics.of(z), Posterior(z, -torch.ones(rows, size)))


def same_model(found, expected) -> None:
    """The same codes and outputs, bit for bit."""
    assert found.latent_shape == expected.latent_shape
    x, c = torch.rand(3, *expected.input_shape), torch.randn(3, *expected.latent_shape)
    with torch.no_grad():
        assert torch.equal(found.encode(x).mean, expected.encode(x).mean)
        assert torch.equal(found.decode(c), expected.decode(c))


def test_an_own_network_along_directions(model, tmp_path):
    directions = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q[:, :2]
    centre = model.codes.statistics.mean
    pruning = prune_directions(model.autoencoder, directions, directions.T, centre, model.codes.reference)
    assert (pruning.record["decoder"], pruning.record["encoder"]) == ("folded", "rotated")
    path = tmp_path / "small.safetensors"
    save_model(SavedModel(pruning.model, codes_of(2), model.metadata), path)
    again = load_model(path)
    same_model(again.autoencoder, pruning.model.eval())
    assert again.metadata["architecture"]["latent_dim"] == 4
    assert again.metadata["pruning"] == pruning.record
    assert again.latent_axes == LatentAxes((2,))
    assert {name for name in load_file(path) if name.endswith("centre")} == {"network.reduction.centre"}


PLUGIN = """
import torch
from torch import nn
from ardtool import ModulePair, PluginSpec

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        return tuple(self.conv(x).chunk(2, dim=1))

class Toy(ModulePair):
    def __init__(self, width):
        layers = [nn.Conv2d(6, width, 3, padding=1), nn.Tanh(), nn.Conv2d(width, 3, 1), nn.BatchNorm2d(3)]
        super().__init__(Encoder(), nn.Sequential(*layers), (3, 4, 4), (6, 4, 4))
        self.build_record = {"width": width}
        self.data = nn.Linear(2, 2)
        self.tied = nn.Linear(2, 2)
        self.tied.weight = self.data.weight
        self.register_buffer("small", torch.ones(2, dtype=torch.bfloat16))

def build(record):
    return Toy(**record)

plugin = PluginSpec("toy", "toy models", lambda path: path.suffix == ".toy", lambda path, device: Toy(5), build=build)
"""
AXES, KEPT = LatentAxes((6, 4, 4)), [4, 0, 1]


@pytest.fixture
def toy(tmp_path, monkeypatch) -> PluginSpec:
    """A foreign model family whose plugin is installed."""
    file = tmp_path / "toy.py"
    file.write_text(PLUGIN)
    spec = find_plugin(Path("x"), str(file))
    monkeypatch.setattr("ardtool.registry.list_plugins", lambda: [PluginListing("toy", "ardtool-toy", "1.2", spec)])
    return spec


def pruned_toy(spec: PluginSpec) -> SavedModel:
    foreign = spec.load(Path("x.toy"), "cpu").eval()
    codes = codes_of(96)
    pruning = prune_axes(FlatLatents(foreign), AXES, KEPT, codes.statistics.mean, codes.reference)
    assert (pruning.record["decoder"], pruning.record["encoder"]) == ("bias map", "rows removed")
    metadata = {"method": "foreign", "granularity": "channel", "foreign": foreign_record(spec, foreign)}
    metadata["axes"] = {"kept": KEPT, "of": 6}
    return SavedModel(pruning.model, codes.axes(AXES.elements_of(KEPT)), metadata)


def test_a_foreign_model_comes_back_by_its_plugin(toy, tmp_path):
    model, path = pruned_toy(toy), tmp_path / "small.safetensors"
    save_model(model, path)
    again = load_model(path)
    same_model(again.autoencoder, model.autoencoder)
    assert again.metadata["foreign"] == {"plugin": "toy", "distribution": "ardtool-toy", "version": "1.2", "record": {"width": 5}}
    assert "architecture" not in again.metadata
    assert again.latent_axes == LatentAxes((3, 4, 4), "channel")
    assert again.original_axes == KEPT
    assert torch.equal(again.codes.reference.mean, model.codes.reference.mean)
    for name, value in model.autoencoder.state_dict().items():
        found = again.autoencoder.state_dict()[name]
        assert found.dtype == value.dtype
        assert torch.equal(found, value)
    save_model(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_foreign_model_that_is_not_pruned(toy, tmp_path):
    foreign = FlatLatents(toy.load(Path("x.toy"), "cpu")).eval()
    metadata = {"foreign": foreign_record(toy, foreign.model)}
    save_model(SavedModel(foreign, codes_of(96), metadata), tmp_path / "whole.safetensors")
    again = load_model(tmp_path / "whole.safetensors")
    same_model(again.autoencoder, foreign)
    assert again.latent_axes == AXES


def test_without_its_plugin_the_distribution_is_named(toy, tmp_path, monkeypatch):
    path = tmp_path / "small.safetensors"
    save_model(pruned_toy(toy), path)
    monkeypatch.setattr("ardtool.registry.list_plugins", lambda: [])
    with pytest.raises(PluginError, match="was made with the plugin 'toy', which is not there") as caught:
        load_model(path)
    assert caught.value.hint == "Install that plugin, or name its file with --plugin file.py."
    assert load_model(path, plugin=str(tmp_path / "toy.py")).autoencoder.latent_shape == (48,)


def test_a_path_to_code_in_a_file_is_not_followed(toy, tmp_path, monkeypatch):
    """Only installed plugins are looked for by what stands in a file; the user alone names Python files."""
    path = tmp_path / "small.safetensors"
    (tmp_path / "helpers.py").write_text("open('ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    pruned = pruned_toy(toy)
    for name in ("./helpers.py", str(tmp_path / "helpers.py")):
        save_model(replace(pruned, metadata=pruned.metadata | {"foreign": pruned.metadata["foreign"] | {"plugin": name}}), path)
        with pytest.raises(PluginError, match=r"was made with the plugin '.*helpers\.py', which is not there"):
            load_model(path)
        with pytest.raises(PluginError, match="There is no plugin"):
            load_model(path, trust=True)
    assert not (tmp_path / "ran").exists()


def test_a_plugin_that_fails_gives_one_line(toy, tmp_path, monkeypatch):
    path = tmp_path / "small.safetensors"
    save_model(pruned_toy(toy), path)

    def fail(_record):
        raise ImportError("No module named 'toys'")

    broken = PluginSpec("toy", "toy models", toy.matches, toy.load, build=fail)
    monkeypatch.setattr("ardtool.registry.list_plugins", lambda: [PluginListing("toy", "ardtool-toy", "2", broken)])
    assert error_of(path).message == f"The plugin 'toy' cannot rebuild the model of {path} (ImportError: No module named 'toys')."
    assert "version 1.2 of the plugin" in error_of(path).hint


def test_what_its_plugin_cannot_rebuild_is_not_written(toy, tmp_path):
    model, path = pruned_toy(toy), tmp_path / "small.safetensors"
    model.metadata["foreign"] = model.metadata["foreign"] | {"record": None}
    with pytest.raises(ModelFileError, match="A Toy cannot be saved pruned: its plugin cannot rebuild it") as caught:
        save_model(model, path)
    assert caught.value.hint == "Export its decoder with --export pt2 or --export onnx."
    assert not path.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("edits"),
        lambda record: record["edits"][0].update(path="model.nonsense"),
        lambda record: record["edits"][0].update(path="decoder.1"),
        lambda record: record["edits"][0]["shapes"].update(weight=[-1, 3]),
        lambda record: record["edits"][0]["shapes"].update(weight=[10**9, 10**9, 10**9]),
        lambda record: record["edits"][0]["shapes"].update(forward=[1]),
        lambda record: record.update(latent_shape="five"),
    ],
)
def test_a_wrong_pruning_record_gives_one_line(toy, tmp_path, change):
    path = tmp_path / "small.safetensors"
    save_model(pruned_toy(toy), path)
    record = copy.deepcopy(metadata_of(path)["pruning"])
    change(record)
    rewrite(path, pruning=record)
    assert error_of(path).message.startswith(str(path))


def test_a_pruned_file_of_another_model(toy, tmp_path):
    """The record builds wider layers than the file has tensors for."""
    path = tmp_path / "small.safetensors"
    save_model(pruned_toy(toy), path)
    rewrite(path, foreign=metadata_of(path)["foreign"] | {"record": {"width": 7}})
    assert "on disk, the description builds" in error_of(path).message


def test_a_truncated_pruned_file(toy, tmp_path):
    path = tmp_path / "small.safetensors"
    save_model(pruned_toy(toy), path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "is truncated" in error_of(path).message
