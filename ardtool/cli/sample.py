"""`ardtool sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import AssumePrior, Data, DataRoot, Device, Force, Granularity, Json, Latents, Model, Plugin, Quiet, Seed, SkipBad, Trust

__all__ = ["sample"]


def sample(
    model: Model = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="A picture, an .npz or .npy, or a folder of pictures. \\[default: samples.png; samples.npz for vectors]",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", metavar="N", help="How many samples.")] = 64,
    sampler: Annotated[
        Literal["prior", "paper", "centred", "full-gaussian", "gmm"] | None,
        typer.Option(
            metavar="NAME",
            help="How codes are drawn: prior, paper, centred, full-gaussian or gmm. \\[default: the way of the method]",
            show_default=False,
        ),
    ] = None,
    all_axes: Annotated[bool, typer.Option("--all-axes", metavar="", help="Let the axes that are not relevant vary too.")] = False,
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
    force: Force = False,
    plugin: Plugin = None,
    trust: Trust = False,
) -> None:
    """Draw new data from the model."""
    from ..commands.opening import choose_device, open_model
    from ..commands.sample import sample as draw
    from .rendering import Output

    output = Output(as_json, quiet)
    with output.status("sampling"):
        opened = open_model(model, choose_device(device), plugin, trust=trust, granularity=granularity)
        default = Path("samples.png" if len(opened.autoencoder.input_shape) == 3 else "samples.npz")
        result = draw(
            opened,
            out=out or default,
            n=n,
            sampler=sampler,
            all_axes=all_axes,
            data=data,
            latents=latents,
            assume_prior=assume_prior,
            seed=seed,
            device=device,
            data_root=data_root,
            skip_bad=skip_bad,
            force=force,
        )
    output.result(result, lambda: output.wrote_files(result))
    for text in result.warnings:
        output.warn(text)
