"""Hostile pickles: each of them does run when it is unpickled, and does nothing here, wherever it hides."""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import io
import operator
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch._tensor import _rebuild_from_type_v2
from torch._utils import _rebuild_tensor_v2

from ardtool.commands.convert import convert
from ardtool.commands.inspect import inspect
from ardtool.errors import ModelFileError
from ardtool.storage.checkpoint import read_checkpoint, read_tensors, rescue_tensors
from ardtool.storage.tensor_records import is_harmless

CANARY = "canary"
COMMAND = f"echo sung > {CANARY}"
CODE = f"open({CANARY!r}, 'w').close()"


class Calls:
    """Pickles as a call, and so as whatever the call does when it is loaded."""

    def __init__(self, function, *arguments, state=None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call

    def __call__(self) -> None:
        """So that pickle takes one in place of a function."""


def evil_bytes() -> bytes:
    """What torch.load runs: a checkpoint in the old format."""
    buffer = io.BytesIO()
    torch.save(Calls(os.system, COMMAND), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def hub() -> Calls:
    Path("hubconf.py").write_text(f"{CODE}\ndef entry():\n    return 1\n")
    return Calls(functools.partial(torch.hub.load, ".", "entry", source="local"))


def hidden_file() -> Calls:
    Path("hidden.pt").write_bytes(evil_bytes())
    return Calls(functools.partial(torch.load, "hidden.pt", weights_only=False))


PAYLOADS = {
    "os.system": lambda: Calls(os.system, COMMAND),
    "exec": lambda: Calls(exec, CODE),
    "eval": lambda: Calls(eval, CODE),
    "open": lambda: Calls(open, CANARY, "w"),
    "partial": lambda: Calls(functools.partial(os.system, COMMAND)),
    "getattr": lambda: Calls(Calls(getattr, Calls(importlib.import_module, "os"), "system"), COMMAND),
    "methodcaller": lambda: Calls(operator.methodcaller("system", COMMAND), Calls(importlib.import_module, "os")),
    "map": lambda: Calls(list, Calls(map, os.system, [COMMAND])),
    "setstate": lambda: Calls(functools.partial, print, state=(Calls(os.system, COMMAND), (), {}, {})),
    "torch.load": hidden_file,
    "torch.hub": hub,
    "bytes for torch.load": lambda: Calls(torch.storage._load_from_bytes, evil_bytes()),
    "rebuild": lambda: Calls(_rebuild_from_type_v2, os.system, torch.Tensor, (COMMAND,), {}),
    "code": lambda: Calls(builtins.exec, Calls(compile, CODE, "x", "exec")),
}
HANDMADE = {
    "a dotted name": b"\x80\x04\x8c\x13torch.serialization\x8c\tos.system\x93" + b"X%c\0\0\0" % len(COMMAND) + COMMAND.encode() + b"\x85R.",
    "INST": f"(S'{COMMAND}'\nios\nsystem\n.".encode(),
    "OBJ": f"(cos\nsystem\nS'{COMMAND}'\no.".encode(),
    "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81cos\nsystem\n" + f"S'{COMMAND}'\n\x85R.".encode("latin-1"),
    "from the memo": f"cos\nsystem\np0\n0g0\n(S'{COMMAND}'\ntR.".encode(),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def place(value: object, where: str) -> Path:
    path = Path("file.pkl" if where == "pickle" else "file.pt")
    if where == "pickle":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=where == "zip")
    return path


def assert_silent(path: Path) -> None:
    """Some doors refuse it, the others give the tensors, and none runs it."""
    assert inspect(path).unsafe_globals
    for read in (read_tensors, read_checkpoint):
        with pytest.raises(ModelFileError, match="would run code when it is loaded"):
            read(path)
    for read in (rescue_tensors, lambda path: convert(path, out="out.safetensors", force=True)):
        read(path)
    assert not Path(CANARY).exists()


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_payload_is_live(name):
    data = pickle.dumps(PAYLOADS[name]())
    with contextlib.suppress(Exception):
        pickle.loads(data)
    assert Path(CANARY).exists()


@pytest.mark.parametrize("where", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_among_tensors_does_not_run(name, where):
    state = {"weight": torch.arange(3.0)}
    path = place({"before": PAYLOADS[name](), "state_dict": state, "after": PAYLOADS[name]()}, where)
    assert_silent(path)
    assert rescue_tensors(path)[0]["weight"].equal(state["weight"])


@pytest.mark.parametrize("name", HANDMADE)
def test_handmade_pickles_do_not_run(name):
    Path("file.pkl").write_bytes(b"\x80\x02" + HANDMADE[name].removeprefix(b"\x80\x02"))
    with zipfile.ZipFile("file.pt", "w") as archive:
        archive.writestr("file/data.pkl", HANDMADE[name])
    for path in (Path("file.pkl"), Path("file.pt")):
        assert inspect(path).unsafe_globals
        for read in (read_tensors, rescue_tensors):
            with pytest.raises(ModelFileError):
                read(path)
    assert not Path(CANARY).exists()
    with contextlib.suppress(Exception):
        pickle.loads(HANDMADE[name])
    assert Path(CANARY).exists()


def test_a_payload_in_place_of_a_storage_does_not_run():
    """Where a tensor takes its numbers from, a call may stand as well."""
    path = place({"weight": Calls(_rebuild_tensor_v2, Calls(os.system, COMMAND), 0, (1,), (1,), False, None)}, "zip")
    assert inspect(path).unsafe_globals == ["posix.system"]
    with pytest.raises(ModelFileError, match="'weight' is no dense tensor"):
        rescue_tensors(path)
    assert not Path(CANARY).exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "builtins.eval",
        "builtins.getattr",
        "torch.load",
        "torch.hub.load",
        "torch.jit.load",
        "torch.storage._load_from_bytes",
        "torch._utils.os.system",
        "torch._utils._rebuild_tensor_v2.__globals__",
        "torch.FloatStorage.from_file",
    ],
)
def test_these_names_are_not_let_pass(name):
    assert not is_harmless(name)
