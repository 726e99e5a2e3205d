"""`ardtool relevance`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..training.processes import active
from .allocator import give_freed_memory_back
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
    Threshold,
    Trust,
    share,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..commands.relevance import RelevanceResult

__all__ = ["relevance"]


def relevance(
    model: Model = None,
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="INT", help="Codes at which the decoder is differentiated; 100, or all where there are fewer.", show_default=False
        ),
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            metavar="2%", help="Draw codes until the standard error of every relevant axis' weight is below this share.", show_default=False
        ),
    ] = None,
    threshold: Threshold = 0.99,
    convention: Annotated[
        Literal["paper", "authors-code"],
        typer.Option(metavar="NAME", help="Weights by Eq. 19 (paper), or as the authors' code has them (authors-code)."),
    ] = "paper",
    estimator: Annotated[
        Literal["auto", "exact", "sketch", "sobol"],
        typer.Option(
            metavar="NAME", help="exact derivatives, sketch (cost independent of L), sobol (no derivatives), or auto (the cheaper)."
        ),
    ] = "auto",
    basis: Annotated[
        Literal["axes", "principal"],
        typer.Option(metavar="NAME", help="Count axes, or principal directions: the honest count where axes are rotated."),
    ] = "axes",
    granularity: Granularity = "channel",
    max_memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Stay below this much memory, e.g. 2GiB: of the process, or of the GPU.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as JSON to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw all axes to this .png, .svg or .pdf.")] = None,
    figure: Annotated[
        Literal["scree", "variance"],
        typer.Option(metavar="NAME", help="What --plot draws: shares by rank (scree), or scores against raw variances."),
    ] = "scree",
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a page with all of it and what each axis does to this .html.",
            show_default=False,
        ),
    ] = None,
    data: Data = None,
    latents: Latents = None,
    assume_prior: AssumePrior = False,
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
    """Score every latent axis, and find the ones that matter."""
    if max_memory is not None:
        give_freed_memory_back()
    from ..commands.relevance import relevance as score
    from .rendering import Output
    from .tables import show_relevance, things_of

    output = Output(as_json, quiet)
    with output.status("measuring the axes"):
        result = score(
            model,
            samples=samples,
            tolerance=None if tolerance is None else share(tolerance, "--tolerance"),
            threshold=threshold,
            convention=convention,
            estimator=estimator,
            basis=basis,
            granularity=granularity,
            data=data,
            latents=latents,
            assume_prior=assume_prior,
            max_memory=max_memory,
            seed=seed,
            device=device,
            plugin=plugin,
            trust=trust,
            data_root=data_root,
            skip_bad=skip_bad,
            report=report,
            command=shlex.join(["ardtool", *sys.argv[1:]]) if report is not None else None,
        )
    if not active().is_first:
        return
    files = []
    if out is not None:
        from ..storage.record import write_record

        write_record(out, result.to_dict())
        files.append(out)
    if plot is not None:
        from ..report.figures import save_figure

        save_figure(_figure(result, figure, f"{result.active} of {result.latent_dim} {things_of(result)} are relevant"), plot)
        files.append(plot)
    if report is not None:
        files.append(report)
    output.result(result, lambda: show_relevance(output, result))
    for text in result.warnings:
        output.warn(text)
    output.wrote(files)


def _figure(result: RelevanceResult, kind: str, title: str) -> Figure:
    from ..report.comparisons import variance_figure
    from ..report.figures import scree_figure

    if kind == "variance":
        return variance_figure(result.axes, title)
    return scree_figure(result.axes, result.threshold, result.active, result.active_interval, title)
