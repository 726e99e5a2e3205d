"""Checkpoints of other programs: the tensors come out as they went in, wherever they lie."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ardtool.errors import ModelFileError
from ardtool.storage.checkpoint import read_checkpoint, read_tensors, rescue_tensors
from ardtool.storage.stub_file import read_stub_file

TYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "bool",
    "complex64",
    "float8_e4m3fn",
]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Sequential(nn.Linear(3, 2, bias=False)))


def save(value: object, path: Path, form: str) -> Path:
    if form == "pickle":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=form == "zip")
    return path


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Names in order, shapes, types, and every byte."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert bytes_of(found[name]).equal(bytes_of(tensor))


def bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().flatten().view(torch.uint8)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_rescued_tensors_are_those_that_were_saved(tmp_path, form):
    state = network().state_dict()
    found, stubs = rescue_tensors(save(dict(state), tmp_path / "x.pt", form))
    assert_same(found, state)
    assert stubs == (["torch.storage._load_from_bytes"] if form == "pickle" else [])


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_both_routes_give_the_same(tmp_path, form):
    path = save(network().state_dict(), tmp_path / "x.pt", form)
    assert_same(rescue_tensors(path)[0], read_tensors(path))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_numbers(tmp_path, form, kind):
    tensor = (100 * torch.randn(3, 5)).to(getattr(torch, kind))
    assert_same(rescue_tensors(save({"x": tensor}, tmp_path / "x.pt", form))[0], {"x": tensor})


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_views_ties_and_empty_tensors(tmp_path, form):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {"base": base, "turned": base.T, "part": base[1:3, ::2], "empty": torch.zeros(0, 3), "number": torch.tensor(7.0)}
    found, _ = rescue_tensors(save(tensors, tmp_path / "x.pt", form))
    assert_same(found, tensors)
    if form != "pickle":  # a raw pickle holds every tensor's storage anew
        assert found["turned"].data_ptr() == found["base"].data_ptr()


def test_changing_a_rescued_tensor_leaves_the_file_alone(tmp_path):
    path = save({"x": torch.zeros(1000)}, tmp_path / "x.pt", "zip")
    before = path.read_bytes()
    rescue_tensors(path)[0]["x"].fill_(1)
    read_tensors(path)["x"].fill_(1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("wrap", [lambda module: module, lambda module: {"model": module, "epoch": 3}])
def test_a_whole_module_gives_its_state_dict(tmp_path, form, wrap):
    module = network()
    module.register_buffer("passing", torch.ones(2), persistent=False)
    found, stubs = rescue_tensors(save(wrap(module), tmp_path / "x.pt", form))
    assert set(found) == set(module.state_dict())
    assert all(found[name].equal(tensor) for name, tensor in module.state_dict().items())
    assert "torch.nn.modules.linear.Linear" in stubs


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda state: {"state_dict": state, "epoch": 3}, ""),
        (lambda state: {"model_state_dict": state, "step": torch.tensor(3)}, ""),
        (lambda state: {"optimizer": {"state": {0: {"avg": torch.ones(2)}}}, "model": state}, ""),
        (lambda state: {"model": {"state_dict": state, "name": "vae"}}, ""),
        (lambda state: {"module": state}, ""),
        (lambda state: {"weights": state}, ""),
        (lambda state: {"encoder": state, "epoch": 3}, "encoder."),
        (lambda state: [state, 3], "0."),
    ],
)
def test_the_state_dict_is_found(tmp_path, wrap, prefix):
    state = {"a.weight": torch.randn(2, 3), "a.bias": torch.randn(2)}
    path = save(wrap(state), tmp_path / "x.pt", "zip")
    expected = {prefix + name: tensor for name, tensor in state.items()}
    assert_same(read_tensors(path), expected)
    assert_same(rescue_tensors(path)[0], expected)


def test_safetensors_and_what_stands_beside_tensors(tmp_path):
    state = {"a": torch.randn(2, 3)}
    save_file(state, tmp_path / "x.safetensors")
    assert_same(read_tensors(tmp_path / "x.safetensors"), state)
    value = read_checkpoint(save({"state_dict": state, "epoch": 3, "name": "vae"}, tmp_path / "x.pt", "zip"))
    assert (value["epoch"], value["name"]) == (3, "vae")


def test_a_torch_file_with_a_wrong_suffix_and_a_compressed_one(tmp_path):
    state = {"a": torch.randn(50, 3)}
    path = save(state, tmp_path / "x.safetensors", "zip")
    assert_same(read_tensors(path), state)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    assert_same(rescue_tensors(tmp_path / "y.pt")[0], state)


def test_what_weights_only_refuses_is_named_and_rescued(tmp_path):
    state = {"a.weight": torch.randn(2, 3)}
    value = {"state_dict": state, "hyper_parameters": argparse.Namespace(lr=1e-3), "root": Path("data")}
    path = save(value, tmp_path / "model.ckpt", "zip")
    with pytest.raises(ModelFileError) as caught:
        read_tensors(path)
    assert caught.value.message.startswith(f"{path} would run code when it is loaded: its pickle names argparse.Namespace, pathlib.")
    assert f"`ardtool convert {path} --out model.safetensors`" in caught.value.hint
    found, stubs = rescue_tensors(path)
    assert_same(found, state)
    assert set(stubs) == set(torch.serialization.get_unsafe_globals_in_checkpoint(path))


def test_the_names_are_those_that_torch_reports(tmp_path):
    for number, value in enumerate([network(), network().state_dict(), {"x": nn.Parameter(torch.ones(2)), "size": torch.Size([2])}]):
        path = save(value, tmp_path / f"{number}.pt", "zip")
        assert set(read_stub_file(path).unsafe_globals) == set(torch.serialization.get_unsafe_globals_in_checkpoint(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"epoch": 3, "name": "x"}, "holds no tensors under the names that are known; its keys are epoch, name."),
        ([1, 2], "holds no tensors."),
        ({"s": torch.eye(2).to_sparse()}, "'s' is no dense tensor (torch._utils._rebuild_sparse_tensor would make it)."),
    ],
)
def test_what_cannot_be_rescued(tmp_path, value, message):
    path = save(value, tmp_path / "x.pt", "zip")
    with pytest.raises(ModelFileError) as caught:
        rescue_tensors(path)
    assert caught.value.message.endswith(message)
    assert caught.value.hint


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_tensors_are_named(tmp_path):
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)
    with pytest.raises(ModelFileError, match=r"'q' is quantised \(quint8\); only plain numbers are read\."):
        rescue_tensors(save({"q": quantised}, tmp_path / "x.pt", "zip"))


def test_other_kinds_of_files_are_named(tmp_path):
    (tmp_path / "page.pt").write_bytes(b"<html>404</html>")
    for read in (read_tensors, read_checkpoint, rescue_tensors):
        with pytest.raises(ModelFileError, match=r"page\.pt is an HTML page"):
            read(tmp_path / "page.pt")
        with pytest.raises(ModelFileError, match=r"none\.pt does not exist"):
            read(tmp_path / "none.pt")


def test_raw_pickles_are_refused_without_being_read(tmp_path):
    path = save({"x": torch.ones(2)}, tmp_path / "x.pkl", "pickle")
    with pytest.raises(ModelFileError, match=r"its pickle names torch\.storage\._load_from_bytes"):
        read_tensors(path)


def test_a_tensor_beyond_its_storage(tmp_path):
    path = save({"x": torch.arange(1000.0)}, tmp_path / "x.pt", "zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.pt", "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename.endswith("data.pkl"):
                assert data.count(b"M\xe8\x03\x85") == 1  # the shape (1000,)
                data = data.replace(b"M\xe8\x03\x85", b"M\xe9\x03\x85")
            new.writestr(member.filename, data)
    with pytest.raises(ModelFileError, match="'x' reaches beyond its storage"):
        rescue_tensors(tmp_path / "y.pt")


def test_any_cut_is_a_sentence(tmp_path):
    """Every file cut anywhere gives its tensors or one line, never another error."""
    for form in ("zip", "legacy", "pickle"):
        whole = save({"x": torch.ones(40)}, tmp_path / "x.pt", form).read_bytes()
        path = tmp_path / "cut.pt"
        for length in range(0, len(whole), 17):
            path.write_bytes(whole[:length])
            for read in (read_tensors, rescue_tensors):
                with pytest.raises(ModelFileError) as caught:
                    read(path)
                assert caught.value.hint and "\n" not in caught.value.message


def test_a_module_that_holds_itself_ends(tmp_path):
    module = nn.Linear(2, 2)
    module._modules["self"] = module
    assert {"weight", "bias", "self.weight"} <= set(rescue_tensors(save(module, tmp_path / "x.pkl", "pickle"))[0])


def test_a_storage_that_is_used_often_is_read_once(tmp_path, monkeypatch):
    """A pickle may name the same bytes as often as it likes; copies of them would fill the memory."""
    from ardtool.storage import stub_file

    _, (inner,) = torch.ones(4).untyped_storage().__reduce__()
    text = b"X\x64\x00\x00\x00" + b"-" * 100 + b"0"  # or else the file looks like an old checkpoint, whose number is in these bytes
    use = b"ctorch.storage\n_load_from_bytes\nh\x00\x85R"  # name, take the bytes again, call
    keep = b"B" + len(inner).to_bytes(4, "little") + inner + b"q\x000"
    (tmp_path / "many.pkl").write_bytes(b"\x80\x02" + text + keep + b"](" + 50 * use + b"e.")
    calls = []
    real = stub_file._nested_storage
    monkeypatch.setattr(stub_file, "_nested_storage", lambda data: calls.append(1) or real(data))
    root = read_stub_file(tmp_path / "many.pkl").root
    assert [record.count for record in root] == [16] * 50 and len(calls) == 1


def test_modules_within_modules_do_not_fill_the_memory():
    """Three levels of a thousand names for one module each: a billion paths, of which a bounded number is followed."""
    from ardtool.storage.state_dict import MOST_MODULES, find_tensors
    from ardtool.storage.stub_pickle import Stub

    visited = []

    def module(child) -> Stub:
        made = Stub("somewhere.Module", ())
        made.state = {"_parameters": {"weight": "tensor"}, "_modules": {} if child is None else {str(i): child for i in range(1000)}}
        return made

    found, _ = find_tensors(module(module(module(None))), lambda each: each == "tensor" and not visited.append(1))
    assert 0 < len(found) <= MOST_MODULES
    assert len(visited) <= 3 * MOST_MODULES
