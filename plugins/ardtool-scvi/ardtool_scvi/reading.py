"""Reads the model.pt of scvi-tools without executing anything in it.

The file is a pickle of tensors, plain values, and leftovers of training: numpy arrays of cell indices, pandas tables of losses. torch's
weights-only loader knows the tensors and the plain values. Every name of numpy and pandas is answered by a stand-in that keeps or
forgets its arguments, so that no code of these libraries runs either: an array that numpy builds from a hostile description can reach
memory that is not its own. Any other name is refused, and the message lists it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ardtool.errors import ModelFileError, first_line

__all__ = ["SavedModel", "read_model"]

# numpy's codes of plain numbers, and struct's
NUMBERS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "f4": "f", "f8": "d"}
FORGOTTEN = ("numpy.", "pandas.")


@dataclass(frozen=True)
class SavedModel:
    """What a model.pt holds.

    Attributes:
        model_name: class of the model, such as SCVI.
        state: its tensors by name.
        parameters: arguments of the class as they were given, with their defaults.
        counts: numbers of the data: n_vars, n_batch, n_labels, n_extra_categorical_covs, n_extra_continuous_covs.
        size_factor: the column of size factors, or None.
    """

    model_name: str
    state: dict[str, Tensor]
    parameters: dict[str, Any]
    counts: dict[str, int]
    size_factor: str | None


class Forgotten:
    """Stands for an object that is not needed: takes any arguments and any state, and keeps nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class NumberType:
    """Stands for a numpy type: its code and its byte order."""

    def __init__(self, code: str = "", *arguments: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _scalar(kind: Any = None, raw: Any = None) -> Any:
    """A numpy number as a Python number; `Forgotten` for other scalars."""
    if isinstance(kind, NumberType) and kind.code in NUMBERS and isinstance(raw, bytes):
        return struct.unpack(kind.order + NUMBERS[kind.code], raw)[0]
    return Forgotten()


def _dictionary(*arguments: Any) -> dict[Any, Any]:
    """An empty dict for a defaultdict, whose factory is forgotten."""
    return {}


def _no_bytes() -> bytes:
    """How pickle spells empty bytes."""
    return b""


STAND_INS: dict[str, Any] = {
    "builtins.bytes": _no_bytes,
    "builtins.dict": Forgotten,
    "builtins.slice": Forgotten,
    "collections.defaultdict": _dictionary,
    "numpy.dtype": NumberType,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}


def read_model(path: Path) -> SavedModel:
    """What a model.pt holds, on the CPU.

    Raises:
        ModelFileError: it cannot be read, holds other Python objects than scvi-tools writes, or lacks a part.
    """
    content = _unpickled(path)
    attributes, state = _part(content, path, "attr_dict"), _part(content, path, "model_state_dict")
    registry = _part(attributes, path, "registry_")
    tensors = {name: value for name, value in state.items() if name != "pyro_param_store"}
    for name, value in tensors.items():
        if type(value) is not Tensor or value.layout != torch.strided:
            raise ModelFileError(f"{path}: '{name}' is not a plain tensor.", "Save the model again with scvi-tools.")
    counts: dict[str, int] = {}
    for field in _part(registry, path, "field_registries").values():
        summary = field.get("summary_stats") if isinstance(field, dict) else None
        counts.update({name: value for name, value in (summary or {}).items() if isinstance(name, str) and isinstance(value, int)})
    setup = _part(registry, path, "setup_args")
    return SavedModel(
        str(registry.get("model_name")),
        {str(name): value.detach() for name, value in tensors.items()},
        _parameters(_part(attributes, path, "init_params_"), path),
        counts,
        setup.get("size_factor_key"),
    )


def _unpickled(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist.", "Give the folder that the model's `save` wrote.")
    earlier = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()  # what others admitted is not admitted here
    try:
        stand_ins = _stand_ins(path)
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ModelFileError:
        raise
    except Exception as error:  # a damaged or hostile file fails in many ways
        raise ModelFileError(
            f"{path} cannot be read as a model of scvi-tools: {first_line(error)}.", "Save the model again with scvi-tools."
        ) from error
    finally:
        torch.serialization.add_safe_globals(earlier)
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} holds a {type(content).__name__}; expected the dict that scvi-tools writes.")
    return content


def _stand_ins(path: Path) -> list[Any]:
    """Stand-ins for the names in a file, found without unpickling.

    Raises:
        ModelFileError: there are others than scvi-tools writes.
    """
    names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    refused = sorted(name for name in names if name not in STAND_INS and not name.startswith(FORGOTTEN))
    if refused:
        raise ModelFileError(
            f"{path} holds Python objects that could run code, and is not loaded: {', '.join(refused)}.",
            "scvi-tools writes none of them for a model with plain settings; ask who made the file.",
        )
    return [(STAND_INS.get(name, Forgotten), name) for name in names]


def _part(content: dict[str, Any], path: Path, name: str) -> dict[str, Any]:
    part = content.get(name)
    if not isinstance(part, dict):
        raise ModelFileError(f"{path} has no '{name}'.", "Save the model again with scvi-tools 1.1 or newer.")
    return part


def _parameters(given: dict[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of the class, with the further keyword arguments it hands on."""
    parameters = dict(_part(given, path, "non_kwargs"))
    for group in _part(given, path, "kwargs").values():
        parameters.update(group if isinstance(group, dict) else {})
    return parameters
