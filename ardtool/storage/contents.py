"""What is inside a file of any kind: names, shapes and types of its tensors, what it says about itself, and what it would run.

Headers and structures are read, values are not; nothing is executed.
"""

from __future__ import annotations

import ast
import json
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..errors import ModelFileError
from .header import LARGEST_HEADER, FileKind, identify, read_header, read_metadata
from .stub_file import PICKLED, read_stub_file

__all__ = ["Contents", "TensorInfo", "contents_of"]

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool", "C64": "complex64"}
_EXPORTED = [
    "unknown",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex32",
    "complex64",
    "complex128",
    "bool",
    "bfloat16",
]
# files of a folder that may hold weights, in the order in which they are looked at
_WEIGHTS = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "model.pt",
    "encoder.pkl",
    "decoder.pkl",
)
LONGEST_HEADER = 10_000
LONGEST_TEXT = 200
MOST_KEYS = 100


@dataclass(frozen=True)
class TensorInfo:
    """A tensor's name, shape and type of numbers."""

    name: str
    shape: list[int]
    dtype: str


@dataclass(frozen=True)
class Contents:
    """What is inside a file.

    Attributes:
        tensors: in the order of the file.
        unsafe_globals: names that unpickling would import, beyond tensors and plain containers.
        metadata: what the file says about itself.
        problem: why (a part of) it cannot be read.
    """

    tensors: list[TensorInfo] = field(default_factory=list)
    unsafe_globals: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def contents_of(path: Path, kind: FileKind) -> Contents:
    """What is inside a file or folder of a known kind; empty where ardtool cannot look inside.

    Raises:
        ModelFileError: the file is damaged.
    """
    if path.is_dir():
        return _of_folder(path)
    if kind.kind in PICKLED:
        return _of_checkpoint(path)
    if kind.kind == "ardtool":
        return Contents(_of_header(path), metadata=read_metadata(path))
    if kind.kind == "safetensors":
        return Contents(_of_header(path), metadata=read_header(path).get("__metadata__", {}))
    try:
        if kind.kind == "npy":
            with open(path, "rb") as file:
                return _of_arrays([_array(path.stem, file)])
        if kind.kind == "npz":
            with zipfile.ZipFile(path) as archive:
                return _of_arrays([_array(name.removesuffix(".npy"), archive.open(name)) for name in archive.namelist()])
        if kind.kind == "pt2":
            return Contents(_of_program(path))
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes may fail anywhere
        raise ModelFileError(f"{path} is truncated or damaged ({type(error).__name__}).", "Copy or download the file again.") from error
    return Contents()


def _of_folder(path: Path) -> Contents:
    """Tensors of the first file that holds some, names that any of them would import."""
    tensors: list[TensorInfo] = []
    unsafe: dict[str, None] = {}
    metadata: dict[str, Any] = {}
    problem = None
    for file in (path / name for name in _WEIGHTS):
        if not file.is_file():
            continue
        try:
            inside = contents_of(file, identify(file))
        except ModelFileError as error:
            problem = problem or error.message
            continue
        unsafe |= dict.fromkeys(inside.unsafe_globals)
        if inside.tensors and not tensors:
            tensors, metadata = inside.tensors, {"weights": file.name, **inside.metadata}
    return Contents(tensors, list(unsafe), metadata, problem)


def _of_checkpoint(path: Path) -> Contents:
    file = read_stub_file(path)
    tensors = [TensorInfo(name, list(record.shape), record.dtype) for name, record in file.tensors.items()]
    metadata: dict[str, Any] = {"container": file.container or None, "other_tensors": max(0, file.count - len(tensors))}
    if file.special:
        metadata["special_tensors"] = file.special
    if isinstance(file.root, dict):
        metadata["keys"] = [key for key in file.root if isinstance(key, str) and (file.container or key not in file.tensors)][:MOST_KEYS]
        metadata["values"] = {key: file.root[key] for key in metadata["keys"] if _is_short(file.root[key])}
    return Contents(tensors, file.unsafe_globals, metadata)


def _is_short(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**63
    return isinstance(value, float) or (isinstance(value, str) and len(value) <= LONGEST_TEXT)


def _of_header(path: Path) -> list[TensorInfo]:
    entries = {name: entry for name, entry in read_header(path).items() if name != "__metadata__"}
    ordered = sorted(entries.items(), key=lambda item: item[1]["data_offsets"])
    return [TensorInfo(name, entry["shape"], _dtype(entry["dtype"])) for name, entry in ordered]


def _dtype(name: str) -> str:
    """F8_E4M3 as float8_e4m3, I64 as int64, U8 as uint8."""
    if name in _DTYPES:
        return _DTYPES[name]
    for short, long in (("F", "float"), ("I", "int"), ("U", "uint")):
        if name.startswith(short):
            return long + name[1:].lower()
    return name.lower()


def _of_arrays(tensors: list[TensorInfo]) -> Contents:
    pickled = [tensor.name for tensor in tensors if tensor.dtype == "object"]
    problem = f"the array '{pickled[0]}' holds pickled Python objects, which ardtool does not read" if pickled else None
    return Contents(tensors, problem=problem)


def _array(name: str, file: IO[bytes]) -> TensorInfo:
    """The header of a NumPy array: a magic number, a version, a length, and a dict as Python text."""
    from numpy import dtype

    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise ValueError("no array")
    (length,) = struct.unpack("<H", file.read(2)) if start[6] == 1 else struct.unpack("<I", file.read(4))
    if length > LONGEST_HEADER:
        raise ValueError("no array")
    header = ast.literal_eval(file.read(length).decode("latin-1").strip())
    shape = header["shape"]
    if not isinstance(shape, tuple) or not all(type(each) is int and each >= 0 for each in shape):
        raise ValueError("no shape")
    return TensorInfo(name, list(shape), dtype(header["descr"]).name)


def _of_program(path: Path) -> list[TensorInfo]:
    """Weights of an exported program, from the table that torch.export writes beside them."""
    with zipfile.ZipFile(path) as archive:
        tables = [each for each in archive.infolist() if each.filename.endswith("model_weights_config.json")]
        if tables and tables[0].file_size > LARGEST_HEADER:
            raise ValueError("its table of weights has more than 100 MiB")
        entries = json.loads(archive.read(tables[0]))["config"] if tables else {}
    infos = []
    for name, entry in entries.items():
        meta = entry["tensor_meta"]
        code = meta["dtype"]
        dtype = _EXPORTED[code] if isinstance(code, int) and 0 <= code < len(_EXPORTED) else "unknown"
        infos.append(TensorInfo(name, [int(size["as_int"]) for size in meta["sizes"]], dtype))
    return infos
