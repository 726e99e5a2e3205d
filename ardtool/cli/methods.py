"""`ardtool train --list-methods`: every training method, where it comes from, and the options it has."""

from __future__ import annotations

from typing import Any

from .rendering import Output

__all__ = ["show_methods"]

SCHEMA = "ardtool.methods/1"


def show_methods(output: Output) -> None:
    """All methods with their settings and options, as a list or as JSON."""
    from ..objectives import ALIASES, OBJECTIVES

    rows = {name: _row(objective, [alias for alias, method in ALIASES.items() if method == name]) for name, objective in OBJECTIVES.items()}
    if output.as_json:
        return output.json({"schema": SCHEMA, "methods": rows})
    from rich.text import Text

    for name, row in rows.items():
        also = f" ({', '.join(row['aliases'])})" if row["aliases"] else ""
        output.line(Text.assemble((name, "bold"), also, f"  {row['summary']}", (f"  {row['paper']}", "dim")))
        if row["settings"]:
            output.line(Text(f"    has {', '.join('--' + each.replace('_', '-') for each in row['settings'])}", "dim"))
        for option, about in row["options"].items():
            default = "…" if about["default"] in (None, "") else about["default"]
            output.line(f"    --set {option}={default}   {about['help']}")


def _row(objective: Any, aliases: list[str]) -> dict[str, Any]:
    from ..training.options import option_fields

    return {
        "aliases": aliases,
        "summary": objective.summary_line,
        "paper": objective.paper,
        "settings": sorted(objective.takes),
        "options": {name: {"default": field.default, "help": field.metadata["help"]} for name, field in option_fields(objective).items()},
    }
