"""Whether training has come to its end, from what its epochs recorded."""

from __future__ import annotations

import math

import pytest

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
    assert 0.1 <= share <= 0.112


def test_what_has_ended_or_rises_is_not_late():
    assert late_descent(records([math.exp(-epoch) for epoch in range(100)])) < 1e-9
    assert late_descent(records([3.0, *[1.0] * 50, 2.0])) == 0
    assert late_descent(records([1.0])) == 0
    noisy = [100 * math.exp(-epoch) + 2 + 0.1 * (-1) ** epoch for epoch in range(100)]
    assert late_descent(records(noisy)) < 1e-3, "noise of the loss is no descent"


def test_a_loss_whose_weights_change_is_not_judged():
    assert small_run({"method": "ard-vae"}).loss_is_the_same
    assert not small_run({"method": "geco-l0-arm-vae"}).loss_is_the_same
    assert not small_run({"method": "ard-vae", "target_mse": 0.01, "epochs": 2}).loss_is_the_same
