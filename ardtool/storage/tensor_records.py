"""What torch writes into a pickle in place of a tensor: which names stand there, which types, and a description without any values."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ITEM_SIZES", "StorageRecord", "TensorRecord", "is_dtype", "is_harmless", "storage_dtype"]

_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Untyped": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt32": "qint32",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}
_SIXTEEN = ("float16", "bfloat16", "int16", "uint16")
_BYTES = {"float64": 8, "int64": 8, "uint64": 8, "complex64": 8, "complex128": 16, "float32": 4, "int32": 4, "uint32": 4, "qint32": 4}
ITEM_SIZES = _BYTES | dict.fromkeys(_SIXTEEN, 2) | dict.fromkeys(("uint8", "int8", "bool", "qint8", "quint8", "quint4x2", "quint2x4"), 1)

_DTYPE = r"b?complex\d+|bool|b?float\d+(_\w+)?|u?int\d+|qu?int\d+(x\d+)?|bits\d+(x\d+)?"
_CONTAINER = rf"((cuda\.|sparse\.|cuda\.sparse\.)?({'|'.join(_STORAGES)})(Storage|Tensor))|storage\.(Un)?[tT]ypedStorage"
_HARMLESS = re.compile(rf"torch\.({_DTYPE}|{_CONTAINER}|Size|Tensor|device|nn\.parameter\.Parameter|serialization\._get_layout)")
_HARMLESS_TORCH = re.compile(
    r"torch\._tensor\._rebuild_from_type_v2|torch\.per_(tensor|channel)_(affine|symmetric|affine_float_qparams)|torch\._utils\._rebuild_"
    r"(tensor(_v[23])?|parameter(_with_state)?|qtensor|sparse_tensor|meta_tensor_no_storage|wrapper_subclass|device_tensor_from_\w+)"
)
_HARMLESS_PYTHON = frozenset(
    ["collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.bytearray", "builtins.set", "builtins.complex"]
)


def is_harmless(name: str) -> bool:
    """Whether a name that a pickle imports is one that torch's weights-only loader takes too."""
    return name in _HARMLESS_PYTHON or bool(_HARMLESS.fullmatch(name) or _HARMLESS_TORCH.fullmatch(name))


def is_dtype(name: str) -> bool:
    """Whether a name is that of a type of numbers, as `float32`."""
    return bool(re.fullmatch(_DTYPE, name))


def storage_dtype(name: str) -> str | None:
    """The type of the numbers in a storage class such as `torch.FloatStorage`; None for other names."""
    return _STORAGES.get(name.rpartition(".")[2].removesuffix("Storage")) if is_harmless(name) and name.endswith("Storage") else None


@dataclass(frozen=True, eq=False)
class StorageRecord:
    """Numbers that lie somewhere in a file: `count` of a type, `start` numbers into what `key` names, or in `data` itself."""

    key: str
    dtype: str
    count: int
    start: int = 0
    data: memoryview | None = None


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """A tensor as a pickle describes it; nothing of its values is read."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
