"""`inspect` and `convert`: names, shapes and next steps without loading; tensors that come out as they were."""

from __future__ import annotations

import contextlib
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import ardtool
from ardtool.commands.convert import convert
from ardtool.commands.inspect import inspect
from ardtool.errors import ArdtoolError, ConfigError, ModelFileError, StorageError
from ardtool.registry import PluginSpec

STATE = {"encoder.weight": torch.randn(2, 3), "encoder.bias": torch.randn(2).bfloat16(), "steps": torch.tensor(7)}
TABLE = [("encoder.weight", [2, 3], "float32"), ("encoder.bias", [2], "bfloat16"), ("steps", [], "int64")]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARDTOOL_PLUGINS", "")


def plugins(monkeypatch, *specs: PluginSpec) -> None:
    monkeypatch.setattr("ardtool.commands.inspect.matching_plugins", lambda path: [spec for spec in specs if spec.matches(path)])


def spec(name: str, suffix: str = ".pt", risk=None) -> PluginSpec:
    return PluginSpec(name, "", lambda path: path.suffix == suffix, lambda path, device: None, risk=risk)  # pyright: ignore


def rows(result) -> list[tuple[str, list[int], str]]:
    return [(tensor.name, tensor.shape, tensor.dtype) for tensor in result.tensors]


def write(name: str, value: object) -> Path:
    if name.endswith(".safetensors"):
        save_file(value, name)  # pyright: ignore[reportArgumentType]
    elif name.endswith(".pkl"):
        Path(name).write_bytes(pickle.dumps(value))
    else:
        torch.save(value, name, _use_new_zipfile_serialization=not name.startswith("old"))
    return Path(name)


@pytest.mark.parametrize("name", ["x.pt", "old.pt", "x.pkl", "x.safetensors"])
def test_names_shapes_and_types(name):
    result = inspect(write(name, STATE))
    assert sorted(rows(result)) == sorted(TABLE)
    assert result.parameters == 9
    assert result.bytes == Path(name).stat().st_size
    assert result.problem is None


def test_what_a_checkpoint_says_beside_its_tensors():
    value = {"state_dict": STATE, "optimizer": {"state": {0: {"avg": torch.ones(2)}}}, "epoch": 3, "lr": 1e-3, "arch": "vae"}
    result = inspect(write("x.ckpt", value))
    assert sorted(rows(result)) == sorted(TABLE)
    assert result.metadata["container"] == "state_dict"
    assert result.metadata["other_tensors"] == 1
    assert result.metadata["keys"] == ["state_dict", "optimizer", "epoch", "lr", "arch"]
    assert result.metadata["values"] == {"epoch": 3, "lr": 1e-3, "arch": "vae"}


def test_unsafe_globals_lead_to_convert():
    result = inspect(write("my net.pt", nn.Linear(2, 3)))
    assert result.unsafe_globals == ["torch.nn.modules.linear.Linear"]
    assert rows(result) == [("weight", [3, 2], "float32"), ("bias", [3], "float32")]
    assert result.next == "Take its tensors out with `ardtool convert 'my net.pt' --out 'my net'.safetensors`, which runs nothing."


@pytest.mark.filterwarnings("ignore")
def test_exported_programs_and_arrays():
    torch.export.save(torch.export.export(nn.Linear(2, 3), (torch.ones(2, 2),)), "x.pt2")
    assert rows(inspect("x.pt2")) == [("weight", [3, 2], "float32"), ("bias", [3], "float32")]
    assert "--trust" in inspect("x.pt2").next
    np.savez("x.npz", a=np.ones((4, 5), np.float32), b=np.arange(3, dtype=np.int64))
    assert rows(inspect("x.npz")) == [("a", [4, 5], "float32"), ("b", [3], "int64")]
    np.save("y.npy", np.ones((2, 2), np.uint8))
    assert rows(inspect("y.npy")) == [("y", [2, 2], "uint8")]
    assert "ardtool train --data y.npy" in inspect("y.npy").next


