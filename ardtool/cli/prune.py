"""`ardtool prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import (
    AssumePrior,
    Data,
    DataRoot,
    Device,
    Force,
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

if TYPE_CHECKING:
    from ..commands.prune import PruneResult
    from .rendering import Output

__all__ = ["prune"]

CHOICE = "What stays (one of these)"
DECODERS = {
    "folded": "dropped ones are folded into the bias of its first layer",
    "bias map": "dropped ones are folded into a map of biases, exact for codes of this size",
    "scatter": "it keeps its size: no layer that reads the code can be made smaller exactly, so codes are completed before it",
}
NOISE_PERCENT = 5
ENCODERS = {
    "rows removed": "rows of its last layers are removed",
    "folded": "the directions are folded into its last layer",
    "selected": "it keeps its size: kept ones are selected behind it",
    "rotated": "it keeps its size: codes are rotated behind it",
}


def prune(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The smaller model, .safetensors; or its decoder alone, .pt2 or .onnx. Its JSON beside it.")
    ],
    model: Model = None,
    threshold: Annotated[
        float,
        typer.Option(metavar="FLOAT", help="Share of the total relevance that the kept axes exceed, in (0, 1].", rich_help_panel=CHOICE),
    ] = 0.99,
    keep: Annotated[int | None, typer.Option(metavar="K", help="Keep the K most relevant axes.", rich_help_panel=CHOICE)] = None,
    axes: Annotated[str | None, typer.Option(metavar="0,3,7", help="Keep just these axes.", rich_help_panel=CHOICE)] = None,
    max_output_change: Annotated[
        str | None,
        typer.Option(
            metavar="X|P%",
            help="Keep as few as change the output by at most this: a mean squared difference, or P% of the outputs' variance.",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    max_mse_increase: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Keep as few as let the MSE on --data grow by at most this share; 1% and 0.01 are the same.",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    basis: Annotated[
        Literal["axes", "principal"],
        typer.Option(metavar="NAME", help="Keep axes, or principal directions as new axes: for models whose axes are rotated."),
    ] = "axes",
    granularity: Granularity = "channel",
    export: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="A further file beside FILE: safetensors, pt2 or onnx; may be repeated.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw errors against the number of kept axes. \\[default with a --max option: beside FILE]",
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
    force: Force = False,
    plugin: Plugin = None,
    trust: Trust = False,
) -> None:
    """Remove the axes that do not matter from encoder and decoder, and prove that nothing else changed.

    With --data, the reconstruction error is measured before and after.
    """
    wanted = None if axes is None else axis_list(axes)
    from ..commands.prune import prune as shrink
    from .rendering import Output

    output = Output(as_json, quiet)
    with output.status("pruning and comparing"):
        result = shrink(
            model,
            out=out,
            threshold=threshold,
            keep=keep,
            axes=wanted,
            max_output_change=max_output_change,
            max_mse_increase=max_mse_increase,
            basis=basis,
            granularity=granularity,
            export=export,
            data=data,
            latents=latents,
            assume_prior=assume_prior,
            plot=plot,
            force=force,
            seed=seed,
            device=device,
            plugin=plugin,
            trust=trust,
            data_root=data_root,
            skip_bad=skip_bad,
        )
    output.result(result, lambda: _show(output, result))
    for text in result.warnings:
        output.warn(text)


def _show(output: Output, result: PruneResult) -> None:
    from rich.text import Text

    from .rendering import number

    output.line(Text.assemble((f"kept {len(result.kept)} of {result.total} {result.noun}", "bold green")))
    lines: dict[str, str] = {}
    if result.basis == "axes":
        lines = {"kept": _ranges(result.kept), "dropped": _ranges(result.dropped) or "none"}
    relative = result.max_abs_difference / result.output_scale if result.output_scale else 0.0
    held = "dropped axes at their mean" if result.basis == "axes" else "all other directions held still"
    lines |= {
        "equality": f"max |difference| {result.max_abs_difference:.1g}, {relative:.1g} of the output's scale, "
        f"to the full decoder with {held}",
        "change": f"mean squared difference {number(result.output_change)} to the full decoder with all axes free",
        "parameters": _change(result.parameters, ""),
        "decoder": _change(result.bytes, " bytes of weights"),
        "encoder": "",
        "decoding": _times(result.decode_seconds),
    }
    if len(result.kept) < result.total:
        lines["decoder"] += f"; {DECODERS.get(result.decoder, result.decoder)}"
        lines["encoder"] = ENCODERS.get(result.encoder, result.encoder)
    else:
        lines["encoder"] = "nothing was dropped"
    if result.mse is not None:
        lines["MSE"] = f"{number(result.mse['before'])} → {number(result.mse['after'])} on the data given"
    for label, text in lines.items():
        output.line(Text.assemble((f"{label:<12}", "dim"), text))
    for export in result.exports:
        check = (
            f"{export['bytes']:,} bytes; a fresh process decodes with it, {export['relative']:.1g} of the output's scale from the original"
        )
        output.line(Text.assemble(("wrote ", "dim"), export["file"], (f"   {check}", "dim")))
    output.wrote(result.files[len(result.exports) :])


def _change(values: dict[str, Any], unit: str) -> str:
    """1,204 → 602 (−50.0 %), 1,204 → 1,204 (no change)."""
    before, after = values["before"], values["after"]
    share = f" ({_share(after / before - 1)})" if before else ""
    shown = [f"{value:,}" if isinstance(value, int) else f"{value:.3g}" for value in (before, after)]
    return f"{shown[0]} → {shown[1]}{unit}{share}"


def _share(change: float) -> str:
    """−50.0 %, +0.3 %, <0.1 % where one digit shows nothing of it, no change."""
    shown = f"{100 * change:+.1f} %".replace("-", "−")
    return "no change" if change == 0 else "<0.1 %" if shown[1:] == "0.0 %" else shown


def _times(seconds: dict[str, float]) -> str:
    """1,420 → 976 µs a sample (−31 %); changes below a twentieth are noise."""
    before, after = (1e6 * seconds[name] for name in ("before", "after"))
    change = 100 * (after / before - 1)
    share = "about the same" if abs(change) < NOISE_PERCENT else f"{change:+.0f} %".replace("-", "−")
    shown = [f"{value:,.0f}" if value >= 10 else f"{value:.2g}" for value in (before, after)]
    return f"{shown[0]} → {shown[1]} µs a sample ({share})"


def _ranges(axes: list[int]) -> str:
    """0, 3–5, 9."""
    parts: list[str] = []
    start = 0
    for index, axis in enumerate(axes):
        if index + 1 == len(axes) or axes[index + 1] != axis + 1:
            first = axes[start]
            parts.append(str(first) if first == axis else f"{first}, {axis}" if axis == first + 1 else f"{first}–{axis}")
            start = index + 1
    return ", ".join(parts)
