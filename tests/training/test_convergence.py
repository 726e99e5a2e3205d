"""Whether training has come to its end, from what its epochs recorded."""

from __future__ import annotations

import math
import random

import pytest

from ardtool.commands.train_record import LATE_DESCENT
from ardtool.training.convergence import count_stood_still, epochs_to_count_after, late_descent
from ardtool.training.record import EpochRecord

from .runs import small_run


def records(losses: list[float], counts: dict[int, int] | None = None) -> list[EpochRecord]:
    seconds = {"step_seconds": 0.0, "prior_seconds": 0.0, "validation_seconds": 0.0}
    return [
        EpochRecord(epoch, {}, {"loss": loss}, {}, 0.1, 10, **seconds, active=(counts or {}).get(epoch))
        for epoch, loss in enumerate(losses, start=1)
    ]


def test_axes_are_counted_over_the_last_tenth():
    assert epochs_to_count_after(100) == {90, 95, 100}
    assert epochs_to_count_after(5) == {4, 5}
    assert epochs_to_count_after(1) == {1}


@pytest.mark.parametrize(("counts", "expected"), [({9: 4, 10: 4}, True), ({9: 5, 10: 4}, False), ({10: 4}, False)])
def test_a_count_stands_still_where_there_are_two_and_they_are_equal(counts, expected):
    assert count_stood_still(records([1.0] * 10, counts)) == expected


@pytest.mark.parametrize("epochs", [10, 20, 100, 1000])
def test_a_steady_fall_is_a_tenth_late_whatever_its_scale_and_offset(epochs):
    share = late_descent(records([5 - 3e4 * epoch for epoch in range(epochs)]))
    assert share == pytest.approx(late_descent(records([-epoch for epoch in range(epochs)])))
    assert share == pytest.approx(1 / 9, rel=0.2)


@pytest.mark.parametrize("first", [1e6, -1e6])
def test_the_first_loss_may_be_anything(first):
    slow = [math.exp(-epoch / 30) for epoch in range(100)]
    assert late_descent(records([first, *slow[1:]])) == pytest.approx(late_descent(records(slow)))


def test_what_has_ended_or_rises_is_not_late():
    assert late_descent(records([math.exp(-epoch) for epoch in range(100)])) < 1e-9
    assert late_descent(records([3.0, *[1.0] * 50, 2.0])) == 0
    assert late_descent(records([1.0])) == 0
    assert late_descent(records([2.0, 1.0])) == 1


@pytest.mark.parametrize(("epochs", "false", "found"), [(20, 0.1, 0.7), (100, 0.02, 0.99)])
def test_noise_is_seldom_taken_for_a_descent_and_a_descent_seldom_for_noise(epochs, false, found):
    """Noise of 1 % of the descent, on a loss that has ended and on one that falls by a factor of e over all epochs."""
    draw = random.Random(0)

    def warned(rate: float) -> float:
        noise = 0.01 * math.exp(-rate * epochs / 10)
        curves = [[math.exp(-epoch * rate) + draw.gauss(0, noise) for epoch in range(epochs)] for _ in range(2000)]
        return sum(late_descent(records(curve)) > LATE_DESCENT for curve in curves) / len(curves)

    assert warned(20 / epochs) < false
    assert warned(1 / epochs) > found


def test_a_loss_whose_weights_change_is_not_judged():
    assert small_run({"method": "ard-vae"}).losses_are_comparable
    assert not small_run({"method": "geco-l0-arm-vae"}).losses_are_comparable
    assert not small_run({"method": "ard-vae", "target_mse": 0.01}).losses_are_comparable
