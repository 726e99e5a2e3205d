"""`convert`: the tensors of a foreign checkpoint as a safetensors file; nothing in the checkpoint is executed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import ConfigError, ModelFileError, StorageError
from ..storage.atomic import write_atomically
from ..storage.checkpoint import read_tensors, rescue_tensors
from ..storage.header import FileKind, identify
from ..storage.stub_file import PICKLED
from .inspect import ROUTES

__all__ = ["ConvertResult", "convert"]

SCHEMA = "ardtool.convert/1"
KINDS = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool")
KINDS += ("float8_e4m3fn", "float8_e5m2")


@dataclass(frozen=True)
class ConvertResult:
    """What was written.

    Attributes:
        path: the checkpoint.
        tensors: how many were written, with `parameters` numbers in all.
        bytes: size of the new file.
        copied: tensors that shared memory with an earlier one in the checkpoint; each has its own numbers now.
        stubs: names that the checkpoint would have imported; they and what they stand for are left out.
        files: the new file.
    """

    path: str
    tensors: int
    parameters: int
    bytes: int
    copied: list[str]
    stubs: list[str]
    files: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract `ardtool.convert/1`."""
        return {"schema": SCHEMA, **vars(self)}


def convert(path: str | Path, *, out: str | Path, force: bool = False) -> ConvertResult:
    """Write the state dict of a torch checkpoint or of a pickled module to a safetensors file.

    Arguments:
        path: a torch checkpoint of any age, or a raw pickle.
        out: the new file, .safetensors.
        force: replace it where it exists.

    Raises:
        ConfigError: `out` has another suffix.
        ModelFileError: the checkpoint is missing, damaged, of another kind, without tensors, or with some that the format cannot hold.
        StorageError: the new file exists or cannot be written.
    """
    path, out = Path(path), Path(out)
    if out.suffix != ".safetensors":
        example = (out if out.name else out / path.stem).with_suffix(".safetensors")
        raise ConfigError(f"--out is {out}; expected a .safetensors file.", f"Use --out {example}.")
    kind = identify(path)
    if kind.kind not in PICKLED:
        raise _refusal(path, kind)
    if out.exists() and not force:
        raise StorageError(f"{out} exists already.", "Choose another name with --out, or replace it with --force.")
    tensors, stubs = _read(path)
    _check(path, tensors)
    written, copied = _alone(tensors)
    write_atomically(out, lambda aside: save_file(written, aside, metadata={"format": "pt"}))
    return ConvertResult(
        path=str(path),
        tensors=len(written),
        parameters=sum(tensor.numel() for tensor in written.values()),
        bytes=out.stat().st_size,
        copied=copied,
        stubs=stubs,
        files=[str(out)],
    )


def _refusal(path: Path, kind: FileKind) -> ModelFileError:
    if kind.kind == "ardtool":
        return ModelFileError(f"{path} is an ardtool model already.", f"Score its axes with `ardtool relevance {path}`.")
    if kind.kind == "safetensors":
        return ModelFileError(f"{path} is a safetensors file already.", "Use it as it is.")
    hint = ROUTES.get(kind.kind, "Give a torch checkpoint or a pickle.").format(path=path)
    return ModelFileError(f"{path} is {kind.description}; expected a torch checkpoint or a pickle.", hint)


def _read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """By torch's weights-only loader, or without it where it refuses."""
    try:
        return read_tensors(path), []
    except ModelFileError:
        return rescue_tensors(path)


def _check(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse what the safetensors format has no place for."""
    for name, tensor in tensors.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ModelFileError(f"{path}: '{name}' is no dense tensor with values.", "Make it dense where it was made.")
        if kind not in KINDS:
            raise ModelFileError(
                f"{path}: '{name}' is {kind}, which a safetensors file cannot hold.", "Convert it to another type where it was made."
            )
    if "__metadata__" in tensors:
        raise ModelFileError(f"{path}: a tensor is called '__metadata__', which safetensors keeps for itself.", "Rename it.")


def _alone(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Every tensor contiguous and in memory of its own, and the names of those that shared it."""
    taken: set[int] = set()
    written, copied = {}, []
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        if memory in taken and tensor.numel():
            copied.append(name)
            written[name] = tensor.clone(memory_format=torch.contiguous_format)
        else:
            written[name] = tensor.contiguous()
        taken.add(memory)
    return written, copied
