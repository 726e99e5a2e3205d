r"""Work in chunks that fit into memory, halved where they do not.

A chunk is n rows (codes) by k columns (tangents, projections, moved axes). What it takes is counted as

    bytes = n · (row + k · pair)

and n and k are the largest that stay within a budget: whole rows where one fits, else some columns of one row. The pieces are then made
equal. On a CPU a chunk has at most 256 pairs (more where pairs are small): larger ones leave the caches and are slower.

A count of bytes is an estimate. Where memory runs out all the same, the chunk is halved and done again, and later chunks are as small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..autoencoder import Autoencoder, Posterior
from ..errors import ArdtoolError, first_line

__all__ = [
    "MEMORY_BUDGET",
    "AllocatedBytes",
    "ChunkCost",
    "Footprint",
    "Shortage",
    "decode_footprint",
    "encoded",
    "in_blocks",
    "in_chunks",
    "in_pieces",
    "is_out_of_memory",
    "out_of_memory",
    "within_memory",
]

MEMORY_BUDGET = 256 * 2**20
CPU_PAIRS = 256
CPU_BYTES = 16 * 2**20
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")

T = TypeVar("T")


@dataclass(frozen=True)
class ChunkCost:
    """Bytes that a chunk takes.

    Attributes:
        pair: for every pair of row and column.
        row: for every row, whatever its columns.
        device: where it takes them; a CPU is fastest with chunks of moderate size.
    """

    pair: int
    row: int = 0
    device: torch.device | str = "cpu"

    def chunk(self, rows: int, columns: int, memory: int) -> tuple[int, int]:
        """Rows and columns of one chunk of a table of that size, at least 1 and 1."""
        most = rows * columns
        if torch.device(self.device).type == "cpu":
            most = max(CPU_PAIRS, CPU_BYTES // max(self.pair + self.row // columns, 1))
        whole = self.row + columns * self.pair
        if whole <= memory and columns <= most:
            return _even(rows, min(memory // max(whole, 1), most // columns)), columns
        return 1, _even(columns, min((memory - self.row) // max(self.pair, 1), most))


def _even(total: int, size: int) -> int:
    """A size at most as large that cuts the total into pieces of nearly the same length."""
    return max(1, ceil(total / ceil(total / min(max(size, 1), total))))


def in_chunks(
    rows: int,
    columns: int,
    cost: ChunkCost,
    memory: int,
    work: Callable[[slice, slice], T],
    *,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[slice, slice, T]]:
    """Do `work` on all chunks of a table, row by row, and give its result with the rows and columns it belongs to.

    Arguments:
        rows, columns: size of the table, each ≥ 1.
        cost, memory: what a chunk takes, and what it may take, in bytes.
        work: called with the rows and the columns of a chunk.
        generator: what `work` draws from; put back before a chunk is done again, so that a draw does not depend on the chunks.

    Raises:
        ArdtoolError: memory runs out on a single row and column.
    """
    return in_blocks(rows, columns, cost.chunk(rows, columns, memory), work, generator=generator)


def in_pieces(rows: int, size: int, work: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
    """Do `work` on pieces of some rows one after the other, and give its result with the rows it belongs to; 0 rows have no piece.

    Arguments:
        size: of the first pieces, ≥ 1; later ones are smaller where memory runs out.
        work: called with the rows of a piece. What it changes beside its result is done again with smaller pieces.

    Raises:
        ArdtoolError: memory runs out on a single row.
    """
    for part, _, found in in_blocks(rows, 1, (size, 1), lambda part, _: work(part)):
        yield part, found


def in_blocks(
    rows: int,
    columns: int,
    block: tuple[int, int],
    work: Callable[[slice, slice], T],
    *,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[slice, slice, T]]:
    """`in_chunks` for blocks whose size is known: so many rows and so many columns, halved where memory runs out."""
    height, width = block
    row = column = 0
    while row < rows:
        part, some = slice(row, min(row + height, rows)), slice(column, min(column + width, columns))
        state = None if generator is None else generator.get_state()
        found = within_memory(lambda part=part, some=some: work(part, some))
        if isinstance(found, Shortage):
            height, width = _halved(part.stop - part.start, some.stop - some.start, found.said)
            if generator is not None and state is not None:
                generator.set_state(state)
            continue
        yield part, some, found
        row, column = (part.stop, 0) if some.stop == columns else (row, some.stop)


class Shortage(NamedTuple):
    """Memory ran out.

    Attributes:
        said: the first line of the error.
    """

    said: str


def within_memory(work: Callable[[], T]) -> T | Shortage:
    """The result of `work`, or a `Shortage` where memory runs out in it; what it held is free again then, on a GPU too."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found = Shortage(first_line(error))
    if torch.cuda.is_available():  # the error is gone here, and with it what its frames held
        torch.cuda.empty_cache()
    return found


