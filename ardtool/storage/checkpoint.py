"""Tensors out of other programs' checkpoints, with nothing executed.

`read_tensors` and `read_checkpoint` go through safetensors and through torch's weights-only loader, which refuses a file that names more
than tensors and plain containers. `rescue_tensors` reads those files too, and raw pickles: `stub_pickle` carries out the pickle with inert
things in place of whatever it would import, so that the tensors come out and nothing runs.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelFileError
from .header import FileKind, identify
from .state_dict import find_tensors
from .stub_file import PICKLED, StubFile, read_stub_file
from .tensor_records import StorageRecord, TensorRecord, is_dtype

__all__ = ["read_checkpoint", "read_tensors", "rescue_tensors"]

SAFETENSORS = ("safetensors", "ardtool")
MOST_NAMES = 8


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a safetensors file or of a torch checkpoint, on the CPU; see `find_tensors` for where it is looked for.

    Raises:
        ModelFileError: the file is missing, damaged or of another kind, holds no tensors, or would run code.
    """
    path = Path(path)
    value = read_checkpoint(path)
    tensors, _ = find_tensors(value, lambda each: isinstance(each, Tensor))
    if not tensors:
        raise ModelFileError(f"{path} holds no tensors{_keys(value)}.", f"See `ardtool inspect {path}`.")
    return tensors


def read_checkpoint(path: str | Path) -> Any:
    """All that a torch checkpoint holds, numbers and texts too, or the tensors of a safetensors file by name; on the CPU.

    Raises:
        ModelFileError: the file is missing, damaged or of another kind, or would run code.
    """
    path = Path(path)
    kind = identify(path)
    if kind.kind in SAFETENSORS:
        return _read_safetensors(path)
    if kind.kind == "pickle":
        raise _refusal(path, "it is a raw pickle, no torch checkpoint")
    if kind.kind not in PICKLED:
        raise _another_kind(path, kind)
    # a mapped file is read where it lies, which is wrong inside a compressed archive
    mapped = kind.kind == "torch" and _is_stored(path) and path.suffix != ".safetensors"
    try:
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")
            return torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise _refusal(path, _reason(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # torch fails in many ways on damaged bytes
        raise ModelFileError(f"{path} is truncated or damaged: {_reason(error)}.", "Copy or download the file again.") from error


def rescue_tensors(path: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict of any torch checkpoint or raw pickle, and the names in it that were not imported; nothing is executed.

    Of a module that was pickled whole, parameters and buffers come by the names that its `state_dict` would give them. Tensors share
    memory where the file says so. Changing them does not change the file.

    Raises:
        ModelFileError: the file is missing, damaged or of another kind, or holds no dense tensors.
    """
    path = Path(path)
    if (kind := identify(path)).kind not in PICKLED:
        raise _another_kind(path, kind)
    file = read_stub_file(path)
    if file.special:
        name, function = next(iter(file.special.items()))
        raise ModelFileError(f"{path}: '{name}' is no dense tensor ({function} would make it).", "Make it dense where it was made.")
    if not file.tensors:
        raise ModelFileError(f"{path} holds no tensors{_keys(file.root)}.", f"See `ardtool inspect {path}`.")
    storages: dict[Any, Tensor] = {}
    try:
        return {name: _tensor(name, record, file, storages) for name, record in file.tensors.items()}, file.unsafe_globals
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error.message}", error.hint) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(f"{path} is damaged: {_reason(error)}.", "Copy or download the file again.") from error


def _is_stored(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())


def _refusal(path: Path, reason: str) -> ModelFileError:
    """What the weights-only loader does not take, with the names that the file would have imported."""
    names = read_stub_file(path).unsafe_globals
    if names:
        shown = ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
        message = f"{path} would run code when it is loaded: its pickle names {shown}."
    else:
        message = f"{path} cannot be read by torch's weights-only loader: {reason}."
    return ModelFileError(message, f"`ardtool convert {path} --out {path.stem}.safetensors` reads the tensors alone and runs nothing.")


def _another_kind(path: Path, kind: FileKind) -> ModelFileError:
    return ModelFileError(
        f"{path} is {kind.description}; expected a torch checkpoint or a safetensors file.", f"See `ardtool inspect {path}`."
    )


def _tensor(name: str, record: TensorRecord, file: StubFile, storages: dict[Any, Tensor]) -> Tensor:
    """A tensor over the file's own bytes; tensors with the same storage share it."""
    storage = record.storage
    kind = getattr(torch, record.dtype) if is_dtype(record.dtype) else None
    if storage.dtype.startswith(("q", "bits")) or not isinstance(kind, torch.dtype):
        raise ModelFileError(
            f"'{name}' is quantised ({record.dtype}); only plain numbers are read.", "Dequantise the model where it was made."
        )
    # storages of one key are one piece of memory; storages that were pickled on their own have no common keys
    key = (storage.key if storage.data is None else id(storage), storage.start, kind)
    if key not in storages:
        storages[key] = _numbers(storage, file, kind)
    try:
        return storages[key].as_strided(record.shape, record.stride, record.offset)
    except RuntimeError as error:
        raise ModelFileError(f"'{name}' reaches beyond its storage.", "Copy or download the file again.") from error


def _numbers(storage: StorageRecord, file: StubFile, kind: torch.dtype) -> Tensor:
    data = file.numbers_of(storage)
    if not len(data):
        return torch.empty(0, dtype=kind)
    try:
        values = torch.frombuffer(data, dtype=torch.uint8)
        aligned = values if values.data_ptr() % kind.itemsize == 0 else values.clone()
        return aligned.view(kind)
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(f"The storage '{storage.key}' holds no whole numbers.", "Copy or download the file again.") from error


def _keys(value: Any) -> str:
    names = ", ".join(str(key) for key in list(value)[:MOST_NAMES]) if isinstance(value, dict) else ""
    return f" under the names that are known; its keys are {names}" if names else ""


def _reason(error: Exception) -> str:
    """One line out of what a library said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-2] if len(lines) > 2 and "torch.load" in lines[-1] else lines[0] if lines else type(error).__name__).rstrip(".")
