"""Charts as SVG inside a page. Colours come from the page's style sheet; every mark says its numbers in `data-tip`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Markup, joined, tag

__all__ = ["Bar", "Series", "bar_chart", "line_chart"]

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BASE = 62, 14, 30, 254
MOST_MARKS, MOST_LABELS, MOST_ERRORS = 200, 40, 80
MANY_DECADES = 20  # the scale is logarithmic where values reach over more than this factor
FLOOR = 1e-6


@dataclass(frozen=True)
class Bar:
    """A bar: what stands below it, its share in [0, 1] with a standard error, whether it counts, and what it says."""

    label: str
    share: float
    stderr: float
    active: bool
    tip: str


@dataclass(frozen=True)
class Series:
    """A line through points (x, y); `style` is one of the classes main, second, quiet of the style sheet."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str = "main"


class _Scale:
    """From values to places along an axis of the chart."""

    def __init__(self, low: float, high: float, first: float, last: float, log: bool = False) -> None:
        self.low, self.high, self._first, self._last, self.log = low, high, first, last, log

    def __call__(self, value: float) -> float:
        if self.log:
            value, low, high = (math.log10(max(each, self.low)) for each in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        share = (value - low) / ((high - low) or 1.0)
        return round(self._first + min(max(share, 0.0), 1.0) * (self._last - self._first), 1)

    def ticks(self) -> list[float]:
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((last - first) / 6))
            decades = [10.0**power for power in range(first, last + 1, step) if 10.0**power >= self.low * (1 - 1e-9)]
            return decades if len(decades) > 1 else [self.low, self.high]
        rough = (self.high - self.low) / 5 or 1.0
        unit = 10 ** math.floor(math.log10(rough))
        step = next(unit * each for each in (1, 2, 2.5, 5, 10) if unit * each >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def bar_chart(bars: Sequence[Bar], title: str, across: str) -> Markup:
    """Shares on a logarithmic scale with one standard error.

    Arguments:
        title: for the chart as a whole, read by screen readers.
        across: what stands below the axis.
    """
    floor = min(max(10 ** math.floor(math.log10(min((bar.share for bar in bars if bar.share > 0), default=1.0))), FLOOR), 1e-2)
    y = _Scale(floor, 1.0, BASE, TOP, log=True)
    room = (WIDTH - LEFT - RIGHT) / max(len(bars), 1)
    parts = [_frame(y, True, "share of the score")]
    for number, bar in enumerate(bars):
        parts.append(_bar(bar, LEFT + number * room, room, y, len(bars) <= MOST_ERRORS))
        if len(bars) <= MOST_LABELS:
            parts.append(_words(bar.label, LEFT + (number + 0.5) * room, BASE + 15, "tick"))
    return _chart(parts, title, across)


def _bar(bar: Bar, left: float, room: float, y: _Scale, with_error: bool) -> Markup:
    """A bar in its room, which is wider than the bar and reaches to the top: what is hovered over."""
    width = max(room * 0.72, min(room, 1.0))
    hit = tag("rect", class_="hit", x=f"{left:.1f}", y=TOP, width=f"{room:.1f}", height=BASE - TOP)
    shape = {"x": f"{left + (room - width) / 2:.1f}", "y": y(bar.share), "width": f"{width:.1f}", "height": round(BASE - y(bar.share), 1)}
    drawn = tag("rect", class_="main" if bar.active else "quiet", **shape)
    error = None
    if with_error and bar.share > 0:
        ends = f"M{left + room / 2:.1f} {y(bar.share - bar.stderr)}V{y(bar.share + bar.stderr)}"
        error = tag("path", class_="error", d=ends)
    return tag("g", hit, drawn, error, class_="mark", tabindex=0, role="img", aria_label=bar.tip, data_tip=bar.tip)


def line_chart(
    series: Sequence[Series],
    title: str,
    across: str,
    up: str,
    *,
    log: bool | None = None,
    percent: bool = False,
    level: tuple[str, float] | None = None,
    band: tuple[str, float, float] | None = None,
    chosen: float | None = None,
) -> Markup | None:
    """Lines over whole numbers, such as epochs or numbers of axes; None without a finite value.

    Arguments:
        across, up: what stands at the axes.
        log: a logarithmic scale; None for one where all values are positive and reach over more than a factor of twenty.
        percent: y is a share in [0, 1].
        level: name and height of a horizontal line.
        band: name, left and right of a shaded part.
        chosen: where a vertical line stands.
    """
    points = [point for each in series for point in each.points if math.isfinite(point[1])]
    if not points:
        return None
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    x = _Scale(first, last if last > first else first + 1, LEFT + 6, WIDTH - RIGHT - 6)
    whole = all(value == int(value) for _, value in points)  # counts have no halves
    y = _Scale(0.0, 1.0, BASE, TOP) if percent else _upright([value for _, value in points], log, whole)
    parts = [_frame(y, percent, up, whole and not percent)]
    if band is not None:
        name, left, right = band[0], x(band[1] - 0.5), x(band[2] + 0.5)
        parts.append(tag("rect", class_="band", x=left, y=TOP, width=round(max(right - left, 2), 1), height=BASE - TOP))
        parts.append(_words(name, min(max((left + right) / 2, LEFT + 60), WIDTH - RIGHT - 60), TOP - 8, "note"))
    if level is not None:
        parts.append(tag("path", class_="level", d=f"M{LEFT} {y(level[1])}H{WIDTH - RIGHT}"))
        parts.append(_words(level[0], LEFT + 8, y(level[1]) - 6, "note", "start"))
    if chosen is not None:
        parts.append(tag("path", class_="chosen", d=f"M{x(chosen)} {TOP}V{BASE}"))
    parts += [_words(f"{tick:g}", x(tick), BASE + 15, "tick") for tick in x.ticks() if tick == int(tick)]
    parts += [_line(each, x, y, across, percent) for each in series]
    return _chart(parts, title, across, series if len(series) > 1 else ())


def _upright(values: Sequence[float], log: bool | None, whole: bool) -> _Scale:
    """The scale of the values: from zero where that is near."""
    low, high = min(values), max(values)
    if low > 0 and (high > MANY_DECADES * low if log is None else log):
        return _Scale(low, high, BASE, TOP, log=True)
    if whole and high - low < 2:
        return _Scale(max(low - 1, 0.0) if low >= 0 else low - 1, high + 1, BASE, TOP)
    pad = 0.06 * ((high - low) or abs(high) or 1.0)
    return _Scale(0.0 if 0 <= low < 0.5 * high else low - pad, high + pad, BASE, TOP)


def _line(series: Series, x: _Scale, y: _Scale, across: str, percent: bool) -> Markup:
    """A line and its points, of which long ones show every n-th."""
    points = [point for point in series.points if math.isfinite(point[1])]
    path = tag("path", class_=f"line {series.style}", d=f"M{'L'.join(f'{x(a)} {y(b)}' for a, b in points)}")
    marks = []
    for a, b in points[:: max(1, math.ceil(len(points) / MOST_MARKS))]:
        tip = f"{across} {a:g} · {series.name} {_percent(b) if percent else f'{b:.4g}'}"
        place = {"cx": x(a), "cy": y(b), "r": 3 if len(points) <= MOST_LABELS else 2}
        marks.append(tag("circle", tag("title", tip), class_=f"mark {series.style}", data_tip=tip, **place))
    return joined((path, *marks))


def _frame(y: _Scale, percent: bool, up: str, whole: bool = False) -> Markup:
    """Horizontal lines, what they stand for, and the name of the axis."""
    parts = []
    for tick in y.ticks():
        if whole and tick != int(tick):
            continue
        parts.append(tag("path", class_="grid", d=f"M{LEFT} {y(tick)}H{WIDTH - RIGHT}"))
        parts.append(_words(_percent(tick) if percent else f"{tick:.4g}", LEFT - 6, y(tick) + 4, "tick", "end"))
    turned = f"translate(13 {(TOP + BASE) / 2}) rotate(-90)"
    return joined((*parts, tag("text", up, class_="name", transform=turned, text_anchor="middle")))


def _words(text: str, x: float, y: float, style: str, anchor: str = "middle") -> Markup:
    return tag("text", text, class_=style, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _chart(parts: Sequence[object], title: str, across: str, key: Sequence[Series] = ()) -> Markup:
    name = _words(across, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "name")
    chart = tag("svg", *parts, name, class_="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="group", aria_label=title)
    legend = tag("figcaption", *(tag("span", each.name, class_=each.style) for each in key), class_="key") if key else None
    return tag("figure", chart, legend)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %" if share >= 1e-4 or share == 0 else f"{100 * share:.0e} %".replace("e-0", "e-")
