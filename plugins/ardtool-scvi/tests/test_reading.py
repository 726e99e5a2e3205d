"""Nothing in a model.pt is executed, whatever it holds."""

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ardtool_scvi import load, matches, open_data

from ardtool.errors import ArdtoolError


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def hostile(trained: Path, folder: Path, place: str, thing) -> Path:
    """A copy of a model with one thing more in it."""
    content = torch.load(trained / "model.pt", weights_only=False)
    if place == "settings":
        content["attr_dict"]["init_params_"]["non_kwargs"]["n_hidden"] = thing
    else:
        content[place]["thing_"] = thing
    folder.mkdir()
    torch.save(content, folder / "model.pt")
    return folder


@pytest.mark.parametrize("place", ["attr_dict", "model_state_dict", "settings"])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.mkdir, "posix.mkdir"),
        (os.system, "posix.system"),
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (Path.touch, "pathlib"),
    ],
    ids=["mkdir", "system", "eval", "getattr", "method"],
)
def test_foreign_names_are_listed_and_not_called(trained, tmp_path, place, function, name):
    canary = tmp_path / "canary"
    arguments = {
        "mkdir": (str(canary),),
        "system": (f"touch {canary}",),
        "eval": (f"open({str(canary)!r}, 'w')",),
        "getattr": (canary, "touch"),
        "touch": (canary,),
    }
    folder = hostile(trained, tmp_path / "hostile", place, Call(function, *arguments[function.__name__]))
    assert matches(folder)
    assert not canary.exists()
    with pytest.raises(ArdtoolError, match="holds Python objects that could run code, and is not loaded") as caught:
        load(folder, "cpu")
    assert name in caught.value.message
    assert not canary.exists()


def test_code_inside_numpy_and_pandas_is_not_called_either(trained, tmp_path, h5ad):
    """Functions of these libraries that run code, and descriptions that would ask for a petabyte, come to nothing."""
    from numpy.testing._private.utils import runstring

    canary, inner = tmp_path / "canary", tmp_path / "inner.pkl"
    inner.write_bytes(pickle.dumps(Call(os.mkdir, str(canary))))
    things = [
        Call(runstring, f"open({str(canary)!r}, 'w')", {}),
        Call(pd.read_pickle, str(inner)),
        Call(pd.eval, f"@open({str(canary)!r}, 'w')"),
        Call(np.ndarray, (2**50,), "u1"),
        Call(np.load, str(inner), None, True),
    ]
    expected = load(trained, "cpu").state_dict()
    folder = hostile(trained, tmp_path / "hostile", "attr_dict", things)
    found = load(folder, "cpu").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not canary.exists()


def test_a_forged_object_array_reaches_no_memory(trained, tmp_path):
    """numpy reads raw bytes as addresses where an object type comes with cleared flags; here numpy is not asked."""
    reconstruct = np.zeros(1).__reduce__()[0]
    flags_cleared = (3, "|", None, None, None, -1, -1, 0)

    class Forged:
        def __reduce__(self):
            return np.dtype, ("O8", False, True), flags_cleared

    class Array:
        def __reduce__(self):
            return reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), Forged(), False, b"\x41" * 8)

    folder = hostile(trained, tmp_path / "hostile", "attr_dict", Array())
    assert load(folder, "cpu").input_shape == (31,)
    folder = hostile(trained, tmp_path / "array", "model_state_dict", Array())
    with pytest.raises(ArdtoolError, match="'thing_' is not a plain tensor"):
        load(folder, "cpu")


def test_names_that_others_admitted_are_not_admitted_here(trained, tmp_path):
    folder = hostile(trained, tmp_path / "hostile", "attr_dict", Call(os.path.join, "a", "b"))
    with torch.serialization.safe_globals([os.path.join]):
        earlier = torch.serialization.get_safe_globals()
        with pytest.raises(ArdtoolError, match=r"posixpath\.join"):
            load(folder, "cpu")
        assert set(torch.serialization.get_safe_globals()) == set(earlier)


def test_callables_and_arrays_as_settings_are_refused(trained, tmp_path):
    folder = hostile(trained, tmp_path / "array", "settings", np.zeros(3))
    with pytest.raises(ArdtoolError, match="the setting 'n_hidden' is not a plain value"):
        load(folder, "cpu")


def test_numpy_numbers_as_settings_are_read(trained, tmp_path):
    folder = hostile(trained, tmp_path / "number", "settings", np.int64(16))
    record = load(folder, "cpu").build_record
    assert record["arguments"]["n_hidden"] == 16
    assert type(record["arguments"]["n_hidden"]) is int


def test_damaged_files_give_a_line(trained, tmp_path):
    whole = (trained / "model.pt").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "text": b"<html>", "empty": b""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pt").write_bytes(content)
        assert not matches(tmp_path / name)
        with pytest.raises(ArdtoolError, match="cannot be read as a model of scvi-tools"):
            load(tmp_path / name, "cpu")
    with pytest.raises(ArdtoolError, match="does not exist"):
        load(tmp_path / "nothing", "cpu")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ArdtoolError, match="holds a list; expected the dict that scvi-tools writes"):
        load(tmp_path / "list.pt", "cpu")
    torch.save({"attr_dict": {}, "model_state_dict": {}}, tmp_path / "less.pt")
    with pytest.raises(ArdtoolError, match="has no 'registry_'"):
        load(tmp_path / "less.pt", "cpu")


def test_other_data_are_left_to_others(tmp_path):
    assert open_data(tmp_path / "x.npy") is None
