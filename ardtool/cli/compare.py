"""`ardtool compare`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import ConfigError
from .options import Json, Quiet

if TYPE_CHECKING:
    from ..commands.compare import CompareResult
    from ..commands.comparing.table import Column, Table
    from .rendering import Output

__all__ = ["compare"]

GAP = "   "
PRINTED = "Instead of a table for the terminal"


def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run folders, model files, or folders of run folders; all finished runs under runs/ where left out.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        Literal["method", "active", "mse"],
        typer.Option(metavar="NAME", help="Order on each data set: by method (and L), active axes, or validation MSE (mse)."),
    ] = "method",
    losses: Annotated[bool, typer.Option("--losses", metavar="", help="Also the terms of the last epoch's validation loss.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the groups to this .png, .svg or .pdf.")] = None,
    figure: Annotated[
        Literal["bars", "shares"],
        typer.Option(metavar="NAME", help="What --plot draws: bars of counts and errors, or the cumulative shares of every run."),
    ] = "bars",
    as_markdown: Annotated[
        bool, typer.Option("--markdown", metavar="", help="Print the table in Markdown.", rich_help_panel=PRINTED)
    ] = False,
    as_latex: Annotated[
        bool, typer.Option("--latex", metavar="", help="Print the table in LaTeX, with booktabs.", rich_help_panel=PRINTED)
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put finished runs side by side: mean ± sample standard deviation over seeds.

    Runs are averaged where they differ in the seed alone. Metrics are those that `ardtool evaluate` left in the run folders.
    """
    from ..commands.compare import compare as collect
    from .rendering import Output

    if as_json + as_markdown + as_latex > 1:
        raise ConfigError("--json, --markdown and --latex each say how the result is printed.", "Give one of them.")
    output = Output(as_json, quiet)
    result = collect(runs, sort=sort)
    if as_markdown or as_latex:
        sys.stdout.write(result.to_markdown(losses=losses) if as_markdown else result.to_latex(losses=losses))
        for remark in result.table().remarks:
            output.note(remark)
    else:
        output.result(result, lambda: _show(output, result, losses))
    if plot is not None:
        from ..commands.comparing.figures import compare_figure
        from ..report.figures import save_figure

        save_figure(compare_figure(result, figure), plot)
        output.note(f"wrote {plot}")
    _say_notes(output, result)


def _say_notes(output: Output, result: CompareResult) -> None:
    """What was left out, one line a reason, and what to keep in mind."""
    from .inspect import in_short

    reasons: dict[str, list[str]] = {}
    for each in result.left_out:
        reasons.setdefault(each.reason, []).append(each.path)
    for reason, paths in reasons.items():
        output.note(f"left out: {in_short(paths)} ({reason})")
    for note in result.notes:
        output.note(note)


def _show(output: Output, result: CompareResult, losses: bool) -> None:
    from rich.text import Text

    table = result.table(losses=losses)
    counts = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in ((result.runs, "run"), (len(result.groups), "group"))]
    output.line(Text.assemble((" in ".join(counts), "bold"), (" · mean ± sample standard deviation over seeds", "dim")))
    for columns in _blocks(table, output.stdout.width):
        output.line()
        _show_columns(output, columns)
    if table.remarks:
        output.line()
    for remark in table.remarks:
        output.line(Text(remark, "dim"))


def _show_columns(output: Output, columns: list[Column]) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    widths = [_width(column) for column in columns]

    def aligned(texts: list[str]) -> str:
        padded = []
        for text, column, width in zip(texts, columns, widths, strict=True):
            space = " " * (width - cell_len(text))
            padded.append(space + text if column.numeric else text + space)
        return GAP.join(padded).rstrip()

    output.line(Text(aligned([column.heading for column in columns]), "dim"))
    output.line(Text("─" * (sum(widths) + len(GAP) * (len(widths) - 1)), "dim"))
    for row in zip(*(column.cells for column in columns), strict=True):
        output.line(aligned([str(cell) for cell in row]))


def _width(column: Column) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, (column.heading, *map(str, column.cells))))


def _blocks(table: Table, width: int) -> Iterator[list[Column]]:
    """The columns in as many blocks as fit into the width, each with those that say which group a row is."""
    keys = table.columns[: table.keys]
    block: list[Column] = []
    for column in table.columns[table.keys :]:
        if block and sum(_width(each) + len(GAP) for each in (*keys, *block, column)) - len(GAP) > width:
            yield [*keys, *block]
            block = []
        block.append(column)
    yield [*keys, *block]
