"""NumPy arrays from pickle files, without executing what these files ask for.

A pickle is a program that names functions and has them called. Here the few names that arrays are pickled with are answered by
stand-ins, which do no more than remember their arguments; any other name ends the reading before anything is called. Bytes become
numbers only at the end, when their type is known to be a plain one. Read are files of Python 2 and 3, of all protocols, from
NumPy 1 (`numpy.core`) and 2 (`numpy._core`).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from ..errors import DataError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_arrays"]

PLAIN = re.compile(r"[<>=|]?[biuf](1|2|4|8)")  # bool, whole and real numbers
LATIN = frozenset({"latin1", "latin-1", "iso-8859-1"})
HINT = "Nothing of it was executed. Get the file again from where it was published."


def read_arrays(where: str, stream: IO[bytes]) -> dict[str, np.ndarray]:
    """The arrays of a pickled dictionary by their keys; entries that are no arrays are left out.

    Arguments:
        where: what holds them, for the error.
        stream: the pickle.

    Raises:
        DataError: the pickle names anything but arrays of numbers, is damaged, or holds no dictionary.
    """
    try:
        content = _Reader(stream, encoding="bytes").load()
        if not isinstance(content, dict):
            raise DataError(f"{where} holds no dictionary of arrays, but a {type(content).__name__}.", HINT)
        return {_text(key): value.numbers() for key, value in content.items() if isinstance(value, _Array)}
    except _Refused as error:
        raise DataError(f"{where} is refused: {error}; expected a pickle of arrays of numbers in plain containers.", HINT) from error
    except DataError:
        raise
    except Exception as error:  # damaged bytes make the reader raise nearly anything
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(f"{where} cannot be read as a pickle: {reason}.", HINT) from error


class _Refused(Exception):
    """The pickle asks for what is not given."""


class _Type:
    """What a pickle says of an array's type: a code such as u1 or <f8, and then the order of its bytes."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code, self.order = _text(code), ""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])

    def plain(self) -> np.dtype:
        import numpy as np

        if not PLAIN.fullmatch(self.code):
            raise _Refused(f"it holds an array of type '{self.code}'")
        own = np.dtype(self.code)
        return own.newbyteorder(self.order) if self.order in ("<", ">") else own


class _Array:
    """What a pickle says of an array: type, shape and bytes."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_columns, content = state
        self.state = (content, kind, shape, "F" if by_columns else "C")

    @classmethod
    def of_buffer(cls, content: Any, kind: Any, shape: Any, order: str, *rest: object) -> _Array:
        """The array as protocol 5 pickles it; later versions may add an order of axes."""
        if any(each is not None for each in rest):
            raise _Refused("its axes are in an order of their own")
        array = cls()
        array.state = (content, kind, shape, order)
        return array

    def numbers(self) -> np.ndarray:
        """The array itself, read-only: it shares the pickle's bytes."""
        import numpy as np

        content, kind, shape, order = self.state
        plain = kind.plain()
        if not isinstance(content, (bytes, bytearray)):
            raise _Refused("it holds an array of objects")
        return np.frombuffer(content, dtype=plain).reshape(shape, order=order)


class _Function:
    """A function that a pickle may call and cannot change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _Refused("it changes a function")


def _encoded(text: str, encoding: str | bytes) -> bytes:
    """The bytes that Python 3 writes as text into pickles for Python 2."""
    if _text(encoding).lower() not in LATIN:
        raise _Refused(f"it encodes text as '{encoding}'")
    return text.encode("latin1")


def _text(name: str | bytes) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


NUMPY: dict[str, object] = {"multiarray._reconstruct": _Array, "multiarray.scalar": _Function(lambda *_: None)}
NUMPY["numeric._frombuffer"] = _Function(_Array.of_buffer)
STAND_INS: dict[str, object] = {f"{core}.{name}": made for core in ("numpy.core", "numpy._core") for name, made in NUMPY.items()}
STAND_INS |= {"numpy.ndarray": _Array, "numpy.dtype": _Type, "_codecs.encode": _Function(_encoded)}
"""Dotted name in a pickle → what answers for it. A single number (`scalar`) is no array and is forgotten."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        if dotted not in STAND_INS:
            raise _Refused(f"it asks for {dotted}")
        return STAND_INS[dotted]