def _halved(height: int, width: int, shortage: str) -> tuple[int, int]:
    if height == width == 1:
        raise out_of_memory(shortage)
    return (ceil(height / 2), width) if height > 1 else (1, ceil(width / 2))


def out_of_memory(shortage: str) -> ArdtoolError:
    """What to say where even the smallest chunk does not fit."""
    return ArdtoolError(
        f"Memory ran out on one sample at a time: {shortage}.",
        "Use smaller images, a smaller network, or a machine with more memory; scores take least with --estimator sketch.",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


class AllocatedBytes(TorchDispatchMode):
    """Adds up the size of every tensor made inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: torch then leaves `__torch_dispatch__` as it is, and does not import its compiler, which takes a second or two."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self.total += value.numel() * value.element_size()
        return out


class Footprint(NamedTuple):
    """What a decoder takes: bytes of all intermediate values of one more code, its number of outputs D, and bytes whatever the batch.

    The last are views of weights, counted because libraries copy weights into a better order while they use them.
    """

    row: int
    outputs: int
    fixed: int

    def room(self, memory: int) -> int:
        """Bytes of a budget that are left for chunks, at least a quarter of it."""
        return max(memory - self.fixed, memory // 4)


@torch.no_grad()
def decode_footprint(model: Autoencoder, z: Tensor, context: Tensor | None) -> Footprint:
    """What decoding takes, counted on the first code alone and twice.

    The difference between two codes and one leaves out what does not grow with the batch, such as views of weights.

    Raises:
        ArdtoolError: the decoder cannot decode, or gives anything but one floating-point row for each code.
    """
    totals, outputs = [], 0
    for rows in (1, 2):
        code = z[:1].expand(rows, *z.shape[1:])
        own = None if context is None else context[:1].expand(rows, *context.shape[1:])
        with AllocatedBytes() as allocated:
            outputs = _decoded(model, code, own).numel() // rows
        totals.append(allocated.total)
    row = max(totals[1] - totals[0], 4 * outputs, 1)
    return Footprint(row, outputs, max(totals[0] - row, 0))


def encoded(model: Autoencoder, x: Tensor) -> Posterior:
    """What the encoder says of samples with shape (N, *input_shape).

    Raises:
        ArdtoolError: it fails for another reason than a lack of memory.
    """
    try:
        return model.encode(x)
    except ArdtoolError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        shape = "×".join(map(str, x.shape[1:]))
        raise ArdtoolError(
            f"The encoder cannot encode samples of {shape}: {first_line(error)}.",
            f"`encode` must take samples of shape (N, {', '.join(map(str, x.shape[1:]))}) in {_dtype(x)}.",
        ) from error


def _decoded(model: Autoencoder, z: Tensor, context: Tensor | None) -> Tensor:
    try:
        found = model.decode(z, context)
    except ArdtoolError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(first_line(error)) from error
        raise ArdtoolError(
            f"The decoder cannot decode codes of {z.shape[1]} axes: {first_line(error)}.",
            f"`decode` must take codes of shape (N, {z.shape[1]}) in {_dtype(z)}.",
        ) from error
    if not isinstance(found, Tensor):
        raise ArdtoolError(
            f"The decoder gave a {type(found).__name__}; expected a tensor.", "Wrap it in a function that returns the output."
        )
    if found.ndim == 0 or len(found) != len(z) or not found.is_floating_point():
        raise ArdtoolError(
            f"The decoder gave {_dtype(found)} of shape {tuple(found.shape)} for codes of shape {tuple(z.shape)}.",
            "Expected one row of floating-point numbers for each code.",
        )
    return found


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
