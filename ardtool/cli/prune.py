"""`ardtool prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DataRoot, Device, Force, Json, Model, Plugin, Quiet, Seed, Threshold, axis_list

if TYPE_CHECKING:
    from ..commands.prune import PruneResult
    from .rendering import Output

__all__ = ["prune"]


def prune(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The smaller model, a .safetensors file.")],
    model: Model = None,
    threshold: Threshold = 0.99,
    keep: Annotated[int | None, typer.Option(metavar="K", help="Keep the K most relevant axes instead.")] = None,
    axes: Annotated[str | None, typer.Option(metavar="0,3,7", help="Keep just these axes instead.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Measure the reconstruction error before and after on these data.")
    ] = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    force: Force = False,
    plugin: Plugin = None,
) -> None:
    """Remove the axes that do not matter from encoder and decoder, and prove that nothing else changed."""
    wanted = None if axes is None else axis_list(axes)
    from ..commands.opening import choose_device, open_model
    from ..commands.prune import prune as shrink
    from .rendering import Output

    output = Output(as_json, quiet)
    with output.status("pruning and comparing"):
        result = shrink(
            open_model(model, choose_device(device), plugin) if plugin is not None else model,
            out=out,
            threshold=threshold,
            keep=keep,
            axes=wanted,
            data=data,
            force=force,
            seed=seed,
            device=device,
            data_root=data_root,
        )
    output.result(result, lambda: _show(output, result))


def _show(output: Output, result: PruneResult) -> None:
    from rich.text import Text

    from .rendering import number

    total = len(result.kept) + len(result.dropped)
    output.line(Text.assemble((f"kept {len(result.kept)} of {total} latent axes", "bold green")))
    before, after = result.parameters["before"], result.parameters["after"]
    relative = result.max_abs_difference / result.output_scale if result.output_scale else 0.0
    lines = {
        "kept": _ranges(result.kept),
        "dropped": _ranges(result.dropped) or "none",
        "equality": f"max |difference| {result.max_abs_difference:.1g}, {relative:.1g} of the output's scale, "
        "to the full decoder with dropped axes at their mean",
        "change": f"mean squared difference {number(result.output_change)} to the full decoder with all axes free",
        "parameters": f"{before:,} → {after:,} ({100 * (after / before - 1):+.1f} %)".replace("-", "−"),
    }
    if result.mse is not None:
        lines["MSE"] = f"{number(result.mse['before'])} → {number(result.mse['after'])} on the data given"
    for label, text in lines.items():
        output.line(Text.assemble((f"{label:<12}", "dim"), text))
    output.wrote(result.files)


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
