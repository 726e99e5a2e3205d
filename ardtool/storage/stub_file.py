"""A torch checkpoint or a pickle taken apart without running it: its structure, the names it would import, where its numbers lie.

Three forms are read. A zip archive holds `data.pkl` and one member `data/KEY` a storage. The format before torch 1.6 is a row of pickles
(a magic number, a version, facts about the machine, the object, the keys of all storages), then for every key a count and its numbers.
A raw pickle of tensors carries each storage as bytes in that older format.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ArdtoolError, ModelFileError, first_line
from .header import identify
from .state_dict import find_tensors
from .stub_pickle import Stub, StubUnpickler
from .tensor_records import ITEM_SIZES, StorageRecord, TensorRecord, is_harmless

__all__ = ["PICKLED", "StubFile", "read_stub_file"]

PICKLED = ("torch", "torch-legacy", "pickle")
LARGEST_PICKLE = 2**31
LONGEST_BYTEORDER = 16


@dataclass(frozen=True)
class StubFile:
    """What a file would make, with records in place of tensors and stubs in place of all that it would import.

    Attributes:
        tensors: the state dict by name, as records.
        container: the key under which the state dict lies; "" for the top.
        count: tensors in the whole file, those of an optimiser too.
        special: tensors of the state dict that are no dense array of plain numbers, with the function that would make each.
        unsafe_globals: names that the file would import and that torch's weights-only loader refuses.
        root: the whole object.
    """

    tensors: dict[str, TensorRecord]
    container: str
    count: int
    special: dict[str, str]
    unsafe_globals: list[str]
    root: Any
    _place: Callable[[StorageRecord], memoryview]

    def numbers_of(self, storage: StorageRecord) -> memoryview:
        """The bytes of a storage, as many as it says.

        Raises:
            ModelFileError: the file has fewer.
        """
        size = ITEM_SIZES[storage.dtype]
        try:
            data = self._place(storage) if storage.data is None else storage.data
        except (LookupError, ValueError, struct.error) as error:
            raise ModelFileError(f"The storage '{storage.key}' is missing or damaged.", "Copy or download the file again.") from error
        part = data[storage.start * size : (storage.start + storage.count) * size]
        if len(part) != storage.count * size:
            raise ModelFileError(
                f"The storage '{storage.key}' has {len(data):,} bytes; the file speaks of more.", "Copy or download the file again."
            )
        return part


def read_stub_file(path: Path) -> StubFile:
    """Take a checkpoint apart; values stay where they are until `numbers_of` asks for them.

    Raises:
        ModelFileError: the file is of another kind, or damaged.
    """
    kind = identify(path)
    if kind.kind not in PICKLED:
        raise ModelFileError(f"{path} is {kind.description}; expected a torch checkpoint or a pickle.", f"See `ardtool inspect {path}`.")
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # private pages: a tensor over them may be written to
    try:
        if kind.kind == "torch":
            unpickler, root, place = _read_zip(path, mapped)
        elif kind.kind == "torch-legacy":
            unpickler, root, place = _read_legacy(mapped, memoryview(mapped))
        else:
            unpickler = StubUnpickler(mapped, _nested_storages())
            root, place = unpickler.load(), _nowhere
        found, container = find_tensors(root, lambda each: isinstance(each, TensorRecord) or _is_special(each))
    except (ArdtoolError, MemoryError):
        raise
    except Exception as error:  # damaged bytes may fail anywhere
        raise ModelFileError(f"{path} is truncated or damaged: {first_line(error)}.", "Copy or download the file again.") from error
    unsafe = [name for name in unpickler.globals if not is_harmless(name)]
    tensors = {name: each for name, each in found.items() if isinstance(each, TensorRecord)}
    special = {name: each.name for name, each in found.items() if isinstance(each, Stub)}
    return StubFile(tensors, container, unpickler.tensors, special, unsafe, root, place)


def _is_special(value: Any) -> bool:
    """Whether a stub stands for a tensor."""
    return isinstance(value, Stub) and value.name.startswith(("torch._utils._rebuild_", "torch._tensor._rebuild_"))


_Parts = tuple[StubUnpickler, Any, Callable[[StorageRecord], memoryview]]


def _read_zip(path: Path, mapped: mmap.mmap) -> _Parts:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        prefix = next(name for name in members if name.rpartition("/")[2] == "data.pkl" and name.count("/") < 2).removesuffix("data.pkl")
        if members[f"{prefix}data.pkl"].file_size > LARGEST_PICKLE:
            raise ValueError("its pickle has more than 2 GiB")
        order = members.get(f"{prefix}byteorder")
        if order is not None and order.file_size <= LONGEST_BYTEORDER and archive.read(order) == b"big":
            raise ValueError("it comes from a big-endian machine, which is not supported")
        pickled = archive.read(f"{prefix}data.pkl")

    def place(storage: StorageRecord) -> memoryview:
        member = members[f"{prefix}data/{storage.key}"]
        if member.compress_type != zipfile.ZIP_STORED:
            with zipfile.ZipFile(path) as again:
                return memoryview(bytearray(again.read(member)))
        at = member.header_offset
        name_length, extra_length = struct.unpack("<HH", mapped[at + 26 : at + 30])
        start = at + 30 + name_length + extra_length
        return memoryview(mapped)[start : start + member.file_size]

    unpickler = StubUnpickler(io.BytesIO(pickled))
    return unpickler, unpickler.load(), place


def _read_legacy(file: Any, data: memoryview) -> _Parts:
    """The older format, from a file that stands at its start; `data` is the same bytes."""
    for _ in range(2):
        StubUnpickler(file).load()
    machine = StubUnpickler(file).load()
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise ValueError("it comes from a big-endian machine, which is not supported")
    unpickler = StubUnpickler(file)
    root = unpickler.load()
    places = {}
    for key in StubUnpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        start = file.tell()
        end = start + count * ITEM_SIZES[unpickler.storages[key]]
        if count < 0 or end > len(data):
            raise ValueError(f"{len(data):,} of at least {end:,} bytes are there")
        places[key] = data[start:end]
        file.seek(end)
    return unpickler, root, lambda storage: places[storage.key]


def _nested_storages() -> Callable[[bytes], Any]:
    """Reads storages that were pickled into bytes, each once however often the pickle uses it."""
    read: dict[int, tuple[bytes, Any]] = {}

    def storage_of(data: bytes) -> Any:
        if id(data) not in read:
            read[id(data)] = data, _nested_storage(data)  # the bytes are kept, so that their id is not used again
        return read[id(data)][1]

    return storage_of


def _nested_storage(data: bytes) -> Any:
    """The storage that was pickled into bytes, with its numbers."""
    view = memoryview(bytearray(data))
    _, root, place = _read_legacy(io.BytesIO(data), view)
    if not isinstance(root, StorageRecord):
        return root
    return StorageRecord(root.key, root.dtype, root.count, root.start, place(root))


def _nowhere(storage: StorageRecord) -> memoryview:
    raise LookupError(storage.key)
