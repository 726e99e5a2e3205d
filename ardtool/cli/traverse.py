"""`ardtool traverse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AssumePrior,
    Data,
    DataRoot,
    Device,
    ForceNoEffect,
    Granularity,
    Json,
    Latents,
    Model,
    Plugin,
    Quiet,
    Seed,
    SkipBad,
    Trust,
    axis_list,
)

__all__ = ["traverse"]


def traverse(
    model: Model = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .png, .svg, .pdf or .gif.")] = Path("traversal.png"),
    axes: Annotated[str, typer.Option(metavar="relevant|all|0,3", help="Which axes to move.")] = "all",
    sigmas: Annotated[float, typer.Option("--range", metavar="SIGMAS", help="How far, in standard deviations.")] = 3.0,
    steps: Annotated[int, typer.Option(metavar="INT", help="Columns of the picture.")] = 9,
    gif: Annotated[bool, typer.Option("--gif", metavar="", help="Write an animation beside the picture.")] = False,
    reference: Annotated[
        int | None,
        typer.Option(metavar="ROW", help="Start from this code of the reference batch instead of the mean code.", show_default=False),
    ] = None,
    data: Data = None,
    latents: Latents = None,
    assume_prior: AssumePrior = False,
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
    """Draw what each axis does: one axis a row, moved while the others stand still."""
    chosen = "relevant" if axes == "relevant" else "all" if axes == "all" else axis_list(axes)
    from ..commands.traverse import traverse as draw
    from .rendering import Output

    output = Output(as_json, quiet)
    with output.status("drawing"):
        result = draw(
            model,
            out=out,
            axes=chosen,
            sigmas=sigmas,
            steps=steps,
            gif=gif,
            reference=reference,
            data=data,
            latents=latents,
            assume_prior=assume_prior,
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
