"""`ardtool inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Quiet

if TYPE_CHECKING:
    from ..commands.inspect import InspectResult
    from ..storage.contents import TensorInfo
    from .rendering import Output

__all__ = ["in_short", "inspect", "size"]

MOST_ROWS, MOST_NAMES = 40, 8


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file or folder of any kind.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what a file is, what is in it and who reads it, without loading or executing any of it."""
    from ..commands.inspect import inspect as look
    from .rendering import Output

    output = Output(as_json, quiet)
    result = look(file)
    output.result(result, lambda: _show(output, result))


def size(count: int) -> str:
    """A number of bytes in powers of ten: 512 bytes, 14.8 kB, 1.2 MB, 7.3 GB."""
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    power = next((power for power in (1, 2, 3) if count < 999.95 * 1000**power), 4)
    return f"{count / 1000**power:,.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def in_short(names: list[str]) -> str:
    """The first few names: a, b, c and 4 more."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _show(output: Output, result: InspectResult) -> None:
    from rich.text import Text

    from .rendering import counted, one_line

    output.line(Text.assemble((one_line(f"{result.path} is {result.description}"), "bold")))
    facts = [size(result.bytes)]
    if result.tensors:
        facts += [counted(len(result.tensors), "tensor"), f"{result.parameters:,} numbers in them"]
    output.line(Text(" · ".join(facts), "dim"))
    for line in _remarks(result):
        output.line(Text(one_line(line), "dim"))
    if result.tensors:
        output.line()
        _show_tensors(output, result.tensors)
    output.line()
    if result.problem:
        output.warn(one_line(result.problem))
    if result.unsafe_globals:
        output.warn(f"unpickling it would run code of {one_line(in_short(result.unsafe_globals))}; ardtool does not unpickle it")
    reader = ", ".join(result.plugins_matching) or ("ardtool itself" if result.kind in ("ardtool", "run") else "no installed plugin")
    rows = [("read by", reader)] if result.tensors or result.plugins_matching or result.kind == "run" else []
    for label, text in (*rows, ("next", result.next)):
        output.line(Text.assemble((f"{label:<12}", "dim"), one_line(text)))


def _remarks(result: InspectResult) -> list[str]:
    """What a checkpoint says beside its tensors."""
    metadata = result.metadata
    remarks = []
    if metadata.get("weights"):
        remarks.append(f"tensors of {metadata['weights']}")
    if metadata.get("container"):
        remarks.append(f"tensors under '{metadata['container']}'; the file has {', '.join(metadata.get('keys', []))}")
    if metadata.get("other_tensors"):
        remarks.append(f"{metadata['other_tensors']:,} more tensors elsewhere in it, such as an optimiser's")
    values = metadata.get("values")
    if values:
        remarks.append(" · ".join(f"{name} = {value}" for name, value in values.items()))
    return remarks


def _show_tensors(output: Output, tensors: list[TensorInfo]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from .rendering import one_line

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("tensor", "shape", "type"):
        table.add_column(name, overflow="fold")
    for tensor in tensors[:MOST_ROWS]:
        table.add_row(one_line(tensor.name), "×".join(map(str, tensor.shape)) or "a number", Text(one_line(tensor.dtype), "dim"))
    output.stdout.print(table)
    hidden = len(tensors) - MOST_ROWS
    if hidden > 0:
        output.line(Text(f"… and {hidden:,} more (all of them: --json)", "dim"))
