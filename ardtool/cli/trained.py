"""What `ardtool train` shows of a run that has ended."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from .rendering import Output, counted, number, percent
from .tables import headline, show_axes

if TYPE_CHECKING:
    from ..commands.train import TrainResult

__all__ = ["show", "show_next", "show_profile"]


def show(output: Output, result: TrainResult) -> None:
    """The count, the axes, and what training took and wrote."""
    if result.repeated:
        output.note("This very run has finished already; here it is again. Train once more with --force.")
        output.note()
    output.line(headline(result.relevance))
    if result.known_factors is not None:
        output.line(Text(f"the data have {result.known_factors} known factors", "dim"))
    if result.own_count is not None:
        missed = f"; its target was missed: {result.own_count['reason']}" if result.own_count["constraint_met"] is False else ""
        output.line(Text(f"the method's own count: {len(result.own_count['axes'])} {result.own_count['notion']}{missed}", "dim"))
    output.line()
    show_axes(output, result.relevance, full=False)
    output.line()
    output.line(
        Text(
            f"validation MSE {number(result.validation_mse)} · {counted(result.epochs, 'epoch')} in {duration(result.seconds)} · "
            f"{number(result.samples_per_second)} samples/s",
            "dim",
        )
    )
    files = sorted(path.name for path in Path(result.run).iterdir() if path.is_file() and not path.name.startswith("."))
    output.line(Text.assemble(("wrote " if not result.repeated else "in ", "dim"), result.run, (f"  {'  '.join(files)}", "dim")))


def show_profile(output: Output, profile: dict[str, Any]) -> None:
    """Where the time went and how much of the hardware was used, on stderr."""
    shares = " · ".join(f"{phase} {percent(share)} %" for phase, share in profile["shares"].items())
    rate, bound = (number(profile[name] / 1e9) for name in ("flops_per_second", "matrix_flops_per_second"))
    memory = "" if profile["peak_memory"] is None else f" · peak memory {number(profile['peak_memory'] / 2**20)} MiB"
    lines = (
        f"{profile['steps']} steps in {profile['precision']} on {profile['device']} · data: {profile['data']}{memory}",
        f"time: {shares}",
        f"{number(profile['samples_per_second'])} samples/s × {number(profile['flops_per_sample'] / 1e6)} MFLOP = {rate} GFLOP/s, "
        f"{percent(profile['utilisation'])} % of the {bound} GFLOP/s of a large matrix product",
    )
    output.note()
    for label, line in zip(("profile", "", ""), lines, strict=True):
        output.note(Text.assemble((f"{label:<8}", "dim"), line))


def show_next(output: Output, result: TrainResult) -> None:
    """Warnings and the commands that come next, on stderr."""
    for warning in result.warnings:
        output.note()
        output.warn(warning)
    if output.as_json:
        return
    newest = Path(result.run).parent == Path("runs") and not result.repeated
    model = "" if newest else f" {shlex.quote(result.run)}"
    steps = {
        f"ardtool relevance{model}": "every number of every axis",
        f"ardtool traverse{model} --out grid.png": "what each axis does",
        f"ardtool sample{model}": "new data",
        f"ardtool prune{model} --out small.safetensors": "the smaller model",
    }
    width = max(map(len, steps))
    output.note()
    for label, (command, meaning) in zip(["next", *[""] * (len(steps) - 1)], steps.items(), strict=True):
        output.note(Text.assemble((f"{label:<6}", "dim"), f"{command:<{width}}", (f"   {meaning}", "dim")))


def duration(seconds: float) -> str:
    """8.2 s, 3 min 5 s, 2 h 14 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
