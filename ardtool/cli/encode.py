"""`ardtool encode` and `ardtool decode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .completion import data_sets
from .options import SHARED, DataRoot, Device, ForceNoEffect, Granularity, Json, Model, Plugin, Quiet, Seed, SkipBad, Trust

__all__ = ["decode", "encode"]


def encode(
    data: Annotated[str, typer.Option(metavar="NAME|PATH", help="Data to encode.", autocompletion=data_sets)],
    model: Model = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="An .npz (means, log variances, axes), or an .npy or .csv (means).")] = Path(
        "codes.npz"
    ),
    axes: Annotated[Literal["all", "active"], typer.Option(metavar="all|active", help="All axes, or the active ones alone.")] = "all",
    split: Annotated[Literal["train", "test"], typer.Option(metavar="train|test", help="Which part of a named data set.")] = "test",
    granularity: Granularity = "channel",
    data_root: DataRoot = None,
    skip_bad: SkipBad = False,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    force: ForceNoEffect = False,
    plugin: Plugin = None,
    trust: Trust = False,
) -> None:
    """Write the codes of data, all axes or the active ones."""
    from ..commands.encode import encode as write_codes
    from .rendering import Output

    output = Output(as_json, quiet)
    with output.status("encoding"):
        result = write_codes(
            model,
            data=data,
            out=out,
            axes=axes,
            split=split,
            granularity=granularity,
            seed=seed,
            device=device,
            plugin=plugin,
            trust=trust,
            data_root=data_root,
            skip_bad=skip_bad,
        )
    output.result(result, lambda: output.wrote_files(result))
    for text in result.warnings:
        output.warn(text)


def decode(
    codes: Annotated[Path, typer.Argument(metavar="CODES", help="A file that `ardtool encode` wrote, or an .npy with one code a row.")],
    model: Model = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="An .npz or .npy, or for images a picture.")] = Path("decoded.npz"),
    device: Device = "auto",
    seed: Annotated[
        int, typer.Option(min=0, metavar="INT", help="Changes nothing here: decoding draws nothing.", rich_help_panel=SHARED)
    ] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    force: ForceNoEffect = False,
    plugin: Plugin = None,
    trust: Trust = False,
) -> None:
    """Turn codes back into data; axes that the file lacks are held at their mean."""
    from ..commands.encode import decode as write_data
    from .rendering import Output

    output = Output(as_json, quiet)
    if model is not None and codes.suffix.lower() not in (".npz", ".npy", ".csv"):  # the order of every other command
        model, codes = codes, model
    with output.status("decoding"):
        result = write_data(model, codes=codes, out=out, device=device, plugin=plugin, trust=trust)
    output.result(result, lambda: output.wrote_files(result))
