"""`ardtool evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import DataRoot, Device, ForceNoEffect, Granularity, Json, Model, Plugin, Quiet, Seed, Trust

__all__ = ["evaluate"]


def evaluate(
    data: Annotated[str, typer.Option(metavar="NAME|PATH", help="Data to measure on; of a named set its test part.")],
    model: Model = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="mse,elbo", help="Which metrics. \\[default: all that the model has]", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the result goes as JSON. \\[default: beside the model, named after it]",
            show_default=False,
        ),
    ] = None,
    granularity: Granularity = "channel",
    data_root: DataRoot = None,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    force: ForceNoEffect = False,
    plugin: Plugin = None,
    trust: Trust = False,
) -> None:
    """Measure how well the model reconstructs data, with all axes and with the active ones alone."""
    from ..commands.evaluate import evaluate as measure
    from .rendering import Output
    from .tables import show_metrics

    output = Output(as_json, quiet)
    with output.status("measuring"):
        result = measure(
            model,
            data=data,
            metrics=None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()],
            out=out,
            granularity=granularity,
            seed=seed,
            device=device,
            plugin=plugin,
            trust=trust,
            data_root=data_root,
        )
    output.result(result, lambda: show_metrics(output, result))
    if result.note:
        output.note(result.note)
    output.wrote([] if result.file is None else [Path(result.file)])
