"""Axes and metrics as tables for a terminal."""

from __future__ import annotations

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
ROOMY = 92
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

    Arguments:
        full: all numbers; else a bar of the share in place of variance, weight and variance of means.
    """
    pruned = result.basis == "axes" and list(result.original_axes) != list(range(result.latent_dim))
    roomy = output.stdout.width >= ROOMY
    bar_width = BAR_WIDTH if roomy else BAR_WIDTH // 2
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 2 if roomy else 0, 0, 0),
        header_style="dim",
        collapse_padding=True,
    )
    ranked = roomy or not pruned
    if ranked:
        table.add_column("#", justify="right", no_wrap=True)
    table.add_column((result.granularity or "axis") if result.basis == "axes" else "direction", justify="right", no_wrap=True)
    if pruned:
        table.add_column("was", justify="right", no_wrap=True)
    if not full:
        table.add_column("", width=bar_width, no_wrap=True)
    for name in ("share %", "cum. %", "score", *(("variance", "weight") if full else ()), "KL", *(("Var μ",) if full else ())):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    rows = result.axes if len(result.axes) <= MOST_ROWS else result.axes[: result.active + MORE_ROWS]
    largest = max((axis.explained for axis in result.axes), default=0.0) or 1.0
    for rank, axis in enumerate(rows, start=1):
        was = [str(result.original_axes[axis.axis])] if pruned else []
        bar = [] if full else [Bar(largest, 0, axis.explained, width=bar_width, color="green" if axis.active else "bright_black")]
        table.add_row(
            *([str(rank)] if ranked else []), str(axis.axis), *was, *bar, *_numbers(axis, full), axis.state, style=COLOURS[axis.state]
        )
    output.stdout.print(table)
    hidden = len(result.axes) - len(rows)
    if hidden:
        output.line(Text(f"… and {hidden:,} more (all of them: --json)", "dim"))


def _numbers(axis: AxisRelevance, full: bool) -> list[str]:
    values = [percent(axis.explained), percent(axis.cumulative), with_error(axis.score, axis.score_stderr)]
    if full:
        values += [number(axis.variance), number(axis.weight)]
    values.append(number(axis.kl))
    return [*values, number(axis.mean_variance)] if full else values


def show_metrics(output: Output, result: EvaluateResult) -> None:
    """One row a metric."""
    output.line(Text.assemble((result.model, "bold"), (f"   on {result.data}", "dim")))
    output.line()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, justify in (("metric", "left"), ("value", "right"), ("samples", "right"), ("axes", "left"), ("unit", "left")):
        table.add_column(name, justify=justify, no_wrap=name != "unit")  # pyright: ignore[reportArgumentType]
    for name, metric in result.metrics.items():
        table.add_row(Text(name, "bold"), with_error(metric.value, metric.stderr), f"{metric.n:,}", metric.axes, Text(metric.unit, "dim"))
    if result.metrics:
        output.stdout.print(table)
    for name, rows in result.curves.items():
        output.line()
        _show_curve(output, name, rows)
    if result.active is not None:
        output.line(Text(f"{result.active} latent axes are relevant (ardtool relevance)", "dim"))
    for said in dict.fromkeys(_convention(metric) for metric in result.metrics.values()):
        if said:
            output.line(Text(said, "dim"))


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
