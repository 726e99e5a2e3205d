"""Rebuild what the docs take from the code: `python docs/generate.py` writes, `--check` fails where a page is stale.

docs/commands.md    every command's options, from the command line itself
docs/methods.md     what every method minimises, from the modules that do it
docs/plugins.md     the example plugin, word for word
docs/results.md     the tables of tests/benchmarks/paper/, from what they measured
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import typer

from ardtool.cli.main import app
from ardtool.cli.options import SHARED
from ardtool.objectives import OBJECTIVES
from ardtool.training.config import TrainConfig
from ardtool.training.options import option_fields

ROOT = Path(__file__).parents[1]
INTRODUCTION = """# Commands

Made from the command line itself by `python docs/generate.py`. Results go to stdout, everything else to stderr; `--json` prints one
object whose `schema` names its contract. Exit codes: 0 done, 1 a mistake that the message explains, 2 a wrong option, 130 interrupted
(`train` after SIGTERM: 143). MODEL is a model file, a run folder, what a plugin reads, or, where left out, the newest run under `runs/`.
"""


def commands_page() -> str:
    group: Any = typer.main.get_command(app)
    sections = [INTRODUCTION]
    for name, command in group.commands.items():
        names = [(each.name.upper(), each.required) for each in command.params if each.param_type_name == "argument"]
        arguments = "".join(f" {word}" if required else f" [{word}]" for word, required in names)
        sections.append(f"## ardtool {name}{arguments}\n\n{(command.help or '').strip()}\n")
        options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
        sections += option_tables(options)
        if name == "train":
            sections.append(further_settings({each.name for each in options}))
    return "\n".join(sections)


def further_settings(options: set[str]) -> str:
    """The settings of a run that have no option of their own."""
    fields = [each for each in dataclasses.fields(TrainConfig) if each.name not in options and each.name != "options"]
    rows = [f"| `{each.name}` | {each.default} | {each.metadata['help']} |" for each in fields]
    told = "Settings by `--set` or in a file of `--config`; those of single methods are in [Methods](methods.md):"
    return "\n".join([told, "", "| setting | default | meaning |", "|---|---|---|", *rows]) + "\n"


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


METHODS = """# Methods

What `ardtool train --method NAME` minimises, in the words of the modules that do it; made by `python docs/generate.py`. x is a sample, x̂
its reconstruction, D its outputs, z = E(x) its code of L axes with posterior N(μ, σ²), ⟨⟩ the mean over a batch of B; a KL is in nats. A
symbol that two methods share, such as β, has a scale of its own in each. How their options are named and resolved is [decision
8](decisions/0008-methods-and-their-options.md), how they compare [Results](results.md#every-method-on-linear-data-of-rank-5).
"""


def methods_page() -> str:
    """One section for each module of objectives, in the order of the table, with the options of its methods."""
    modules: dict[str, list[str]] = {}
    for name, objective in OBJECTIVES.items():
        modules.setdefault(objective.__module__, []).append(name)
    sections = [METHODS]
    for module, names in modules.items():
        text = inspect.cleandoc(sys.modules[module].__doc__ or "")
        heading = ", ".join(names)
        sections.append(f"## {heading}\n\n`{module.replace('.', '/')}.py`. {text}\n")
        sections += [table for name in names if (table := method_options(name))]
    return "\n".join(sections)


def method_options(name: str) -> str:
    """The options that one method has for itself, or nothing."""
    rows = [
        f"| `{option}` | {'–' if field.default in (None, '') else field.default} | {field.metadata['help']} |"
        for option, field in option_fields(OBJECTIVES[name]).items()
    ]
    return "\n".join([f"`--set` for `{name}`:", "", "| option | default | meaning |", "|---|---|---|", *rows]) + "\n" if rows else ""


def results_page(page: str) -> str:
    """The page with the part of each experiment made anew, between its two comments."""
    sys.path.insert(0, str(ROOT / "tests/benchmarks/paper"))
    from experiment import page_part

    def part(found: re.Match[str]) -> str:
        return f"<!-- made from {found[1]} -->\n\n{page_part(importlib.import_module(found[1]))}\n\n<!-- end -->"

    return re.sub(r"<!-- made from (\w+) -->.*?<!-- end -->", part, page, flags=re.DOTALL)


def plugins_page(page: str) -> str:
    code = (ROOT / "plugins/ardtool-example/ardtool_example.py").read_text().strip()
    return re.sub(r"```python\n.*?\n```", lambda _: f"```python\n{code}\n```", page, count=1, flags=re.DOTALL)


def main() -> int:
    plugins, results = ROOT / "docs/plugins.md", ROOT / "docs/results.md"
    pages = {
        ROOT / "docs/commands.md": commands_page(),
        ROOT / "docs/methods.md": methods_page(),
        plugins: plugins_page(plugins.read_text()),
        results: results_page(results.read_text()),
    }
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
