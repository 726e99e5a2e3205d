"""The groups as one table: columns of cells, and its text for Markdown and LaTeX."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .groups import Group, MetricSummary
from .numbers import Cell, Summary, mean_and_deviation

__all__ = ["Column", "Table", "latex", "markdown", "table_of"]

CONDITIONS = ("data_sha256", "samples", "unit", "convention")
HASH_DIGITS = 8
ABSENT = "?"
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}


@dataclass(frozen=True)
class Column:
    """A heading and one cell a group; numbers stand to the right."""

    heading: str
    cells: list[Cell]
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """Columns; the first `keys` say which group a row is; `remarks` explain the others."""

    columns: list[Column]
    keys: int
    remarks: list[str]

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        return list(zip(*(column.cells for column in self.columns), strict=True))


def table_of(groups: Sequence[Group], *, losses: bool = False) -> Table:
    """One row a group.

    Arguments:
        losses: also every term of the last epoch's validation loss.
    """
    names = _names([(group.data, group.data_sha256) for group in groups])
    keys = [
        Column("method", [Cell(group.method) for group in groups], numeric=False),
        Column("data", [Cell(names[group.data_sha256, group.data]) for group in groups], numeric=False),
        Column("L", [Cell(str(group.latent)) for group in groups]),
    ]
    if any(settings := [_settings(group, groups) for group in groups]):
        keys.append(Column("settings", [Cell(text) for text in settings], numeric=False))
    columns = [
        Column("runs", [Cell(str(len(group.runs))) for group in groups]),
        Column("active", [_cell(group.active) for group in groups]),
        *([Column("own count", [_own(group) for group in groups])] if any(group.own_count for group in groups) else []),
        Column("val MSE", [_cell(group.validation_mse) for group in groups]),
        Column("epochs", [_cell(group.epochs if group.epochs.std else replace(group.epochs, std=None)) for group in groups]),
        Column("s/epoch", [_cell(group.seconds_per_epoch) for group in groups]),
        *_metric_columns(groups),
        *(_loss_columns(groups) if losses else []),
    ]
    return Table([*keys, *columns], len(keys), _remarks(groups))


def _names(data: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What to call data by (hash, name): the name, with the first digits of the hash where one name has two."""
    hashes: dict[str, set[str]] = defaultdict(set)
    pairs = list(data)
    for name, sha256 in pairs:
        hashes[name].add(sha256)
    return {(sha256, name): name if len(hashes[name]) == 1 else f"{name} {sha256[:HASH_DIGITS]}" for name, sha256 in pairs}


def _settings(group: Group, groups: Sequence[Group]) -> str:
    """beta=0.5, rae.variant=gp: what distinguishes a group from those of its method, data and L."""
    alike = [each for each in groups if _key(each) == _key(group)]
    names = sorted({name for each in alike for name in each.differing})
    said = [name for name in names if name in group.differing or name not in group.settings]
    return ", ".join(f"{name}={_value(group.differing[name]) if name in group.differing else ABSENT}" for name in said)


def _key(group: Group) -> tuple[Any, ...]:
    return (group.method, group.data, group.data_sha256, group.latent)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _cell(summary: Summary | None, *remarks: str) -> Cell:
    if summary is None:
        return Cell()
    part = [f"{summary.n} of {summary.of}"] if summary.n < summary.of else []
    return mean_and_deviation(summary.mean, summary.std, ", ".join([*part, *remarks]))


def _own(group: Group) -> Cell:
    own = group.own_count
    return Cell() if own is None else _cell(own.summary, *([f"{own.missed} missed"] if own.missed else []))


def _loss_columns(groups: Sequence[Group]) -> list[Column]:
    names = dict.fromkeys(name for group in groups for name in group.losses if name != "mse")
    return [Column(f"val {name}", [_cell(group.losses.get(name)) for group in groups]) for name in names]


