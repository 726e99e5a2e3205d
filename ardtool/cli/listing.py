"""`ardtool data` and `ardtool plugins`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import DataRoot, Json, Quiet

if TYPE_CHECKING:
    from .rendering import Output

__all__ = ["data", "plugins"]

PATHS = "a folder, .zip or .tar of images, an .npy or .npz file, or a .csv of numbers"


def data(data_root: DataRoot = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """List the data sets that have a name, and where their files are looked for."""
    from ..data.catalogue import catalogue, default_data_root
    from .rendering import Output

    output = Output(as_json, quiet)
    root = (data_root or default_data_root()).expanduser().absolute()
    rows = catalogue()
    if output.as_json:
        sets = [{"name": name, "summary": summary} for name, summary in rows]
        output.json({"schema": "ardtool.data/1", "data_root": str(root), "data_root_exists": root.is_dir(), "data": sets})
        return
    _show_rows(output, rows)
    output.line()
    _show_rows(
        output,
        [
            ("PATH", f"{PATHS}: ardtool train --data PATH"),
            ("files", f"{root} ({'exists' if root.is_dir() else 'does not exist yet'}); change it with --data-root or $ARDTOOL_DATA"),
        ],
    )


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
        output.line(Text.assemble((f"{name:<15}", style), f"  {text}"))
