"""From what is known of a model to one HTML file: sections top to bottom as a reader meets them.

The style sheet and the script stand in the file, and its policy lets a browser load nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ...version import __version__
from .axes_table import axes_table
from .charts import Bar, Series, bar_chart, line_chart
from .content import Page, Rebuilt
from .markup import Markup, joined, tag
from .pictures import img

__all__ = ["page_html"]

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
CURVES = {"mse": "mean squared error of reconstructions", "output_change": "mean squared change of the output"}
ALL_SHOWN = 64  # axes that the cumulative share is drawn for at least


def page_html(page: Page) -> str:
    """The page as text."""
    sections = (
        ("how-many", "How many", _how_many(page)),
        ("axes", f"Each {page.thing}", axes_table(page)),
        ("fewer", f"With fewer {page.things}", _fewer(page)),
        ("samples", "New samples", None if page.samples is None else tag("div", img(page.samples), class_="wide")),
        ("training", "Training", _training(page.history)),
        ("metrics", "Metrics", _metrics(page.metrics)),
        ("made", "How this was made", _made(page)),
    )
    shown = [section for section in sections if section[2]]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{page.scores['active']} of {page.scores['latent_dim']} {page.things}"),
        tag("style", _asset("page.css")),
    )
    links = (tag("a", title, href=f"#{anchor}") for anchor, title, _ in shown)
    header = tag("header", tag("p", f"ardtool {__version__}", class_="brand"), _headline(page), tag("nav", *links, aria_label="Sections"))
    main = tag("main", *(tag("section", tag("h2", title), body, id=anchor) for anchor, title, body in shown))
    tip = tag("div", id="tip", role="status", hidden=True)
    body = tag("body", header, main, tip, tag("script", _asset("page.js")))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _asset(name: str) -> Markup:
    return Markup(files("ardtool.report.page").joinpath(name).read_text(encoding="utf-8"))


def _headline(page: Page) -> Markup:
    """The answer, how sure it is, and what was looked at."""
    scores = page.scores
    active, (low, high) = scores["active"], scores["active_interval"]
    sure = f"95 % of recounts gave {low}" if low == high else f"95 % of recounts gave {low} to {high}"
    these = f"this {page.thing} exceeds" if active == 1 else f"these {page.things} together exceed"
    lead = f"{sure}; {these} {100 * scores['threshold']:g} % of the score. "
    answer = f" of {scores['latent_dim']} {page.things} {'is' if active == 1 else 'are'} relevant"
    return joined(
        (
            tag("h1", tag("span", active, class_="count"), answer),
            tag("p", lead, tag("span", f"{scores['method']} · {scores['model']}", class_="model"), class_="lead"),
            *(tag("p", text, class_="warning") for text in scores.get("warnings", ())),
        )
    )


def _how_many(page: Page) -> Markup:
    """Share of each axis, and of the first k together."""
    axes, active, threshold = (page.scores[name] for name in ("axes", "active", "threshold"))
    low, high = page.scores["active_interval"]
    total = sum(axis["score"] for axis in axes) or 1.0
    bars = [
        Bar(str(axis["axis"]), axis["explained"], (axis["score_stderr"] or 0) / total, axis["active"], _tip(axis, total, page.thing))
        for axis in axes
    ]
    cumulative = [(0.0, 0.0), *((float(rank), axis["cumulative"]) for rank, axis in enumerate(axes, start=1))]
    last = len(axes) if len(axes) <= ALL_SHOWN else min(len(axes), max(16, 2 * active, high + 4))
    shares = bar_chart(bars, f"Share of every {page.thing}", f"{page.thing}, most relevant first")
    together = line_chart(
        [Series("cumulative share", cumulative[: last + 1])],
        f"Share of the first k {page.things} together",
        f"number of {page.things}",
        "cumulative share",
        log=False,
        percent=True,
        level=(f"threshold {100 * threshold:g} %", threshold),
        band=(f"95 % interval {low}–{high}" if high > low else f"count {active}", low, high),
    )
    return tag("div", shares, together, class_="pair")


def _tip(axis: Mapping[str, Any], total: float, thing: str) -> str:
    """What hovering over an axis says."""
    share = f"{100 * axis['explained']:.2f} ± {100 * (axis['score_stderr'] or 0) / total:.2f} % of the score"
    return f"{thing} {axis['axis']} · {share} · cumulative {100 * axis['cumulative']:.1f} % · {axis['state']}"


def _fewer(page: Page) -> Markup | None:
    """Reconstructions under a slider, and what it costs to keep k axes."""
    charts = []
    for name, points in page.curves.items():
        title = CURVES.get(name, name)
        line = Series(title, [(float(k), value) for k, value in points])
        chosen = float(page.scores["active"]) if page.scores["active"] else None
        charts.append(line_chart([line], title, f"number of {page.things} kept", title, chosen=chosen))
    if page.rebuilt is None and not charts:
        return None
    slider = None if page.rebuilt is None else _slider(page.rebuilt, page.things)
    return joined((slider, tag("div", *charts, class_="pair")))


def _slider(rebuilt: Rebuilt, things: str) -> Markup:
    """All pictures stand in the page; the script shows one of them, and without it the one of the relevant axes is shown."""
    numbers = [k for k, _ in rebuilt.by_k]
    chosen = min(range(len(numbers)), key=lambda index: abs(numbers[index] - rebuilt.chosen))
    pictures = (tag("div", img(picture), data_k=k, hidden=index != chosen) for index, (k, picture) in enumerate(rebuilt.by_k))
    shown = tag("output", numbers[chosen], id="k-shown", for_="k")
    label = tag("label", "The ", shown, f" most relevant {things} free, all others at their mean: ", for_="k")
    slider = tag("input", id="k", type="range", min=0, max=len(numbers) - 1, value=chosen, step=1)
    rows = [] if rebuilt.original is None else [tag("dt", "the data"), tag("dd", img(rebuilt.original))]
    rows += [tag("dt", f"all {numbers[-1]}"), tag("dd", img(rebuilt.by_k[-1][1]))]
    rows += [tag("dt", tag("span", numbers[chosen], class_="k-shown"), f" {things}"), tag("dd", *pictures, id="by-k")]
    return joined((tag("p", label, slider), tag("dl", *rows, class_="rebuilt")))


def _training(history: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Loss, reconstruction error, extreme prior variances and the count by epoch."""

    def line(part: str | None, entry: str, name: str, style: str = "main") -> Series:
        found = [(record["epoch"], (record if part is None else record.get(part) or {}).get(entry)) for record in history]
        return Series(name, [(float(epoch), float(value)) for epoch, value in found if value is not None], style)

    panels = (
        ("Loss", "loss", line("training", "loss", "training"), line("validation", "loss", "validation", "second")),
        (
            "Reconstruction error",
            "mean squared error",
            line("training", "mse", "training"),
            line("validation", "mse", "validation", "second"),
        ),
        (
            "Prior variances",
            "prior variance σ̂² of an axis",
            line("state", "prior_variance_max", "largest"),
            line("state", "prior_variance_min", "smallest", "second"),
        ),
        ("Relevant axes", "relevant axes", line(None, "active", "relevant axes")),
    )
    charts = (line_chart([each for each in series if each.points], title, "epoch", up) for title, up, *series in panels)
    return tag("div", *charts, class_="pair") if history else None


def _metrics(rows: Sequence[Sequence[str]]) -> Markup | None:
    if not rows:
        return None
    head = tag("tr", *(tag("th", name, scope="col", class_="text") for name in ("metric", "axes", "value", "unit")))
    body = (tag("tr", *(tag("td", cell, class_="text") for cell in row)) for row in rows)
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide")


def _made(page: Page) -> Markup | None:
    """Commands, data, settings, versions."""
    commands = [part for command, meaning in page.commands for part in (tag("dt", meaning), tag("dd", tag("code", command)))]
    tables = [
        tag("details", tag("summary", name), _facts(facts), open=number == 0) for number, (name, facts) in enumerate(page.facts.items())
    ]
    return joined((tag("dl", *commands, class_="commands") if commands else None, *tables)) if commands or tables else None


def _facts(facts: Mapping[str, str]) -> Markup:
    rows = (tag("tr", tag("th", label, scope="row"), tag("td", value, class_="text")) for label, value in facts.items())
    return tag("div", tag("table", *rows, class_="facts"), class_="wide")
