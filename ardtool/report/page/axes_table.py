"""The table of a page: one row an axis with its numbers and what it does, to be sorted by its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .content import Page
from .markup import Markup, joined, tag
from .pictures import img

__all__ = ["axes_table"]

COLUMNS = (  # key, heading, what it is
    ("rank", "#", "rank by score"),
    ("axis", "axis", "its index"),
    ("was", "was", "its index in the model that was trained"),
    ("score", "score", "variance × squared Jacobian, with one standard error"),
    ("explained", "share", "of the score of all"),
    ("cumulative", "cum.", "share of this one and those before it"),
    ("variance", "variance", "what the squared Jacobian is multiplied by"),
    ("weight", "weight", "squared Jacobian of the decoder"),
    ("kl", "KL", "nats that it carries"),
    ("mean_variance", "Var μ", "variance of the posterior means"),
    ("state", "state", "what it does"),
)
MOST_ROWS = 1024


def axes_table(page: Page) -> Markup:
    """The table; of more than 1,024 axes the first."""
    scores = page.scores
    original = list(scores.get("original_axes") or ())
    pruned = bool(original) and original != list(range(len(original)))
    columns = [column for column in COLUMNS if column[0] != "was" or pruned]
    heads = [
        tag(
            "th",
            tag("button", text, type="button", title=meaning),
            scope="col",
            data_key=key,
            aria_sort="ascending" if key == "rank" else None,
        )
        for key, text, meaning in columns
    ]
    if page.strips:
        heads.append(tag("th", "from −3σ to +3σ", scope="col", class_="text strip"))
    rows = []
    for rank, axis in enumerate(scores["axes"][:MOST_ROWS], start=1):
        values = {**axis, "rank": rank, "was": original[axis["axis"]] if pruned else None}
        cells = [_cell(key, values) for key, _, _ in columns]
        if page.strips:
            strip = page.strips.get(axis["axis"])
            cells.append(tag("td", None if strip is None else img(strip)))
        rows.append(tag("tr", *cells, class_="active" if axis["active"] else "quiet"))
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="sortable")
    count = len(scores["axes"])
    return joined((tag("div", table, class_="wide"), tag("p", f"The first {MOST_ROWS:,} of {count:,}.") if count > MOST_ROWS else None))


def _cell(key: str, axis: Mapping[str, Any]) -> Markup:
    """A number as it is read, and in `data-value` as it is sorted by."""
    value = axis[key]
    if value is None:
        return tag("td", "–", data_value="")
    bar = None
    if key in ("explained", "cumulative"):
        text = f"{100 * value:.1f} %"
        bar = tag("span", class_="share", style=f"width:{100 * value:.2f}%") if key == "explained" else None
    elif key == "score":
        text = f"{value:.4g} ± {axis['score_stderr'] or 0:.2g}"
    else:
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return tag("td", text, bar, data_value=value, class_="text" if key == "state" else None)
