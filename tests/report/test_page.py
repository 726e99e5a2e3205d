"""The page: text stays text, nothing is fetched, elements are whole, and charts show the numbers they are given."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from ardtool.report.page import Page, Rebuilt, page_html
from ardtool.report.page.charts import HEIGHT, WIDTH, Bar, Series, bar_chart, line_chart
from ardtool.report.page.markup import VOID, Markup, joined, tag
from ardtool.report.page.pictures import heat_strip, image_strip

EVIL = "<script>alert(1)</script>\"'&\x1b[31m\u202e"


class Elements(HTMLParser):
    """All elements of a document with their attributes; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.found if found == name]


def axis(number: int, share: float, active: bool) -> dict[str, Any]:
    return {
        "axis": number, "variance": 1.5, "weight": share, "score": 2 * share, "score_stderr": 0.01, "explained": share, "cumulative": 0.9,
        "active": active, "kl": None if number == 2 else 0.3, "mean_variance": 0.2, "state": "relevant" if active else "weak",
    }  # fmt: skip


def page(**changes: Any) -> Page:
    strip = image_strip(np.zeros((3, 8, 8, 1), np.uint8), EVIL)
    scores = {
        "method": EVIL, "model": EVIL, "latent_dim": 3, "active": 2, "active_interval": [1, 2], "threshold": 0.99, "warnings": [EVIL],
        "original_axes": [0, 1, 2], "axes": [axis(1, 0.7, True), axis(2, 0.3, True), axis(0, 0.0, False)],
    }  # fmt: skip
    full = Page(
        scores=scores,
        things="latent axes",
        thing="axis",
        strips={1: strip, 0: strip},
        rebuilt=Rebuilt(strip, [(1, strip), (2, strip), (3, strip)], 2),
        curves={"mse": [(1, 0.5), (2, 0.1), (3, 0.1)], EVIL: [(1, 0.5)]},
        samples=strip,
        history=[{"epoch": k, "training": {"loss": 9 / k, "mse": None}, "validation": {}, "active": k} for k in (1, 2, 3)],
        metrics=[(EVIL, "all", "0.1", EVIL)],
        facts={EVIL: {EVIL: EVIL}},
        commands=[(EVIL, EVIL)],
    )
    return dataclasses.replace(full, **changes)


def test_text_of_any_origin_stays_text():
    html = page_html(page())
    elements = Elements(html)
    assert len(elements.named("script")) == 1
    assert "alert" not in html.replace("&lt;script&gt;alert(1)&lt;/script&gt;", "")
    assert "\x1b" not in html and "\u202e" not in html
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]