def _metric_columns(groups: Sequence[Group]) -> list[Column]:
    """One column a metric; several where the runs on the same training data were not measured alike."""
    metrics = [metric for group in groups for metric in group.metrics]
    names = _names([(metric.data, metric.data_sha256) for metric in metrics])
    columns = []
    for name, axes in dict.fromkeys((metric.name, metric.axes) for metric in metrics):
        found = [[metric for metric in group.metrics if (metric.name, metric.axes) == (name, axes)] for group in groups]
        unlike = _unlike_conditions(groups, found)
        ambiguous = any(metric.name == name and metric.axes != axes for metric in metrics)
        for condition in dict.fromkeys(_condition(metric, unlike) for each in found for metric in each):
            chosen = [[metric for metric in each if _condition(metric, unlike) == condition] for each in found]
            example = next(each[0] for each in chosen if each)
            heading = (f"{name} ({axes})" if ambiguous else name) + _said(example, unlike, names)
            columns.append(Column(heading, [_cell(each[0].summary) if each else Cell() for each in chosen]))
    return columns


def _unlike_conditions(groups: Sequence[Group], found: list[list[MetricSummary]]) -> tuple[str, ...]:
    """In which conditions a metric differs between groups that were trained on the same data."""
    unlike = []
    for condition in CONDITIONS:
        values: dict[tuple[str, str], set[Any]] = defaultdict(set)
        for group, metrics in zip(groups, found, strict=True):
            values[group.data, group.data_sha256] |= {getattr(metric, condition) for metric in metrics}
        if any(len(each) > 1 for each in values.values()):
            unlike.append(condition)
    return tuple(unlike)


def _condition(metric: MetricSummary, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(getattr(metric, name) for name in names)


def _said(metric: MetricSummary, unlike: tuple[str, ...], names: dict[tuple[str, str], str]) -> str:
    """What a heading says about unlike conditions: on mnist, n = 1,000."""
    words = {
        "data_sha256": f" on {names[metric.data_sha256, metric.data]}",
        "samples": f", n = {metric.samples:,}",
        "unit": f", {metric.unit}",
        "convention": f", convention {metric.convention or 'unknown'}",
    }
    return "".join(words[name] for name in unlike)


def _remarks(groups: Sequence[Group]) -> list[str]:
    remarks = []
    notions: dict[str, str] = {group.method: group.own_count.notion for group in groups if group.own_count is not None}
    if notions:
        remarks.append("own count: " + ", ".join(f"{notion} ({method})" for method, notion in notions.items()))
    if any(group.own_count is not None and group.own_count.missed for group in groups):
        remarks.append("missed: runs that did not meet their method's own constraint")
    names = _names([(metric.data, metric.data_sha256) for group in groups for metric in group.metrics])
    places: dict[str, list[str]] = {}
    for group in groups:
        for metric in group.metrics:
            training = " (training data)" if metric.data_sha256 == group.data_sha256 else ""
            listed = places.setdefault(names[metric.data_sha256, metric.data] + training, [])
            if metric.name not in listed:
                listed.append(metric.name)
    remarks += [f"{', '.join(listed)}: `ardtool evaluate` on {place}" for place, listed in places.items()]
    return remarks


def markdown(table: Table) -> str:
    """The table in Markdown, with a line break at its end."""
    lines = [[_markdown_text(column.heading) for column in table.columns]]
    lines.append(["---:" if column.numeric else "---" for column in table.columns])
    lines += [[_markdown_text(str(cell)) for cell in row] for row in table.rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _markdown_text(text: str) -> str:
    """Text whose letters mean nothing else: escapes, and one line."""
    escaped = re.sub(r"([\\|*`<\[])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)  # one inside a word is no emphasis


def latex(table: Table) -> str:
    """The table as a LaTeX tabular with the rules of booktabs, with a line break at its end."""
    rows = [[_latex_cell(cell, column.numeric) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
    lines = [
        r"% needs \usepackage{booktabs}; mean and sample standard deviation over seeds",
        rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in table.columns)}}}",
        r"\toprule",
        " & ".join(_latex_text(column.heading) for column in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell, numeric: bool) -> str:
    if not numeric or not cell.text[-1:].isdigit():
        return _latex_text(str(cell))
    number = rf"{cell.text} \pm {cell.spread}" if cell.spread else cell.text
    if cell.power:
        number = rf"({number})" if cell.spread else number
        number = rf"{number} \times 10^{{{cell.power}}}"
    return f"${number.replace(',', '{,}')}$" + (f" ({_latex_text(cell.remark)})" if cell.remark else "")


def _latex_text(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))
