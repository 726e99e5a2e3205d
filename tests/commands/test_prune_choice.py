"""What decides how many axes stay: options, limits in percent, and the search on the curve."""

import math

import pytest

from ardtool.commands.pruning.choice import Choice, CurvePoint, Limit, read_choice, search_curve, smallest_within
from ardtool.errors import ConfigError


def choice(threshold=0.99, keep=None, axes=None, max_output_change=None, max_mse_increase=None) -> Choice:
    return read_choice(threshold, keep, axes, max_output_change, max_mse_increase)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep": 2, "axes": [0]}, "--keep and --axes both choose what stays."),
        ({"keep": 2, "threshold": 0.9}, "--keep and --threshold both choose what stays."),
        ({"max_output_change": "1%", "max_mse_increase": "1%"}, "--max-output-change and --max-mse-increase both choose what stays."),
        ({"axes": [0], "max_output_change": 1.0, "threshold": 0.5}, "--axes, --max-output-change and --threshold all choose what stays."),
    ],
)
def test_choices_exclude_one_another(options, sentence):
    with pytest.raises(ConfigError) as caught:
        choice(**options)
    assert (caught.value.message, caught.value.hint) == (sentence, "Give one of them.")


def test_one_choice_at_a_time():
    assert choice() == Choice(0.99)
    assert choice(threshold=0.9) == Choice(0.9)
    assert choice(keep=3) == Choice(keep=3)
    assert choice(axes=[2, 0]) == Choice(axes=(2, 0))


@pytest.mark.parametrize("given", ["1%", "1 %", " 1.0% ", "0.01", 0.01])
def test_an_increase_in_percent_or_as_a_share_is_the_same(given):
    assert choice(max_mse_increase=given).limit == Limit("mse", 0.01, True)


def test_a_change_in_percent_is_relative_and_a_number_is_absolute():
    assert choice(max_output_change="2%").limit == Limit("output_change", 0.02, True)
    assert choice(max_output_change="0.02").limit == choice(max_output_change=0.02).limit == Limit("output_change", 0.02, False)
    assert choice(max_output_change=0).limit == Limit("output_change", 0.0, False)


@pytest.mark.parametrize("given", ["abc", "-1%", "nan", "inf", "%", "", -0.5])
def test_other_amounts_are_refused(given):
    with pytest.raises(ConfigError) as caught:
        choice(max_mse_increase=given)
    assert caught.value.message == f"--max-mse-increase is '{given}'; expected a share such as 1% or 0.01."
    with pytest.raises(ConfigError, match=r"expected a mean squared difference such as 0.001, or a share such as 1%"):
        choice(max_output_change=given)


def curve(values):
    return [CurvePoint(k, None, value) for k, value in enumerate(values, start=1)]


def within(limit):
    return lambda point: point.output_change <= limit


def test_the_smallest_number_that_stays_within_the_limit_with_all_larger_ones():
    assert smallest_within(curve([5, 3, 2, 1]), within(2)).k == 3
    assert smallest_within(curve([1, 5, 2, 1]), within(2)).k == 3  # 1 is within, but 2 is not
    assert smallest_within(curve([1, 1, 1, 9]), within(2)) is None
    assert smallest_within(curve([0, 0]), within(0)).k == 1
    assert smallest_within(curve([math.nan, math.nan]), within(2)) is None


class Measure:
    """Counts what was measured of a curve."""

    def __init__(self, value):
        self.value, self.asked = value, []

    def __call__(self, numbers):
        self.asked += numbers
        return [CurvePoint(k, None, self.value(k)) for k in numbers]


def test_up_to_64_axes_every_number_is_measured_once():
    measure = Measure(lambda k: 64 - k)
    points = search_curve(64, measure, within(10))
    assert [point.k for point in points] == measure.asked == list(range(1, 65))


@pytest.mark.parametrize("true", [1, 2, 3, 64, 65, 500, 999, 1000])
def test_of_more_axes_bisection_finds_the_number_with_few_measurements(true):
    measure = Measure(lambda k: 0 if k >= true else 1)
    points = search_curve(1000, measure, within(0.5))
    assert smallest_within(points, within(0.5)).k == true
    assert len(measure.asked) == len(set(measure.asked)) <= 26
    assert sorted(measure.asked) == [point.k for point in points]
    if true > 1:
        assert {true - 1, true} <= set(measure.asked)


def test_bisection_ends_where_nothing_is_within_the_limit():
    points = search_curve(100, Measure(lambda _: 1.0), within(0.5))
    assert smallest_within(points, within(0.5)) is None
    assert points[-1].k == 100


def test_a_curve_without_a_limit_reaches_from_one_axis_to_all():
    points = search_curve(300, Measure(lambda k: 1 / k))
    assert (points[0].k, points[-1].k) == (1, 300)
    assert len(points) <= 16
