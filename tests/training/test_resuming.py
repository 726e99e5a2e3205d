"""A run that is saved and continued between any two steps does what one does that never stopped, bit for bit, whatever the method."""

import copy

import pytest
import torch

from ardtool.training.loop import TrainingRun
from ardtool.training.state import flatten_state, unflatten_state

from .runs import METHODS, everything, name_of, small_run

Saved = tuple[dict[str, torch.Tensor], object]


def saving_everywhere(run: TrainingRun) -> list[Saved]:
    """Fit a run; its states after every step but the last of each epoch, and after every epoch."""
    states: list[Saved] = []

    def save(*_: object) -> None:
        states.append(copy.deepcopy(flatten_state(run.state())))

    run.fit(save, is_save_due=lambda: True, save=save)
    return states


def lines(run: TrainingRun) -> list[dict[str, object]]:
    """The history without times."""
    return [{name: value for name, value in record.to_dict().items() if not name.endswith("seconds")} for record in run.history]


def fitted(settings: dict[str, object], state: Saved | None = None) -> TrainingRun:
    run = small_run(settings)
    if state is not None:
        run.restore(unflatten_state(*state))
    run.fit(lambda record: None)
    return run


@pytest.mark.parametrize("settings", [*METHODS, {"beta": "auto", "lr_patience": 1}, {"alpha_every": 2}], ids=name_of)
def test_saved_after_any_step_and_continued(settings):
    straight = fitted(settings)
    states = saving_everywhere(small_run(settings))
    assert len(states) >= 4  # two epochs of at least two steps
    for state in states[:-1]:
        resumed = fitted(settings, state)
        expected, found = everything(straight), everything(resumed)
        assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
        assert lines(resumed) == lines(straight)


def test_saving_changes_nothing():
    straight, saved = fitted({}), small_run({})
    saving_everywhere(saved)
    assert all(torch.equal(value, everything(saved)[name]) for name, value in everything(straight).items())
    assert lines(saved) == lines(straight)


@pytest.fixture
def clock(monkeypatch):
    """The watch's clock as a list of one number of seconds, which stands still but for what a test adds."""
    now = [0.0]
    monkeypatch.setattr("ardtool.training.record.time.perf_counter", lambda: now[0])
    return now


def test_times_of_an_epoch_go_on_where_they_stopped(clock):
    state = saving_everywhere(small_run({}))[0]
    partial = unflatten_state(*state)["partial"]
    partial["seconds"] = {"step": 100.0, "prior": 10.0, "validation": 0.0, "checkpoint": 1.0, "all": 120.0}
    run = small_run({})
    run.restore(unflatten_state(*state) | {"partial": partial})
    run.fit(lambda record: None)
    first, second = run.history
    assert (first.step_seconds, first.prior_seconds, first.checkpoint_seconds, first.other_seconds) == (100, 10, 1, 9)
    assert second.step_seconds == second.other_seconds == 0


def test_the_time_of_steps_ends_when_their_sums_are_known(monkeypatch, clock):
    """A GPU returns from a step before it is done; reading the sums waits for it."""
    run = small_run({})
    totals = type(run.stepper).totals

    def slow(stepper) -> dict[str, float]:
        clock[0] += 0.5
        return totals(stepper)

    monkeypatch.setattr(type(run.stepper), "totals", slow)
    run.fit(lambda record: None)
    assert all((record.step_seconds, record.other_seconds) == (0.5, 0) for record in run.history[1:])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("settings", [{}, {"method": "wae-gan"}], ids=name_of)
def test_on_a_gpu_captured_steps_go_on_from_the_middle_of_an_epoch(settings):
    """Sums, and noise from the state that was saved; the arithmetic of GPUs is not promised to the last bit."""
    cuda = torch.device("cuda", 0)
    straight = small_run(settings, device=cuda)
    states = saving_everywhere(straight)
    for state in states[:-1]:
        resumed = small_run(settings, device=cuda)
        resumed.restore(unflatten_state(*state))
        resumed.fit(lambda record: None)
        assert resumed.stepper.kind == "captured"
        for expected, found in zip(lines(straight), lines(resumed), strict=True):
            assert found["training"] == pytest.approx(expected["training"], rel=1e-3, abs=1e-5)
            assert found["validation"] == pytest.approx(expected["validation"], rel=1e-3, abs=1e-5)
