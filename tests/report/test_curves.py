"""The figure of pruning errors: what is drawn where."""

import numpy as np
import pytest

from ardtool.report.curves import pruning_figure
from ardtool.report.figures import save_figure

HALVING = [{"k": k, "mse": None, "output_change": 0.5**k if k < 12 else 0.0} for k in range(1, 13)]


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_one_panel_a_metric_that_was_measured():
    assert len(pruning_figure(HALVING, 3, "title").axes) == 1
    both = [{"k": k, "mse": 1 + 1 / k, "output_change": 1 / k} for k in (1, 2, 3)]
    panels = pruning_figure(both, 2, "title", limits={"mse": 1.6}, noun="channels").axes
    assert [ax.get_ylabel() for ax in panels] == ["mean squared error of reconstructions", "mean squared change of the output"]
    assert {ax.get_xlabel() for ax in panels} == {"number of channels kept"}
    assert labels(panels[0]) == ["kept: 2", "limit: 1.6"]
    assert labels(panels[1]) == ["kept: 2"]


def test_the_chosen_point_and_the_limit_are_where_they_belong():
    (ax,) = pruning_figure(HALVING, 3, "title", limits={"output_change": 0.2}).axes
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["kept: 3"].get_xydata().tolist() == [[3, 0.125]]
    assert set(lines["limit: 0.2"].get_ydata()) == {0.2}
    kept = next(line for line in ax.lines if len(line.get_xdata()) == 10)
    assert kept.get_xdata()[0] == 3


def test_values_over_decades_are_on_a_logarithmic_scale_without_the_zero():
    (ax,) = pruning_figure(HALVING, 3, "title").axes
    assert ax.get_yscale() == "log"
    drawn = np.asarray(ax.lines[0].get_ydata(), dtype=float)
    assert np.isnan(drawn[-1]) and np.isfinite(drawn[:-1]).all()
    assert ax.get_ylim()[0] <= 0.5**11
    (ax,) = pruning_figure([{"k": k, "output_change": 0.3 - 0.02 * k} for k in range(1, 11)], 3, "title").axes
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] == 0


@pytest.mark.parametrize("chosen", [1, 12])
def test_the_first_and_the_last_point_can_be_chosen(chosen, tmp_path):
    figure = pruning_figure(HALVING, chosen, "12 of 12 latent axes kept")
    save_figure(figure, tmp_path / "curve.png")
    (ax,) = figure.axes
    point = next(line for line in ax.lines if line.get_label() == f"kept: {chosen}").get_xydata()[0]
    assert point[0] == chosen
    assert point[1] >= ax.get_ylim()[0]


def test_a_curve_of_zeros_can_be_drawn():
    (ax,) = pruning_figure([{"k": 1, "mse": None, "output_change": 0.0}], 1, "title").axes
    assert ax.get_ylim() == (0, 1.06)