def test_arrays_of_objects_are_not_unpickled():
    np.save("x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert inspect("x.npy").problem == "the array 'x' holds pickled Python objects, which ardtool does not read"


def test_folders_show_their_weights(tmp_path):
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    save_file(STATE, folder / "diffusion_pytorch_model.safetensors")
    result = inspect(folder)
    assert (result.kind, result.metadata["weights"]) == ("diffusers", "diffusion_pytorch_model.safetensors")
    assert sorted(rows(result)) == sorted(TABLE)
    assert "`plugins/ardtool-diffusers`" in result.next
    (folder / "encoder.pkl").write_bytes(pickle.dumps(nn.ReLU()))
    assert inspect(folder).unsafe_globals == ["torch.nn.modules.activation.ReLU"]


def test_scripts_are_offered_to_plugins(monkeypatch):
    Path("net.py").write_text("x = 1\n")
    assert inspect("net.py").next == "Give a model file."
    plugins(monkeypatch, spec("one", ".py"))
    assert (inspect("net.py").kind, inspect("net.py").plugin) == ("text", "one")


def test_plugins(monkeypatch):
    path = write("x.pt", STATE)
    assert (inspect(path).plugin, inspect(path).plugins_matching) == (None, [])
    assert inspect(path).next == "Name the plugin that builds its model with --plugin NAME or --plugin file.py."
    plugins(monkeypatch, spec("one"), spec("other", ".zip"))
    assert (inspect(path).plugin, inspect(path).plugins_matching) == ("one", ["one"])
    assert inspect(path).next.startswith("Score its axes with `ardtool relevance x.pt --data X`")
    plugins(monkeypatch, spec("one", risk=lambda path: "unpickles it"))
    assert "--data X --trust`" in inspect(path).next
    plugins(monkeypatch, spec("one", risk=lambda path: 1 / 0))
    assert "--trust" in inspect(path).next
    plugins(monkeypatch, spec("one"), spec("two"))
    assert (inspect(path).plugin, inspect(path).plugins_matching) == (None, ["one", "two"])
    assert "Choose one of the plugins one, two" in inspect(path).next


def test_broken_bytes_get_an_answer():
    """Random bytes, and every kind of file with bytes changed or missing."""
    draw = random.Random(0)
    np.savez("x.npz", a=np.ones(3))
    files = [write("x.pt", STATE), write("old.pt", STATE), write("x.pkl", STATE), write("x.safetensors", STATE), Path("x.npz")]
    broken = [draw.randbytes(draw.randrange(200)) for _ in range(30)] + [b"\x80" + draw.randbytes(60) for _ in range(30)]
    for file in files:
        whole = file.read_bytes()
        broken += [whole[: draw.randrange(len(whole))] for _ in range(10)]
        for _ in range(10):
            changed = bytearray(whole)
            for _ in range(5):
                changed[draw.randrange(min(len(whole), 800))] = draw.randrange(256)
            broken.append(bytes(changed))
    for data in broken:
        Path("broken.bin").write_bytes(data)
        result = inspect("broken.bin")
        assert result.next and result.description
        with contextlib.suppress(ArdtoolError):
            convert("broken.bin", out="y.safetensors", force=True)


def test_inspect_needs_no_torch():
    path = write("x.pt", STATE)
    code = (
        "import sys\nfrom ardtool.commands.inspect import inspect\n"
        f"print(len(inspect({str(path)!r}).tensors), 'torch' in sys.modules, 'pickle' in sys.modules and 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "3 False False\n"


def test_the_json_of_inspect():
    found = ardtool.inspect(write("x.pt", STATE)).to_dict()
    assert found["schema"] == "ardtool.inspect/1"
    assert found["tensors"][0] == {"name": "encoder.weight", "shape": [2, 3], "dtype": "float32"}
    assert {"path", "kind", "description", "bytes", "parameters", "unsafe_globals", "metadata", "plugin", "plugins_matching", "next"} < set(
        found
    )


@pytest.mark.parametrize("name", ["x.pt", "old.pt", "x.pkl"])
def test_convert_keeps_every_tensor(name):
    result = ardtool.convert(write(name, STATE), out="y.safetensors")
    found = load_file("y.safetensors")
    assert set(found) == set(STATE)
    assert all(found[key].dtype == tensor.dtype and found[key].equal(tensor) for key, tensor in STATE.items())
    assert (result.tensors, result.parameters, result.bytes) == (3, 9, Path("y.safetensors").stat().st_size)
    assert result.files == ["y.safetensors"]
    assert result.to_dict()["schema"] == "ardtool.convert/1"
    with safe_open("y.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_convert_reads_what_torch_refuses():
    module = nn.Linear(2, 3)
    result = convert(write("x.pt", {"state_dict": module.state_dict(), "root": Path("a"), "module": module}), out="y.safetensors")
    assert result.stubs[-1] == "torch.nn.modules.linear.Linear"
    assert load_file("y.safetensors")["weight"].equal(module.weight)


@pytest.mark.parametrize("name", ["x.pt", "old.pt", "x.pkl"])
def test_shared_and_turned_tensors_are_written_apart(name):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": base, "tied": base, "turned": base.T, "part": base[1:, ::2], "empty": torch.zeros(0, 2)}
    result = convert(write(name, tensors), out="y.safetensors")
    found = load_file("y.safetensors")
    assert all(found[key].equal(tensor) for key, tensor in tensors.items())
    assert "turned" in result.copied or name == "x.pkl"


def test_convert_refuses_to_replace():
    path = write("x.pt", STATE)
    convert(path, out="y.safetensors")
    with pytest.raises(StorageError, match=r"y\.safetensors exists already"):
        convert(path, out="y.safetensors")
    assert convert(path, out="y.safetensors", force=True).tensors == 3


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"<html>404</html>", "is an HTML page", "Download the file again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer", "git lfs pull"),
        (b"", "is an empty file", "Copy or download"),
        (b"\x08\n\x12\x07pytorch", "is an ONNX model; expected a torch checkpoint or a pickle.", "torch model"),
    ],
)
def test_what_convert_refuses(content, message, hint):
    Path("x.pt").write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        convert("x.pt", out="y.safetensors")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not Path("y.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_programs_and_safetensors_are_refused_with_their_route():
    torch.export.save(torch.export.export(nn.Linear(2, 3), (torch.ones(2, 2),)), "x.pt2")
    with pytest.raises(ModelFileError, match=r"is a program exported by torch\.export") as caught:
        convert("x.pt2", out="y.safetensors")
    assert "--trust" in caught.value.hint
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), "x.ts")
    with pytest.raises(ModelFileError, match="is a TorchScript program") as caught:
        convert("x.ts", out="y.safetensors")
    assert "state_dict" in caught.value.hint
    with pytest.raises(ModelFileError, match="is a safetensors file already"):
        convert(write("x.safetensors", STATE), out="y.safetensors")
    with pytest.raises(ConfigError, match=r"--out is y\.pt; expected a \.safetensors file"):
        convert(write("x.pt", STATE), out="y.pt")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8), "'x' is quint8, which a safetensors file cannot hold"),
        (lambda: torch.ones(2, dtype=torch.complex128), "'x' is complex128, which a safetensors file cannot hold"),
        (lambda: torch.eye(2).to_sparse(), "'x' is no dense tensor"),
        (lambda: torch.ones(2, device="meta"), "'x' is no dense tensor"),
        (lambda: 3, "holds no tensors under the names that are known; its keys are x."),
    ],
)
def test_tensors_that_do_not_fit(tensor, message):
    path = write("x.pt", {"x": tensor()})
    with pytest.raises(ModelFileError) as caught:
        convert(path, out="y.safetensors")
    assert message in caught.value.message
    assert caught.value.hint
