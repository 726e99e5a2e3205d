"""Arrays come out of every kind of pickle as they went in; whatever else a pickle asks for is named and never done."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from ardtool.data.numpy_pickle import read_arrays
from ardtool.errors import DataError

IMAGES = np.arange(6 * 5, dtype=np.uint8).reshape(6, 5)


def python2(key: bytes, rows: int, columns: int, content: bytes, core: bytes = b"numpy.core") -> bytes:
    """What Python 2's cPickle writes, protocol 2, of {key: uint8 array}: the form of the published CIFAR-10 batches."""
    assert len(content) < 256 and len(key) < 256

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING

    return (
        b"\x80\x02}q\x01" + text(key)
        + b"c" + core + b".multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        + b"(K\x01K" + bytes([rows]) + b"K" + bytes([columns]) + b"\x86"
        + b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        + b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89" + text(content) + b"tbs."
    )  # fmt: skip


def read(content: bytes) -> dict[str, np.ndarray]:
    return read_arrays("batch", io.BytesIO(content))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", ">f8", "bool"])
def test_every_protocol_and_plain_type(protocol: int, kind: str):
    array = IMAGES.astype(kind)
    content = pickle.dumps({"data": array, "by columns": np.asfortranarray(array), "labels": [1, 2]}, protocol)
    found = read(content)
    assert list(found) == ["data", "by columns"]
    for each in found.values():
        assert each.dtype == array.dtype
        assert np.array_equal(each, array)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_python_2_and_both_names_of_numpy(core: bytes):
    content = python2(b"data", 6, 5, IMAGES.tobytes(), core)
    assert [opcode.name for opcode, _, _ in pickletools.genops(content)][-1] == "STOP"
    assert np.array_equal(read(content)["data"], IMAGES)
    if core == b"numpy.core":
        assert np.array_equal(pickle.loads(content, encoding="bytes")[b"data"], IMAGES)  # the real thing reads the same


def test_a_renamed_module_reads_the_same():
    content = pickle.dumps({"data": IMAGES, "one": np.int64(3)}, protocol=2)  # names end in a line feed, and have no length in front
    here, there = (b"numpy._core", b"numpy.core") if b"numpy._core" in content else (b"numpy.core", b"numpy._core")
    found = read(content.replace(here, there))
    assert list(found) == ["data"]
    assert np.array_equal(found["data"], IMAGES)


class Evil:
    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_is_refused_by_name_and_never_run(protocol: int, tmp_path: Path, sentence):
    trace = tmp_path / "trace"
    for function, arguments, name in (
        (os.mkdir, (str(trace),), "posix.mkdir"),
        (eval, (f"__import__('os').mkdir({str(trace)!r})",), "eval"),
        (np.load, ("x",), "numpy.load"),
        (np.ones, (3,), "ones"),
    ):
        text = sentence(read, pickle.dumps({"data": IMAGES, "x": Evil(function, *arguments)}, protocol), kind=DataError)
        assert text.startswith("batch is refused: it asks for ")
        assert name in text
        assert "Nothing of it was executed." in text
        assert not trace.exists()
    pickle.loads(pickle.dumps(Evil(os.mkdir, str(trace))))
    assert trace.exists()  # which is what plain pickle does


def test_a_hidden_call_in_the_array_is_refused(tmp_path: Path, sentence):
    trace = tmp_path / "trace"
    content = pickle.dumps({"data": np.array([Evil(os.mkdir, str(trace))], dtype=object)})
    assert "is refused: it asks for" in sentence(read, content, kind=DataError)
    assert not trace.exists()


def test_objects_and_structures_are_refused(sentence):
    assert "holds an array of type 'O8'" in sentence(read, pickle.dumps({"data": np.array([{}], dtype=object)}), kind=DataError)
    assert "holds an array of type 'V2'" in sentence(read, pickle.dumps({"data": np.zeros(2, "u1,u1")}), kind=DataError)
    assert "holds an array of type 'U3'" in sentence(read, pickle.dumps({"data": np.array(["abc"])}), kind=DataError)


def test_stand_ins_cannot_be_changed(sentence):
    change = b"\x80\x02c_codecs\nencode\n}U\x01aK\x01sb."  # BUILD on a function: set its attributes
    assert "it changes a function" in sentence(read, change, kind=DataError)
    wrong = b"\x80\x02}U\x01ac_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86Rs."
    assert "it encodes text as 'zlib'" in sentence(read, wrong, kind=DataError)


def test_damaged_pickles(sentence):
    whole = pickle.dumps({"data": IMAGES})
    for content in (whole[:-9], b"", b"\x80\x04", b"no pickle at all"):
        assert sentence(read, content, kind=DataError).startswith("batch cannot be read as a pickle: ")
    short = python2(b"data", 6, 5, IMAGES.tobytes()[:-1])
    assert "batch cannot be read as a pickle: cannot reshape array of size 29 into shape (6,5)" in sentence(read, short, kind=DataError)
    assert "batch holds no dictionary of arrays, but a list." in sentence(read, pickle.dumps([IMAGES]), kind=DataError)
