"""Files and folders are known by what is in them, whatever they are called."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ardtool.errors import ModelFileError
from ardtool.storage.header import identify, kind_of_file

STATE = {"weight": torch.ones(2, 3)}


def exported(path: Path) -> None:
    """The names that torch.export writes; a real program is inspected in the tests of the command."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x/data/weights/weight_0", "x/models/model.json", "x/archive_format", "x/byteorder"):
            archive.writestr(name, "")


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "test.py")


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


def ours(path: Path, **description: object) -> None:
    save_file(STATE, path, metadata={"ardtool": json.dumps({"format": 1, "method": "ard-vae"} | description)})


def write_arrays(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, a=np.ones(3), b=np.ones(2))


def write_array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.ones(3))


WRITERS = {
    "torch": lambda path: torch.save(STATE, path),
    "torch-legacy": lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
    "torchscript": lambda path: torch.jit.save(torch.jit.script(nn.Linear(2, 3)), path),
    "pt2": exported,
    "npz": write_arrays,
    "npy": write_array,
    "safetensors": lambda path: save_file(STATE, path),
    "ardtool": ours,
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "onnx": lambda path: path.write_bytes(b"\x08\n\x12\x07pytorch\x1a\x062.15.0:\x10"),
    "hdf5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50)),
    "gzip": lambda path: path.write_bytes(gzip.compress(b"text")),
    "tar": tarred,
    "zip": zipped,
    "html": lambda path: path.write_bytes(b"\xef\xbb\xbf\n <!DOCTYPE html><html>404</html>"),
    "git-lfs": lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "text": lambda path: path.write_text("α, β: " * 200),
    "empty": lambda path: path.write_bytes(b""),
    "unknown": lambda path: path.write_bytes(bytes(range(160, 256))),
}
DESCRIPTIONS = {
    "torch": "a torch checkpoint",
    "torch-legacy": "a torch checkpoint in the format before torch 1.6",
    "npz": "a NumPy archive of 2 arrays",
    "ardtool": "an ardtool model (ard-vae)",
    "html": "an HTML page (an error page saved in place of the file?)",
    "zip": "a zip archive of 1 files",
}


@pytest.fixture
def written(tmp_path):
    def write(kind: str) -> Path:
        path = tmp_path / "file.dat"
        WRITERS[kind](path)
        return path

    return write


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", WRITERS)
def test_the_kind_of_a_file(written, kind):
    found = identify(written(kind))
    assert found.kind == kind
    assert found.description == DESCRIPTIONS.get(kind, found.description)
    assert kind_of_file(written(kind)) == ("safetensors" if kind in ("safetensors", "ardtool") else found.description)


def test_a_pruned_model_and_one_from_the_future(tmp_path):
    ours(tmp_path / "a", axes={"kept": [0, 3], "of": 16})
    ours(tmp_path / "b", format=99)
    assert identify(tmp_path / "a").description == "an ardtool model (ard-vae), pruned to 2 of 16 latent axes"
    assert identify(tmp_path / "b").description == "an ardtool model whose description this ardtool cannot read"


@pytest.mark.parametrize("kind", ["torch", "npz", "safetensors", "ardtool"])
def test_a_file_whose_end_is_missing(written, kind):
    path = written(kind)
    path.write_bytes(path.read_bytes()[:-20])
    assert identify(path).kind == "truncated"
    assert "truncated or damaged" in identify(path).description


@pytest.mark.parametrize(
    "header",
    [
        b"[1, 2]",
        b'{"a": 3}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": 3, "shape": [], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [], "data_offsets": []}}',
        b'{"__metadata__": 3}',
        b'{"a":' * 5000,
    ],
)
def test_headers_that_are_none(tmp_path, header):
    path = tmp_path / "x"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert identify(path).kind == ("truncated" if header.startswith(b"{") else "unknown")


@pytest.mark.parametrize(
    ("files", "kind", "description"),
    [
        ({"config.json": '{"_class_name": "AutoencoderKL"}'}, "diffusers", "a diffusers model (AutoencoderKL)"),
        ({"model_index.json": '{"_class_name": "FluxPipeline"}'}, "diffusers", "a diffusers pipeline (FluxPipeline)"),
        ({"model_config.json": '{"name": "VAEConfig"}'}, "pythae", "a pythae model (VAEConfig)"),
        ({"model_config.json": "not JSON"}, "pythae", "a pythae model (of an unknown class)"),
        ({"model.pt": ""}, "scvi", "a folder with model.pt, as scvi-tools saves models"),
        ({"resume/state.safetensors": ""}, "run", "an unfinished ardtool run"),
        ({"b.txt": "", "a.txt": ""}, "folder", "a folder with a.txt, b.txt"),
        ({f"{number:02}": "" for number in range(20)}, "folder", f"a folder with {', '.join(f'{each:02}' for each in range(12))}, …"),
        ({}, "folder", "an empty folder"),
    ],
)
def test_folders(tmp_path, files, kind, description):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert (identify(tmp_path).kind, identify(tmp_path).description) == (kind, description)


def test_a_finished_run(tmp_path):
    ours(tmp_path / "model.safetensors")
    assert identify(tmp_path).description == "a finished ardtool run"


def test_nothing_there_and_nothing_to_read(tmp_path):
    with pytest.raises(ModelFileError, match=r"none does not exist\."):
        identify(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="pipe is neither a file nor a folder"):
        identify(tmp_path / "pipe")
