"""`ardtool convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inspect import in_short, size
from .options import Force, Json, Quiet

if TYPE_CHECKING:
    from ..commands.convert import ConvertResult
    from .rendering import Output

__all__ = ["convert"]


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A torch checkpoint (.pt, .pth, .ckpt, .bin) or a pickle.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the tensors go, a .safetensors file.")],
    as_json: Json = False,
    quiet: Quiet = False,
    force: Force = False,
) -> None:
    """Take the tensors out of a foreign checkpoint into a safetensors file; nothing in the checkpoint is executed."""
    from ..commands.convert import convert as rewrite
    from .rendering import Output

    output = Output(as_json, quiet)
    with output.status("reading the tensors"):
        result = rewrite(file, out=out, force=force)
    output.result(result, lambda: _show(output, result))


def _show(output: Output, result: ConvertResult) -> None:
    from rich.text import Text

    from .rendering import counted

    count = counted(result.tensors, "tensor")
    output.line(Text.assemble((f"{count}, {result.parameters:,} numbers", "bold green"), (f"   {size(result.bytes)}", "dim")))
    lines = {
        "copied": f"{in_short(result.copied)}: shared memory before, own numbers now" if result.copied else "",
        "left out": f"{in_short(result.stubs)}: named in the pickle, not run" if result.stubs else "",
    }
    for label, text in lines.items():
        if text:
            output.line(Text.assemble((f"{label:<12}", "dim"), text))
    output.wrote(result.files)
