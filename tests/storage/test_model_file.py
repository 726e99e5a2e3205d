"""Model files: complete, checked on reading, never half-written."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ardtool.autoencoder import Posterior
from ardtool.data.dataset import Scaling
from ardtool.errors import ModelFileError, StorageError
from ardtool.latent.codes import LatentCodes
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.statistics import CodeStatistics
from ardtool.networks.build import architecture_record, build_network
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
        (b"PK\x03\x04" + b"0" * 60, "a zip archive (a torch checkpoint, an .npz or an exported program)"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"", "an empty file"),
        (b"nothing in particular, but long enough", "of an unknown kind"),
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
    assert "pip install -U ardtool" in error_of(path).hint


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
    save_file(load_file(path), path, metadata={"ardtool": "{not json"})
    assert "its ardtool description is not readable" in error_of(path).message


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
