"""Reading a pickle without running it.

A pickle is a program for a stack machine, whose instructions import and call whatever they name. Here the same instructions are carried
out with nothing imported and nothing called: dicts, lists, tuples, numbers and strings are built; the few functions of torch that put a
tensor together give a `TensorRecord`; everything else becomes an inert `Stub`. `pickletools.genops` splits the bytes into instructions.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .tensor_records import StorageRecord, TensorRecord, is_dtype, storage_dtype

__all__ = ["Stub", "StubUnpickler"]

_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # what Python 2 called them


@dataclass(eq=False)
class Stub:
    """What stands for an imported name, or for the object that a call of it would have made.

    Attributes:
        name: module and name, joined by a dot.
        state: what would have been poured into the object.
        entries: what would have been put into it by key.
    """

    name: str
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)


class StubUnpickler:
    """Carries out a pickle's instructions with inert things in place of everything that it imports.

    Arguments:
        file: has read, readline and tell; stands behind the pickle's last byte after `load`.
        nested: reads the bytes of a storage that was pickled on its own; None where there can be none.

    Attributes:
        globals: every name that the pickle imports, in order, as keys.
        storages: the type of the numbers under every key.
        tensors: how many tensors it describes.
    """

    def __init__(self, file: Any, nested: Callable[[bytes], Any] | None = None) -> None:
        self.file = file
        self.globals: dict[str, None] = {}
        self.storages: dict[str, str] = {}
        self.tensors = 0
        self._nested = nested
        self._memo: dict[int, Any] = {}
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under each mark

    def load(self) -> Any:
        """The object that the pickle describes.

        Raises:
            ValueError, LookupError, TypeError, AttributeError: the bytes are no whole pickle.
        """
        for instruction, argument, _ in pickletools.genops(self.file):
            if instruction.name == "STOP":
                return self._stack.pop()
            self._carry_out(instruction.name, argument)
        raise ValueError("the pickle does not end")

    def _carry_out(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._below.append(stack)
            self._stack = []
        elif (name == "POP" and not stack) or name == "POP_MARK":
            self._since_mark()
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name not in ("PROTO", "FRAME"):
            self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:
        """Instructions that make a container or add to one."""
        stack = self._stack
        if name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(self._pop(int(name[-1]))))
        elif name in ("TUPLE", "LIST", "FROZENSET"):
            items = self._since_mark()
            self._stack.append(tuple(items) if name == "TUPLE" else items)
        elif name == "DICT":
            items = self._since_mark()
            self._stack.append({})
            self._set(items)
        elif name == "APPEND":
            self._extend(self._pop(1))
        elif name in ("APPENDS", "ADDITEMS"):
            self._extend(self._since_mark())
        elif name == "SETITEM":
            self._set(self._pop(2))
        elif name == "SETITEMS":
            self._set(self._since_mark())
        else:
            self._make(name, argument)

    def _make(self, name: str, argument: Any) -> None:
        """Instructions that would import or call something."""
        if name in ("GLOBAL", "STACK_GLOBAL"):
            module, what = argument.split(" ", 1) if name == "GLOBAL" else self._pop(2)
            self._stack.append(self._import(str(module), str(what)))
        elif name == "INST":
            items = self._since_mark()
            self._stack.append(self._call(self._import(*argument.split(" ", 1)), tuple(items)))
        elif name == "OBJ":
            items = self._since_mark()
            self._stack.append(self._call(items[0], tuple(items[1:])))
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = self._pop(2)
            self._stack.append(self._call(function, arguments))
        elif name == "NEWOBJ_EX":
            function, arguments, _ = self._pop(3)
            self._stack.append(self._call(function, arguments))
        elif name == "BUILD":
            state = self._stack.pop()
            if isinstance(self._stack[-1], Stub):
                self._stack[-1].state = state
        elif name in ("PERSID", "BINPERSID"):
            self._stack.append(self._persistent(argument if name == "PERSID" else self._stack.pop()))
        elif name in ("EXT1", "EXT2", "EXT4"):
            self._stack.append(self._import("copyreg", f"extension {argument}"))
        else:
            raise ValueError(f"the instruction {name} is unknown")

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("the pickle takes more than it has put down")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        entries = target.entries if isinstance(target, Stub) else target
        if not isinstance(entries, dict):
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            # a tuple's hash runs through all that it holds, to any depth; nothing that is looked for has such a key
            entries[key if isinstance(key, _KEYS) else Stub("a key")] = value

    def _import(self, module: str, name: str) -> Stub:
        full = f"{_RENAMED.get(module, module)}.{name}"
        self.globals[full] = None
        return Stub(full)

    def _call(self, function: Any, arguments: Any) -> Any:
        """What a call of a known name describes; a stub for every other name and for arguments that do not fit."""
        name = function.name if isinstance(function, Stub) else "?"
        if not isinstance(arguments, tuple):
            return Stub(name)
        if name == "torch._tensor._rebuild_from_type_v2" and len(arguments) >= 3 and isinstance(arguments[0], Stub):
            function, arguments = arguments[0], arguments[2]
            return self._call(function, arguments) if function.name != name else Stub(name)
        if name == "torch.storage._load_from_bytes" and self._nested is not None and arguments and isinstance(arguments[0], bytes):
            return self._nested(arguments[0])
        try:
            built = _BUILDERS[name](*arguments)
        except (LookupError, TypeError, ValueError):
            return Stub(name)
        self.tensors += isinstance(built, TensorRecord) and not any(built is each for each in arguments)
        return built

    def _persistent(self, identifier: Any) -> Any:
        """A storage, or in old files the class of a module, which torch keeps beside the pickle."""
        match identifier:
            case ("module", Stub() as kind, *_):
                return kind
            case ("storage", Stub() as kind, str() as key, _, int() as count, *view) if count >= 0:
                dtype = storage_dtype(kind.name)
                if dtype is not None:
                    self.storages.setdefault(key, dtype)
                    match view:
                        case [(_, int() as start, int() as size)] if start >= 0 and size >= 0:
                            return StorageRecord(key, dtype, size, start)
                    return StorageRecord(key, dtype, count)
        return Stub("a persistent object")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorRecord:
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, StorageRecord) or len(shape) != len(stride) or not all(type(each) is int and each >= 0 for each in numbers):
        raise ValueError("no tensor")
    return TensorRecord(storage, offset, tuple(shape), tuple(stride), storage.dtype)


def _typed_tensor(storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any) -> TensorRecord:
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Stub) else ""
    if not is_dtype(name):
        raise ValueError("no type of numbers")
    plain = _tensor(storage, offset, shape, stride)
    return TensorRecord(plain.storage, plain.offset, plain.shape, plain.stride, name)


def _parameter(data: Any, *_: Any) -> TensorRecord:
    if not isinstance(data, TensorRecord):
        raise ValueError("no parameter")
    return data


def _ordered(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    return {key: value for key, value in pairs if isinstance(key, _KEYS)}


def _sequence(items: Any = (), *_: Any) -> list[Any]:
    if not isinstance(items, list | tuple):
        raise ValueError("no sequence")
    return list(items)


_BUILDERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda *_: {},
    "builtins.set": _sequence,
    "builtins.frozenset": _sequence,
    "torch.Size": lambda items=(): tuple(_sequence(items)),
    "_codecs.encode": lambda text, *_: str.encode(text, "latin-1"),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_KEYS = (str, bytes, int, float, bool, type(None))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_SET": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_NUMBERS = ("INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_LITERALS = frozenset((*_NUMBERS, *_TEXTS, "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"))
