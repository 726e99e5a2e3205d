"""Figures of comparisons: a point an axis, a line a run, a bar a group, and nothing outside the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ardtool.latent.relevance import AxisRelevance
from ardtool.report.comparisons import Measured, bars_figure, shares_figure, variance_figure
from ardtool.report.figures import save_figure


def axes(scores: list[float], active: int) -> list[AxisRelevance]:
    one = AxisRelevance(0, 1.0, 1.0, 1.0, 0.1, 0.5, 0.5, True, None, 1.0, "relevant")
    variances = np.random.default_rng(0).uniform(0.01, 10, len(scores)).tolist()
    return [
        replace(one, axis=k, score=score, score_stderr=score / 10, variance=variance, active=k < active)
        for k, (score, variance) in enumerate(zip(scores, variances, strict=True))
    ]


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("scores", [[3.0], [5.0, 1.0, 1e-3, 0.0], [0.0, 0.0], [1.0] * 60])
def test_a_point_for_each_axis(scores):
    given = axes(scores, 2)
    (ax,) = variance_figure(given, "title").axes
    points = np.concatenate([container.lines[0].get_xydata() for container in ax.containers])
    assert sorted(points[:, 0]) == pytest.approx(sorted(axis.variance for axis in given))
    assert (points[:, 1] > 0).all()
    assert max(points[:, 1]) == pytest.approx(max(max(scores), points[:, 1].min()))
    assert texts(ax) == ([str(axis.axis) for axis in given] if len(given) <= 40 else [])


def test_a_line_for_each_run_and_a_colour_for_each_name():
    runs = [("a", [0.5, 0.3, 0.2]), ("b", [0.1, 0.9]), ("a", [0.2, 0.4, 0.4])]
    (ax,) = shares_figure(runs, 0.99, "title").axes
    *lines, level = ax.get_lines()
    assert [line.get_ydata().tolist() for line in lines] == [
        pytest.approx([0, 0.5, 0.8, 1.0]), pytest.approx([0, 0.9, 1.0]), pytest.approx([0, 0.4, 0.8, 1.0])
    ]  # fmt: skip
    assert lines[0].get_color() == lines[2].get_color() != lines[1].get_color()
    assert level.get_ydata()[0] == 0.99
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "threshold: 99 %"]
    assert ax.get_xlim() == (0, 3)


def test_long_runs_are_shown_where_something_happens():
    (ax,) = shares_figure([("a", [0.25] * 4 + [0.0] * 508)], 0.99, "title").axes
    assert 8 <= ax.get_xlim()[1] <= 20


def test_a_bar_for_each_group():
    panels = [Measured("count", [(6.0, 0.5, 5), (3.0, None, 1)]), Measured("error", [(0.1, 0.01, 5), (None, None, 0)])]
    figure = bars_figure(["one", "a name that is longer than the others by far"], panels, "title")
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [6.0, 3.0]
    assert texts(left) == ["6", "3"]
    assert texts(right) == ["0.1", "not measured"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["one", "a name that is longer than the others by far"]
    assert left.get_xlim()[1] > 6.5
    figure.canvas.draw()
    assert left.get_yticklabels()[1].get_window_extent().x0 >= 0, "the name is in the picture"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_files(tmp_path, suffix):
    for number, figure in enumerate((variance_figure(axes([1.0, 2.0], 1), "t"), shares_figure([("a", [1.0])], 0.99, "t"))):
        path = Path(tmp_path / f"{number}{suffix}")
        save_figure(figure, path)
        assert path.stat().st_size > 1000
        if suffix == ".png":
            assert Image.open(path).width > 400
