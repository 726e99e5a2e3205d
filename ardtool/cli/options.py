"""Options that several commands share, and helpers that read option values."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..training.config import TrainConfig
from .completion import ARCHITECTURES, METHODS, data_sets, one_of

__all__ = [
    "SHARED",
    "AssumePrior",
    "Data",
    "DataRoot",
    "Device",
    "Force",
    "ForceNoEffect",
    "Granularity",
    "Json",
    "Latents",
    "Model",
    "Plugin",
    "Quiet",
    "Seed",
    "SkipBad",
    "Threshold",
    "Trust",
    "axis_list",
    "setting",
    "share",
]

OFF = ("samples", "target_mse")  # settings whose None means "not used"
OFFERED = {"data": data_sets, "method": one_of(METHODS), "arch": one_of(ARCHITECTURES)}
SHARED = "Shared options"
CODES = "Where codes come from (for models that carry none)"

Model = Annotated[
    Path | None,
    typer.Argument(metavar="MODEL", help="Model file or run folder; the newest run under runs/ where left out.", show_default=False),
]
Threshold = Annotated[float, typer.Option(metavar="FLOAT", help="Share of the total relevance that the active axes exceed, in (0, 1].")]

Data = Annotated[str | None, typer.Option(metavar="NAME|PATH", help="Encode these data.", autocompletion=data_sets, rich_help_panel=CODES)]
Latents = Annotated[Path | None, typer.Option(metavar="FILE", help="Take codes from this .npz, .npy or .csv file.", rich_help_panel=CODES)]
AssumePrior = Annotated[bool, typer.Option("--assume-prior", metavar="", help="Assume codes z ~ N(0, I).", rich_help_panel=CODES)]

Device = Annotated[
    str,
    typer.Option(metavar="DEVICE", help="auto (the first GPU, else the CPU), cpu, cuda, cuda:N or mps.", rich_help_panel=SHARED),
]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="INT", help="Seed of everything random.", rich_help_panel=SHARED)]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print the result as one JSON object on stdout.", rich_help_panel=SHARED)]
Quiet = Annotated[bool, typer.Option("--quiet", metavar="", help="No progress and no notes on stderr.", rich_help_panel=SHARED)]
Force = Annotated[bool, typer.Option("--force", metavar="", help="Replace what exists already.", rich_help_panel=SHARED)]
ForceNoEffect = Annotated[
    bool,
    typer.Option("--force", metavar="", help="Changes nothing here: existing files are replaced anyway.", rich_help_panel=SHARED),
]
Plugin = Annotated[
    str | None, typer.Option(metavar="PLUGIN", help="Name or .py file of the plugin that reads a foreign model.", rich_help_panel=SHARED)
]
Trust = Annotated[bool, typer.Option("--trust", metavar="", help="Load models whose loading can run foreign code.", rich_help_panel=SHARED)]
Granularity = Annotated[
    Literal["channel", "element"],
    typer.Option(metavar="NAME", help="The axes of latent maps: their channels, or each element.", rich_help_panel=SHARED),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of named data sets. \\[default: $ARDTOOL_DATA, else ./data]", show_default=False, rich_help_panel=SHARED
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", metavar="", help="Leave out images that cannot be decoded.", rich_help_panel=SHARED)]


def setting(name: str, *, panel: str | None = None) -> Any:
    """The option of one training setting: its help, values and default are those of the `TrainConfig` field."""
    field = next(each for each in dataclasses.fields(TrainConfig) if each.name == name)
    kind, choices = _kind(typing.get_type_hints(TrainConfig)[name])
    described = f" One of {', '.join(choices)}." if kind == "NAME" else ""
    default = "by data and method" if field.default is None else f"{field.default}"
    return typer.Option(
        f"--{name.replace('_', '-')}",
        metavar=kind,
        help=f"{field.metadata['help']}{described}" + ("" if name in OFF else f" \\[default: {default}]"),
        show_default=False,
        autocompletion=OFFERED.get(name) or (one_of(choices) if choices else None),
        rich_help_panel=panel or SHARED,
    )


def _kind(hint: Any) -> tuple[str, list[str]]:
    """What an option takes, and the words it knows: `float | Literal["auto"] | None` is FLOAT and "auto"."""
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    kind, choices = "NAME", []
    for part in typing.get_args(hint) if union else (hint,):
        if typing.get_origin(part) is Literal:
            choices += map(str, typing.get_args(part))
        elif part is not type(None):
            kind = {str: "TEXT", int: "INT", float: "FLOAT"}[part]
    return kind, choices


def share(text: str, option: str) -> float:
    """A share from "2%" or "0.02"."""
    try:
        return float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no share such as 2% or 0.02.", param_hint=f"'{option}'") from None


def axis_list(text: str) -> list[int]:
    """Axes from "0,3,7"."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no list of axes such as 0,3,7.", param_hint="'--axes'") from None
