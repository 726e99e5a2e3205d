"""Rebuild what the docs take from the code: `python docs/generate.py` writes, `--check` fails where a page is stale.

docs/commands.md    every command's options, from the command line itself
docs/plugins.md     the example plugin, word for word
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer

from ardtool.cli.main import app
from ardtool.cli.options import SHARED

ROOT = Path(__file__).parents[1]
INTRODUCTION = """# Commands

Made from the command line itself by `python docs/generate.py`. Results go to stdout, everything else to stderr; `--json` prints one
object whose `schema` names its contract. Exit codes: 0 done, 1 a mistake that the message explains, 2 a wrong option, 130 interrupted.
MODEL is a model file, a run folder, or, where left out, the newest run under `runs/`.
"""


def commands_page() -> str:
    group: Any = typer.main.get_command(app)
    sections = [INTRODUCTION]
    for name, command in group.commands.items():
        names = [(each.name.upper(), each.required) for each in command.params if each.param_type_name == "argument"]
        arguments = "".join(f" {word}" if required else f" [{word}]" for word, required in names)
        sections.append(f"## ardtool {name}{arguments}\n\n{(command.help or '').strip()}\n")
        sections += option_tables([each for each in command.params if each.param_type_name == "option" and each.name != "help"])
    return "\n".join(sections)


def option_tables(options: list[Any]) -> list[str]:
    """One table for each panel that --help shows: a command's own options first, shared ones last."""
    panels: dict[str, list[str]] = {"": []}
    for each in options:
        panels.setdefault(each.rich_help_panel or "", []).append(option_row(each))
    panels[SHARED] = panels.pop(SHARED, [])
    return [
        "\n".join([*([f"{title}:", ""] if title else []), "| option | meaning |", "|---|---|", *rows]) + "\n"
        for title, rows in panels.items()
        if rows
    ]


def option_row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    metavar = "" if option.is_flag or not option.metavar else f" {option.metavar}"
    help_text = " ".join((option.help or "").split()).replace("\\[", "[")
    told = "[default:" in help_text or option.is_flag or option.default is None or callable(option.default)
    default = " [required]" if option.required else "" if told else f" [default: {option.default}]"
    cells = (cell.replace("|", "\\|") for cell in (names + metavar, help_text + default))
    return f"| {' | '.join(cells)} |"


def plugins_page(page: str) -> str:
    code = (ROOT / "plugins/ardtool-example/ardtool_example.py").read_text().strip()
    return re.sub(r"```python\n.*?\n```", lambda _: f"```python\n{code}\n```", page, count=1, flags=re.DOTALL)


def main() -> int:
    plugins = ROOT / "docs/plugins.md"
    pages = {ROOT / "docs/commands.md": commands_page(), plugins: plugins_page(plugins.read_text())}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale; run python docs/generate.py")
        return len(stale)
    for path in stale:
        path.write_text(pages[path])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
