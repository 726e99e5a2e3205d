"""Whether training has come to its end, from what its epochs recorded."""

from __future__ import annotations

import math
import random

import pytest

from ardtool.commands.train_record import LATE_DESCENT, LATE_RATE, warnings_of
from ardtool.training.convergence import count_stood_still, epochs_to_count_after, late_beta, late_descent, late_rate
from ardtool.training.record import EpochRecord

from .runs import small_run


def records(losses: list[float], counts: dict[int, int] | None = None) -> list[EpochRecord]:
    seconds = {"step_seconds": 0.0, "prior_seconds": 0.0, "validation_seconds": 0.0}
    return [
        EpochRecord(epoch, {}, {"loss": loss}, {}, 0.1, 10, **seconds, active=(counts or {}).get(epoch))
        for epoch, loss in enumerate(losses, start=1)
    ]


def test_beta_is_compared_over_the_last_tenth():
    history = records([1.0] * 20)
    for record in history:
        record.state["beta"] = 1 / record.epoch
    assert late_beta(history) == [1 / 18, 1 / 20]
    assert late_beta(history[:1]) is None
    assert late_beta(records([1.0] * 20)) is None


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (None, None),
        ([0.1, 0.096], None),
        ([0.5, 0.4], "β had not settled: it fell from 0.5 to 0.4 over the last tenth of the epochs, so the count may not be final; "),
        ([0.1, 0.1234], "β had not settled: it rose from 0.1 to 0.123 over the last tenth of the epochs, so the count may not be final; "),
    ],
)
def test_a_calibrated_beta_that_still_moves_is_a_warning(late, expected):
    record = {"epochs": 50, "active_trace": [[45, 2], [50, 2]], "converged": True, "late_beta": late, "validation": {"mse": 1.0}}
    found = warnings_of({"target_mse": None}, record)
    assert found == (() if expected is None else (f"{expected}train longer, e.g. --epochs 100 (a run of its own)",))


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


def test_a_slow_descent_after_a_steep_start_is_seen_by_its_rate():
    losses = [1e5 * math.exp(-epoch) + 100 * 0.97**epoch for epoch in range(20)]
    assert late_descent(records(losses)) < LATE_DESCENT < 0.03 < late_rate(records(losses))
    assert late_rate(records([1e-6 * loss for loss in losses])) == pytest.approx(late_rate(records(losses)))


@pytest.mark.parametrize(("epochs", "size"), [(10, 1), (20, 2), (100, 10)])
def test_the_rate_is_that_of_one_epoch(epochs, size):
    assert late_rate(records([100 * 0.98**epoch for epoch in range(epochs)])) == pytest.approx((0.98**-size - 1) / size)


@pytest.mark.parametrize("losses", [[1.0], [1.0, 2.0], [1.0, -2.0], [3.0, *[1.0] * 50, 2.0]])
def test_what_has_no_scale_and_what_does_not_fall_has_no_rate(losses):
    assert late_rate(records(losses)) == 0


@pytest.mark.parametrize(("epochs", "noise", "false", "found"), [(20, 0.01, 0.05, 0.6), (50, 0.01, 0.01, 0.99), (50, 0.03, 0.01, 0.95)])
def test_noise_of_a_loss_is_seldom_taken_for_its_rate(epochs, noise, false, found):
    """Noise of a share of the loss, on one that stands still and on one that falls by 2 % an epoch."""
    draw = random.Random(0)

    def warned(rate: float) -> float:
        curves = [[(1 - rate) ** epoch * (1 + draw.gauss(0, noise)) for epoch in range(epochs)] for _ in range(2000)]
        return sum(late_rate(records(curve)) > LATE_RATE for curve in curves) / len(curves)

    assert warned(0) < false
    assert warned(0.02) > found


@pytest.mark.parametrize(
    ("descent", "rate", "expected"),
    [
        (0.002, 0.009, None),
        (0.002, 0.0181, "by 1.8 % an epoch"),
        (0.03, 0.0181, "the last tenth of the epochs brought 3 % of its descent"),
        (None, None, None),
    ],
)
def test_a_loss_that_still_falls_is_a_warning(descent, rate, expected):
    record = {"epochs": 10, "active_trace": [[9, 8], [10, 8]], "converged": True, "validation": {"mse": 1.0}}
    found = warnings_of({"target_mse": None}, record | {"late_descent": descent, "late_rate": rate})
    told = f"the validation loss was still falling ({expected}), so the count may not be final"
    assert found == (() if expected is None else (f"{told}; train longer, e.g. --epochs 20 (a run of its own)",))


def test_a_loss_whose_weights_change_is_not_judged():
    assert small_run({"method": "ard-vae"}).losses_are_comparable
    assert not small_run({"method": "geco-l0-arm-vae"}).losses_are_comparable
    assert not small_run({"method": "ard-vae", "target_mse": 0.01}).losses_are_comparable
    assert small_run({"method": "ard-vae", "beta_warmup": 0.5}).losses_are_comparable  # those of its end
