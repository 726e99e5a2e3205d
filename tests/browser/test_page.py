"""The page in a real browser: nothing fails, nothing is fetched, and everything that can be touched works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ardtool

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run on small images, with a metric beside it."""
    folder = tmp_path_factory.mktemp("page")
    random = np.random.default_rng(0)
    height, width = np.mgrid[:16, :16]
    x, y = random.uniform(3, 13, (2, 300, 1, 1))
    np.save(folder / "blobs.npy", np.exp(-((height - y) ** 2 + (width - x) ** 2) / 6).astype(np.float32))
    run = ardtool.train(data=str(folder / "blobs.npy"), latent=5, epochs=8, batch_size=50, out=folder / "run")
    ardtool.evaluate(run.model, data=str(folder / "blobs.npy"), metrics=["mse"])
    ardtool.relevance(run.model, data=str(folder / "blobs.npy"), report=folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    named = os.environ.get("ARDTOOL_TEST_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if named is None:
        pytest.skip("needs Chromium: set ARDTOOL_TEST_BROWSER to its path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=named, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[400, 1400])
def page(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Iterator[Any]:
    """The page at a width, that has complained of nothing in the end."""
    context = browser.new_context(viewport={"width": request.param, "height": 900}, offline=True)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(page_file.as_uri())
    yield page
    assert complaints == []
    assert fetched == [page_file.as_uri()]
    context.close()


def test_it_fits_and_every_image_loads(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    widths = page.evaluate("[...document.images].map(image => [image.naturalWidth, image.alt.length])")
    assert len(widths) > 10
    assert all(width > 0 and alt > 0 for width, alt in widths)
    assert page.locator("h1").count() == 1
    assert page.locator("section h2").all_inner_texts()[0] == "How many"


def test_hover_and_keyboard_say_the_numbers(page):
    tip = page.locator("#tip")
    assert not tip.is_visible()
    page.locator("g.mark").first.hover()
    assert tip.is_visible()
    assert "% of the score" in tip.inner_text()
    assert "±" in tip.inner_text()
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"]
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("g.mark").nth(1).focus()
    assert tip.is_visible()
    page.locator("circle.mark").last.hover(force=True)
    assert "epoch" in tip.inner_text()


@pytest.mark.parametrize("key", ["score", "kl", "variance", "axis", "state"])
def test_the_table_is_sorted_by_its_headings(page, key):
    head = page.locator(f"table.sortable th[data-key={key}]")
    head.locator("button").focus()
    seen = []
    for _ in range(2):
        page.keyboard.press("Enter")
        column = page.evaluate("key => [...document.querySelectorAll('table.sortable th')].findIndex(th => th.dataset.key === key)", key)
        values = page.evaluate(
            "column => [...document.querySelectorAll('table.sortable tbody tr')].map(row => row.cells[column].dataset.value)", column
        )
        order = head.get_attribute("aria-sort")
        numbers = values if key == "state" else [float(value) for value in values]
        assert numbers == sorted(numbers, reverse=order == "descending")
        assert page.locator("th[aria-sort]").count() == 1
        seen.append(order)
    assert sorted(seen) == ["ascending", "descending"]


def test_the_slider_shows_other_reconstructions(page):
    slider, shown = page.locator("#k"), page.locator("#by-k > div:visible")
    assert shown.count() == 1
    last = int(slider.get_attribute("max"))
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator("#k-shown").inner_text() == "1"
    assert shown.get_attribute("data-k") == "1"
    first = shown.locator("img").get_attribute("src")
    page.keyboard.press("End")
    assert shown.count() == 1
    assert page.locator("#k-shown").inner_text() == page.locator(".k-shown").inner_text() == shown.get_attribute("data-k")
    assert int(shown.get_attribute("data-k")) == last + 1
    assert shown.locator("img").get_attribute("src") != first


def test_dark_and_print(page):
    light = page.evaluate("getComputedStyle(document.body).color")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") != light
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("table.sortable").is_visible()
