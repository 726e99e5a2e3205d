"""`ardtool data` and `ardtool plugins`: what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DataRoot, Json, Quiet

if TYPE_CHECKING:
    from ..data.named import NamedSet
    from .rendering import Output

__all__ = ["data", "plugins"]

NAMES = 15  # width of a column of names
PATHS = "a folder, .zip or .tar of images, an .npy or .npz file, or a .csv of numbers: ardtool train --data PATH"


def data(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them, in full.", show_default=False)] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the data sets that have a name: what is known of them, where their files are looked for, and what is found there."""
    from ..data.catalogue import catalogue, default_data_root, named_set
    from .rendering import Output

    output = Output(as_json, quiet)
    root = (data_root or default_data_root()).expanduser().absolute()
    sets = catalogue() if name is None else [named_set(name)]
    if output.as_json:
        rows = [each.to_dict(root) for each in sets]
        output.json({"schema": "ardtool.data/1", "data_root": str(root), "data_root_exists": root.is_dir(), "data": rows})
    elif name is None:
        _show_sets(output, sets, root)
    else:
        _show_set(output, sets[0], root)


def _show_sets(output: Output, sets: Sequence[NamedSet], root: Path) -> None:
    """One row a data set; below it their factors, their files, and what else there is."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("name", "shape", "samples", "factors", "shows", "files"):
        justify = "right" if column in ("samples", "factors") else "left"
        table.add_column(column, justify=justify, no_wrap=column not in ("shows", "files"), overflow="fold")
    factors: dict[str, list[str]] = {}
    for each in sets:
        varying = sum(size != 1 for size in each.factors.values())
        row = (_size(each), f"{each.samples:,}", str(varying or ""), each.summary, _state(each, root))
        table.add_row(Text(each.name, "bold"), *row)
        factors.setdefault(_factors(each), []).append(each.name)
    output.stdout.print(table)
    _show_block(
        output,
        "factors, with how many values each has (no number: continuous)",
        [(", ".join(names), text) for text, names in factors.items() if text],
    )
    files = [(each.name, f"{each.original.files} · in {_folders(each)} · {each.licence}") for each in sets if each.original]
    _show_block(output, "files · folders below the data root where they are looked for · licence", files)
    _show_block(output, "", [("--data PATH", PATHS), ("data root", _root(root))])


def _show_set(output: Output, data_set: NamedSet, root: Path) -> None:
    """All that is known of one data set."""
    original = data_set.original
    rows = [
        ("samples", f"{data_set.samples:,} of {_size(data_set)}"),
        ("factors", _factors(data_set) or "none known"),
        ("licence", data_set.licence),
    ]
    if original is not None:
        rows += [("source", original.site), ("looked for", original.files), ("in", f"{_folders(data_set)}, below {_root(root)}")]
    rows.append(("found", _state(data_set, root)))
    if original is not None and data_set.found(root).status != "complete":
        rows.append(("put them into", str(root / original.folder)))
    _show_rows(output, [(data_set.name, data_set.summary)])
    _show_block(output, "", rows)


def _show_block(output: Output, title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Names and texts that may take several lines, below a blank line and a title."""
    from rich.table import Table
    from rich.text import Text

    from .rendering import printable

    output.line()
    if title:
        output.line(Text(title, "dim"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=NAMES, no_wrap=True, style="bold")
    table.add_column()
    for name, text in rows:
        table.add_row(name, printable(text))
    output.stdout.print(table)


def _size(data_set: NamedSet) -> str:
    return "x".join(map(str, data_set.shape))


def _factors(data_set: NamedSet) -> str:
    """Names with numbers of values; without one where the factor is continuous."""
    sizes = {1: " (constant)", None: ""}
    return ", ".join(f"{name}{sizes.get(size, f' ({size})')}" for name, size in data_set.factors.items())


def _folders(data_set: NamedSet) -> str:
    return ", ".join(map(_folder, data_set.folders))


def _folder(name: str) -> str:
    return "./" if name == "." else name


def _root(root: Path) -> str:
    return f"{root} ({'exists' if root.is_dir() else 'does not exist yet'}); change it with --data-root or $ARDTOOL_DATA"


def _state(data_set: NamedSet, root: Path) -> str:
    """What was found, in a few words."""
    found = data_set.found(root)
    if found.status == "drawn":
        return "drawn, no files"
    if found.status == "missing":
        return "will be downloaded" if data_set.downloads else "not there"
    where = _folder(next(iter(found.paths)).parent.relative_to(root).as_posix())
    if found.status == "complete":
        return f"found in {where}"
    first, *others = found.lacking
    return f"incomplete: in {where} without {first}" + (f" and {len(others)} more" if others else "")


def plugins(as_json: Json = False, quiet: Quiet = False) -> None:
    """List the installed plugins, which read foreign models."""
    from ..registry import list_plugins
    from .rendering import Output

    output = Output(as_json, quiet)
    listings = list_plugins()
    if output.as_json:
        rows = [
            {
                "name": each.name,
                "distribution": each.distribution,
                "version": each.version,
                "status": "broken" if each.spec is None else "ok",
                "summary": each.problem if each.spec is None else each.spec.summary,
            }
            for each in listings
        ]
        output.json({"schema": "ardtool.plugins/1", "plugins": rows})
        return
    if not listings:
        output.line("No plugins are installed; ardtool reads its own models.")
        output.note("A plugin adapts a foreign model. Write one in a file and use it with --plugin file.py.")
    for each in listings:
        status = f"broken: {each.problem}" if each.spec is None else each.spec.summary
        _show_rows(output, [(each.name, f"{each.version}  {status}")], style="bold red" if each.spec is None else "bold")


def _show_rows(output: Output, rows: list[tuple[str, str]], style: str = "bold") -> None:
    from rich.text import Text

    for name, text in rows:
        output.line(Text.assemble((f"{name:<{NAMES}}", style), f"  {text}"))
