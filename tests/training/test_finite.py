"""A number that is not finite stops training: the state is that before the step, bit for bit, and the sentence names term and axis."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from ardtool.autoencoder import Posterior
from ardtool.errors import TrainingError
from ardtool.objectives import OBJECTIVES
from ardtool.training.loop import TrainingRun
from ardtool.training.state import flatten_state, unflatten_state

from .runs import everything, pixels, small_run

BAD_STEP = 3  # of the second epoch: an epoch has four
Terms = dict[str, torch.Tensor]


def prepared(settings: dict[str, Any]) -> TrainingRun:
    return small_run(settings, pixels(190))


def terms_of(method: str) -> list[str]:
    run = prepared({"method": method})
    return list(run.objective.losses(run.model, run.source.take(run.train[:30]), torch.Generator()))


EVERY_TERM = [(method, term) for method in OBJECTIVES for term in terms_of(method)]


def at_bad_step(run: TrainingRun) -> tuple[Callable[[torch.Tensor], bool], dict[str, torch.Tensor], list[Any]]:
    """(whether x is the batch of the bad step, the state before that step, checkpoints): by a run that stays whole until there."""
    checkpoints: list[Any] = []
    whole = copy.deepcopy(run)
    whole.config = run.config.__class__(**{**vars(run.config), "epochs": 1})
    whole.fit(lambda record: checkpoints.append(copy.deepcopy(flatten_state(whole.state()))))
    whole.config = run.config
    with whole.computing():
        held_out, rest = whole.split_epoch(1)
        if whole.objective.holds_out_codes:
            whole.learn_prior(held_out, 1)
        whole.model.train()
        batches, noise = whole._batches(rest), torch.Generator().manual_seed(0)
        from ardtool.training.splits import seeded

        noise = seeded(whole.config.seed, 1, "noise")
        for row in batches[: BAD_STEP - 1]:
            whole.stepper.step(whole.source.fetch(row), noise)
    x = whole.source.batch(batches[BAD_STEP - 1])
    return lambda given: given.shape == x.shape and torch.equal(given, x), everything(whole), checkpoints


def stopped(run: TrainingRun, state: dict[str, torch.Tensor], checkpoints: Iterable[Any]) -> str:
    """The sentence, of a run that stands as before its bad step and whose checkpoint continues."""
    kept: list[Any] = []
    with pytest.raises(TrainingError) as caught:
        run.fit(lambda record: kept.append(copy.deepcopy(flatten_state(run.state()))))
    now = everything(run)
    assert {name for name, value in state.items() if not torch.equal(value, now[name])} == set()
    assert set(now) - {"epoch"} >= set(state) - {"epoch"}
    (expected,) = checkpoints
    (found,) = kept  # that of the first epoch, and none after it
    assert all(torch.equal(value, found[0][name]) for name, value in expected[0].items())
    again = prepared({"method": run.config.method})
    again.restore(unflatten_state(*found))
    again.fit(lambda record: None)
    assert again.epoch == 2 and math.isfinite(again.history[-1].training["loss"])
    assert "The last checkpoint is kept." in caught.value.hint
    return caught.value.message


def inject(run: TrainingRun, is_bad: Callable[[torch.Tensor], bool], term: str, value: float) -> None:
    """Let a term become `value` at a batch; what is computed from it too."""
    losses, step = run.objective.losses, run.objective.step

    def broken(terms: Terms) -> Terms:
        found = terms | {term: terms[term] * value}
        return found if term in ("loss", "mse") else found | {"loss": terms["loss"] + terms[term] * value}

    def broken_losses(model: Any, x: torch.Tensor, generator: torch.Generator) -> Terms:
        terms = losses(model, x, generator)
        return broken(terms) if is_bad(x) else terms

    def broken_step(model: Any, x: torch.Tensor, generator: torch.Generator, optimisers: Any) -> Terms:
        terms = step(model, x, generator, optimisers)
        return broken(terms) if is_bad(x) else terms

    run.objective.losses, run.objective.step = broken_losses, broken_step  # type: ignore[method-assign]


@pytest.mark.parametrize(("method", "term"), EVERY_TERM)
def test_nan_in_any_term_of_any_method_stops_before_the_update_and_is_named(method, term):
    run = prepared({"method": method})
    is_bad, state, checkpoints = at_bad_step(run)
    inject(run, is_bad, term, math.nan)
    message = stopped(run, state, checkpoints)
    assert message.startswith(f"The loss is not finite in epoch 2, step {BAD_STEP}: {term} is nan")


@pytest.mark.parametrize("method", ["ard-vae", "wae-gan", "mask-aae", "geco-l0-arm-vae"])
def test_infinity_is_no_better(method):
    run = prepared({"method": method})
    is_bad, state, checkpoints = at_bad_step(run)
    inject(run, is_bad, "reconstruction", math.inf)
    assert stopped(run, state, checkpoints) == f"The loss is not finite in epoch 2, step {BAD_STEP}: reconstruction is inf."


@pytest.mark.parametrize("method", OBJECTIVES)
def test_nan_in_a_gradient_alone_is_named(method):
    run = prepared({"method": method})
    is_bad, state, checkpoints = at_bad_step(run)
    name, weight = next(iter(run.model.named_parameters()))
    now = [False]
    step = run.objective.step

    def watched(model: Any, x: torch.Tensor, generator: torch.Generator, optimisers: Any) -> Terms:
        now[0] = is_bad(x)
        return step(model, x, generator, optimisers)

    run.objective.step = watched  # type: ignore[method-assign]
    weight.register_hook(lambda gradient: gradient * math.nan if now[0] else gradient)
    message = stopped(run, state, checkpoints)
    assert message.startswith(f"The gradient is not finite in epoch 2, step {BAD_STEP}: that of {name} is nan")


@pytest.mark.parametrize("part", ["mean", "log variance"])
@pytest.mark.parametrize("method", ["ard-vae", "beta-tcvae", "geco-l0-arm-vae"])
def test_the_axis_is_named(method, part):
    run = prepared({"method": method})
    is_bad, state, checkpoints = at_bad_step(run)
    encode = run.model.encode

    def broken(x: torch.Tensor) -> Posterior:
        posterior = encode(x)
        if not is_bad(x):
            return posterior
        assert posterior.log_variance is not None
        factor = torch.tensor([1, 1, math.nan])
        if part == "mean":
            return Posterior(posterior.mean * factor, posterior.log_variance)
        return Posterior(posterior.mean, posterior.log_variance * factor)

    run.model.encode = broken  # type: ignore[method-assign]
    assert f"(axis 2: {part} is nan)" in stopped(run, state, checkpoints)


def test_the_axis_of_a_gradient_is_named():
    run = prepared({})
    is_bad, state, checkpoints = at_bad_step(run)
    now, losses = [False], run.objective.losses
    bias = list(run.model.encoder.parameters())[-1]

    def watched(model: Any, x: torch.Tensor, generator: torch.Generator) -> Terms:
        now[0] = is_bad(x)
        return losses(model, x, generator)

    run.objective.losses = watched  # type: ignore[method-assign]
    bias.register_hook(lambda gradient: gradient * torch.tensor([1, 1, 1, 1, math.inf, 1]) if now[0] else gradient)
    assert "(axis 1: its log variance)" in stopped(run, state, checkpoints)


def test_what_does_not_come_again_is_said_to():
    run = prepared({})
    calls, losses = [0], run.objective.losses

    def once(model: Any, x: torch.Tensor, generator: torch.Generator) -> Terms:
        calls[0] += 1
        terms = losses(model, x, generator)
        return terms | {"kl": terms["kl"] * math.nan} if calls[0] == 2 else terms

    run.objective.losses = once  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"in epoch 1, up to step 4: kl is nan, but not when its steps are repeated\.") as caught:
        run.fit(lambda record: None)
    assert "The last checkpoint is kept." not in caught.value.hint  # there is none yet


def test_a_sample_that_is_not_finite_is_named():
    run = prepared({"method": "ae"})
    is_bad, _, _ = at_bad_step(run)
    batch = run.source.batch

    def broken(fetched: torch.Tensor) -> torch.Tensor:
        x = batch(fetched)
        if is_bad(x):
            x[7] = math.nan
        return x

    run.source.batch = broken  # type: ignore[method-assign]
    run.stepper.guard._samples = broken
    with pytest.raises(TrainingError, match=rf"step {BAD_STEP}: .*row 7 of the batch is itself not finite"):
        run.fit(lambda record: None)