def test_nothing_is_fetched():
    html = page_html(page())
    elements = Elements(html)
    assert all((image["src"] or "").startswith("data:image/") for image in elements.named("img"))
    assert not re.search(r"https?:|@import|url\(|//[a-z]", html)
    assert {href for link in elements.named("a") if (href := link["href"])} == {f"#{each['id']}" for each in elements.named("section")}
    policy = next(each["content"] for each in elements.named("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert (policy or "").startswith("default-src 'none'")


def test_sections_without_content_are_left_out():
    anchors = [each["id"] for each in Elements(page_html(page())).named("section")]
    assert anchors == ["how-many", "axes", "fewer", "samples", "training", "metrics", "made"]
    bare = page(strips={}, rebuilt=None, curves={}, samples=None, history=(), metrics=(), facts={}, commands=())
    assert [each["id"] for each in Elements(page_html(bare)).named("section")] == ["how-many", "axes"]


def test_the_headline_and_the_numbers_to_sort_by():
    elements = Elements(page_html(page()))
    text = " ".join("".join(elements.words).split())
    assert "2 of 3 latent axes are relevant" in text
    assert "95 % of recounts gave 1 to 2; these latent axes together exceed 99 % of the score." in text
    values = [each["data-value"] for each in elements.named("td") if "data-value" in each]
    assert len(values) == 3 * 10
    assert values[:4] == ["1", "1", "1.4", "0.7"]
    assert values[17] == "", "no KL"


def test_a_pruned_model_says_what_its_axes_were():
    scores = page().scores | {"original_axes": [3, 5, 8]}
    heads = [each.get("data-key") for each in Elements(page_html(page(scores=scores))).named("th")]
    assert "was" in heads
    assert "was" not in [each.get("data-key") for each in Elements(page_html(page())).named("th")]


def test_one_slider_step_for_each_picture():
    elements = Elements(page_html(page()))
    (slider,) = elements.named("input")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "1")
    hidden = ["hidden" in each for each in elements.named("div") if "data-k" in each]
    assert hidden == [True, False, True]


def test_markup_and_text():
    assert tag("td", 3, class_="a", data_value=None, hidden=True, open=False) == '<td class="a" hidden>3</td>'
    assert tag("p", Markup("<b>x</b>"), "<i>") == "<p><b>x</b>&lt;i&gt;</p>"
    assert tag("meta", name='"><x') == '<meta name="&quot;&gt;&lt;x">'
    assert joined((None, "a\nb")) == "a b"


@pytest.mark.parametrize("count", [1, 2, 16, 41, 300])
def test_a_bar_for_each_axis_inside_the_chart(count):
    shares = np.exp(-np.arange(count) / 7)
    bars = [Bar(str(k), share / shares.sum(), 0.01, k < 3, f"tip {k}") for k, share in enumerate(shares)]
    elements = Elements(str(bar_chart(bars, "title", "across")))
    drawn = [each for each in elements.named("rect") if each["class"] in ("main", "quiet")]
    assert len(drawn) == count
    assert [each["data-tip"] for each in elements.named("g")] == [f"tip {k}" for k in range(count)]
    for each in drawn:
        left, top, width, height = (float(each[name] or "nan") for name in ("x", "y", "width", "height"))
        assert left >= 0 and left + width <= WIDTH and top >= 0 and top + height <= HEIGHT
    heights = [float(each["height"] or "nan") for each in drawn]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize(
    "values", [[1.0], [0.0, 0.0], [1e-5, 1.0, 3e4], [5.0, 5.1], [-3.0, 2.0], [float("nan"), 1.0, 2.0], [1e-300, 1e300], [0.0, 1e9]]
)
def test_a_line_through_every_finite_point(values):
    points = [(float(k), value) for k, value in enumerate(values)]
    elements = Elements(str(line_chart([Series("a", points)], "title", "k", "value")))
    marks = elements.named("circle")
    assert len(marks) == sum(np.isfinite(values))
    for each in marks:
        assert 0 <= float(each["cx"] or "nan") <= WIDTH and 0 <= float(each["cy"] or "nan") <= HEIGHT
    order = [float(each["cy"] or "nan") for each in marks]
    finite = [value for value in values if np.isfinite(value)]
    assert all((a >= b) == (x <= y) or x == y for a, b, x, y in zip(order, order[1:], finite, finite[1:], strict=False)), "higher is higher"
    assert len([each for each in elements.named("path") if each["class"] == "grid"]) >= 2


def test_no_chart_without_a_number():
    assert line_chart([Series("a", [(1.0, float("nan"))])], "title", "k", "value") is None


def test_counts_have_no_halves():
    chart = str(line_chart([Series("a", [(1.0, 13.0), (2.0, 14.0)])], "title", "k", "value"))
    ticks = re.findall(r'class="tick"[^>]*text-anchor="end">([^<]*)<', chart)
    assert ticks
    assert all(float(tick).is_integer() for tick in ticks)


@pytest.mark.parametrize(("side", "channels", "kind"), [(28, 1, "png"), (64, 3, "jpeg"), (32, 3, "png"), (200, 1, "png"), (9, 5, "png")])
def test_pictures_of_images(side, channels, kind):
    picture = image_strip(np.full((4, side, side, channels), 9, np.uint8), "x", cell=40)
    assert picture.kind == kind
    assert 160 <= picture.width <= 190
    assert 40 <= picture.height <= 50


def test_pictures_of_vectors():
    import base64
    import io

    from PIL import Image

    picture = heat_strip(np.array([[-1.0, 0.0, 1.0], [np.nan, 5.0, -5.0]]), 1.0, "x")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.data)))).astype(int)
    assert pixels.shape == (2, 3, 3)
    blue, white, red = pixels[0]
    assert blue[2] > blue[0] and red[0] > red[2] and white.min() > 240
    assert (pixels[1, 0] == white).all() and (pixels[1, 1] == red).all() and (pixels[1, 2] == blue).all()
