"""Axes and metrics as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from .rendering import Output, number, percent, with_error

if TYPE_CHECKING:
    from ..commands.evaluate import EvaluateResult, MetricValue
    from ..commands.relevance import RelevanceResult
    from ..latent.relevance import AxisRelevance

__all__ = ["headline", "show_axes", "show_metrics", "show_relevance", "things_of"]

MOST_ROWS = 40
MORE_ROWS = 4
BAR_WIDTH = 24
BAR = "bar"
UNIT_WIDTH = 12  # units may be broken into lines of so many letters
DISPENSABLE = ("#", "Var μ", "weight", "variance", BAR, "KL", "cum. %")
COLOURS = {"relevant": "", "weak": "dim", "ignored": "dim", "collapsed": "dim"}


def show_relevance(output: Output, result: RelevanceResult) -> None:
    """The headline, how it was computed, and every axis in full."""
    output.line(headline(result))
    sources = {"model": "the model file", "data": "the data given", "latents": "the codes given", "prior": "an assumed N(0, I)"}
    kinds = {"second_moment": "prior variance σ̂²", "centred": "variance of the codes"}
    variance = kinds.get(result.variance_kind, result.variance_kind)
    product = "total effects (Sobol)" if result.estimator["name"] == "sobol" else f"{variance} × squared Jacobian"
    source = sources.get(result.codes_from, result.codes_from)
    details = f"{result.method} · {product} at {result.estimator['samples']} codes from {source} · convention: {result.convention}"
    output.line(Text(details, "dim"))
    measured = result.estimator.get("reason", result.estimator["name"])
    output.line(Text(f"estimator: {measured}", "dim"))
    output.line(Text(result.model, "dim"))
    output.line()
    show_axes(output, result, full=True)


def headline(result: RelevanceResult) -> Text:
    """The answer in one line."""
    low, high = result.active_interval
    verb = "is" if result.active == 1 else "are"
    return Text.assemble(
        (f"{result.active} of {result.latent_dim} {things_of(result)} {verb} relevant", "bold green"),
        (f"   95 % interval {low}–{high} · threshold {100 * result.threshold:g} %", "dim"),
    )


def things_of(result: RelevanceResult) -> str:
    """What was counted."""
    if result.basis != "axes":
        return "principal directions"
    return {"channel": "latent channels", "element": "latent elements"}.get(result.granularity or "", "latent axes")


def show_axes(output: Output, result: RelevanceResult, *, full: bool) -> None:
    """One row an axis, most relevant first; of more than 40 axes the active ones and the first few of the others.

    On a narrow terminal the columns that matter least are left out, and a line says which.

    Arguments:
        full: all numbers; else a bar of the share in place of variance, weight and variance of means.
    """
    rows = result.axes if len(result.axes) <= MOST_ROWS else result.axes[: result.active + MORE_ROWS]
    columns = _columns(result, rows, full)
    gap, left_out = _fit(columns, output.stdout.width)
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0), header_style="dim", collapse_padding=True
    )
    for name in columns:
        table.add_column("" if name == BAR else name, justify="left" if name in (BAR, "state") else "right", no_wrap=True)
    for cells, axis in zip(zip(*columns.values(), strict=True), rows, strict=True):
        table.add_row(*cells, style=COLOURS[axis.state])
    output.stdout.print(table)
    hidden = len(result.axes) - len(rows)
    if hidden:
        output.line(Text(f"… and {hidden:,} more (all of them: --json)", "dim"))
    if left_out:
        output.line(Text(f"no room for {', '.join(left_out)}", "dim"))


def _columns(result: RelevanceResult, rows: Sequence[AxisRelevance], full: bool) -> dict[str, list[Any]]:
    """Cells by heading."""
    pruned = result.basis == "axes" and list(result.original_axes) != list(range(result.latent_dim))
    largest = max((axis.explained for axis in result.axes), default=0.0) or 1.0
    columns: dict[str, list[Any]] = {"#": [str(rank) for rank in range(1, len(rows) + 1)]}
    columns[(result.granularity or "axis") if result.basis == "axes" else "direction"] = [str(axis.axis) for axis in rows]
    if pruned:
        columns["was"] = [str(result.original_axes[axis.axis]) for axis in rows]
    if not full:
        columns[BAR] = [Bar(largest, 0, axis.explained, width=BAR_WIDTH, color="green" if axis.active else "bright_black") for axis in rows]
    columns["share %"] = [percent(axis.explained) for axis in rows]
    columns["cum. %"] = [percent(axis.cumulative) for axis in rows]
    columns["score"] = [with_error(axis.score, axis.score_stderr) for axis in rows]
    if full:
        columns |= {"variance": [number(axis.variance) for axis in rows], "weight": [number(axis.weight) for axis in rows]}
    columns["KL"] = [number(axis.kl) for axis in rows]
    if full:
        columns["Var μ"] = [number(axis.mean_variance) for axis in rows]
    return columns | {"state": [axis.state for axis in rows]}


def _fit(columns: dict[str, list[Any]], width: int) -> tuple[int, list[str]]:
    """Take columns out until the others fit, the last of `DISPENSABLE` first; the gap between them, and what was taken out."""

    def room(gap: int) -> int:
        return sum(_width(name, cells) for name, cells in columns.items()) + gap * (len(columns) - 1)

    if room(3) <= width:
        return 3, []
    for bar in columns.get(BAR, ()):
        bar.width = BAR_WIDTH // 2
    taken = []
    for name in DISPENSABLE:
        if room(1) <= width:
            break
        if columns.pop(name, None) is not None and name not in ("#", BAR):
            taken.append(name)
    return 1, taken


def _width(name: str, cells: Sequence[Any]) -> int:
    widths = [each.width or 0 if isinstance(each, Bar) else len(each) for each in cells]
    return max([0 if name == BAR else len(name), *widths])


def show_metrics(output: Output, result: EvaluateResult) -> None:
    """One row a metric."""
    output.line(Text.assemble((result.model, "bold"), (f"   on {result.data}", "dim")))
    output.line()
    if result.metrics:
        _show_values(output, result)
    for name, rows in result.curves.items():
        output.line()
        _show_curve(output, name, rows)
    if result.active is not None:
        output.line(Text(f"{result.active} latent axes are relevant (ardtool relevance)", "dim"))
    for said in dict.fromkeys(_convention(metric) for metric in result.metrics.values()):
        if said:
            output.line(Text(said, "dim"))


def _show_values(output: Output, result: EvaluateResult) -> None:
    """The table of metrics; on a narrow terminal without units, then without the numbers of samples."""
    metrics = result.metrics.values()
    columns: dict[str, list[str]] = {
        "metric": list(result.metrics),
        "value": [with_error(metric.value, metric.stderr) for metric in metrics],
        "samples": [f"{metric.n:,}" for metric in metrics],
        "axes": [metric.axes for metric in metrics],
        "unit": [metric.unit for metric in metrics],
    }
    for name, least in (("unit", UNIT_WIDTH), ("samples", 0)):
        others = [_width(each, cells) + 3 for each, cells in columns.items() if each != "unit"]
        if sum(others) + (least if name == "unit" else -3) > output.stdout.width:
            del columns[name]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        style = {"metric": "bold", "unit": "dim"}.get(name)
        table.add_column(name, justify="right" if name in ("value", "samples") else "left", no_wrap=name != "unit", style=style)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    output.stdout.print(table)


def _show_curve(output: Output, name: str, rows: list[dict[str, Any]]) -> None:
    """A table of its own, one row an entry."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    shown = rows if len(rows) <= MOST_ROWS else rows[:MOST_ROWS]
    for row in shown:
        table.add_row(*(f"{row[key]:,}" if isinstance(row.get(key), int) else number(row.get(key)) for key in columns))
    output.line(Text(name, "bold"))
    output.stdout.print(table)
    if len(shown) < len(rows):
        output.line(Text(f"… and {len(rows) - len(shown):,} more (all of them: --json)", "dim"))


def _convention(metric: MetricValue) -> str:
    """How a family of metrics was measured, in one line; the JSON holds all of it."""
    extractor = metric.provenance.get("extractor")
    return "" if extractor is None else f"{metric.family}: features {extractor}, data {metric.provenance['data']}"
