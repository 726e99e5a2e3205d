"""`ardtool evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..training.processes import active
from .completion import data_sets
from .options import DataRoot, Device, ForceNoEffect, Granularity, Json, Model, Plugin, Quiet, Seed, SkipBad, Trust

if TYPE_CHECKING:
    from .rendering import Output

__all__ = ["evaluate"]

GENERATION, FACTORS = "Generated samples", "Known factors"


def evaluate(
    model: Model = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Data to measure on; of a named set its test part.",
            autocompletion=data_sets,
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="mse,fid,…", help="Metrics, groups of metrics, or all. \\[default: mse and elbo]", show_default=False),
    ] = None,
    list_metrics: Annotated[bool, typer.Option("--list-metrics", metavar="", help="List all metrics and their groups.")] = False,
    samples: Annotated[int, typer.Option(min=1, metavar="INT", help="Measure, and generate, at most so many samples.")] = 10_000,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the result goes as JSON. \\[default: beside the model, named after it]",
            show_default=False,
        ),
    ] = None,
    iwae_draws: Annotated[int, typer.Option(min=1, metavar="INT", help="K of the importance-weighted bound.")] = 100,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="What samples are compared by: inception, pixels, FILE.npz, a MODEL, or module:function. "
            "\\[default: inception; for vectors their values]",
            show_default=False,
            rich_help_panel=GENERATION,
        ),
    ] = None,
    inception_weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Weights of the Inception network. \\[default: torch's cache]",
            show_default=False,
            rich_help_panel=GENERATION,
        ),
    ] = None,
    generated: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Evaluate these samples instead of the model's own.", show_default=False, rich_help_panel=GENERATION
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How codes are drawn, see `ardtool sample`. \\[default: as the method does]",
            show_default=False,
            rich_help_panel=GENERATION,
        ),
    ] = None,
    all_axes: Annotated[
        bool, typer.Option("--all-axes", metavar="", help="Let inactive axes vary too.", rich_help_panel=GENERATION)
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", metavar="", help="Compute features anew and keep none.", rich_help_panel=GENERATION)
    ] = False,
    factors: Annotated[
        str | None,
        typer.Option(metavar="FILE.npz", help="Known factors of the samples, one row each.", show_default=False, rich_help_panel=FACTORS),
    ] = None,
    eval_seeds: Annotated[
        int, typer.Option(min=1, metavar="INT", help="Average disentanglement metrics over so many seeds.", rich_help_panel=FACTORS)
    ] = 1,
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
    """Measure how well the model reconstructs, compresses, generates and disentangles data, with all axes and with the active ones."""
    from .rendering import Output

    output = Output(as_json, quiet)
    if list_metrics:
        return _list(output)
    if data is None:
        raise typer.BadParameter("the data to measure on are missing", param_hint="'--data'")
    with output.status("preparing"):
        from ..commands.evaluate import evaluate as measure
    from .measuring import MeasuringProgress
    from .tables import show_metrics

    with MeasuringProgress(output) as progress:
        result = measure(
            model,
            data=data,
            metrics=metrics,
            out=out,
            granularity=granularity,
            device=device,
            plugin=plugin,
            trust=trust,
            progress=progress,
            samples=samples,
            seed=seed,
            features=features,
            inception_weights=inception_weights,
            generated=generated,
            sampler=sampler,
            all_axes=all_axes,
            factors=factors,
            eval_seeds=eval_seeds,
            iwae_draws=iwae_draws,
            cache=not no_cache,
            data_root=data_root,
            skip_bad=skip_bad,
        )
    if not active().is_first:
        return
    output.result(result, lambda: show_metrics(output, result))
    for name, reason in result.left_out.items():
        output.note(f"without {name}: {reason}")
    if result.note:
        output.note(result.note)
    output.wrote([] if result.file is None else [Path(result.file)])


def _list(output: Output) -> None:
    """All metrics, by group."""
    with output.status("listing"):
        from ..commands.evaluate import METRICS
    from rich.text import Text

    if output.as_json:
        rows = [{"name": name, "group": metric.group, "summary": metric.summary} for name, metric in METRICS.items()]
        output.json({"schema": "ardtool.metric-list/1", "metrics": rows})
        return
    group = ""
    for name, metric in METRICS.items():
        if metric.group != group:
            group = metric.group
            output.line(Text(group, "bold"))
        output.line(Text.assemble(f"  {name:<20}", (metric.summary, "dim")))
