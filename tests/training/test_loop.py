"""The loop: disjoint splits, seeds, resuming bit for bit, and a known answer."""

import copy
import math

import pytest
import torch

from ardtool.autoencoder import Posterior
from ardtool.data.dataset import DataSet
from ardtool.errors import ConfigError, DataError, TrainingError
from ardtool.training.config import config_from
from ardtool.training.loop import TrainingRun, hold_out_size
from ardtool.training.memory import EVALUATION_BATCH
from ardtool.training.resolve import prepare_run, resolved
from ardtool.training.state import flatten_state, unflatten_state

from .runs import small_run

CPU = torch.device("cpu")


def vectors(n=400, rank=2, columns=10, noise=0.05) -> DataSet:
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(columns, rank, generator=generator)).Q
    signal = torch.randn(n, rank, generator=generator) @ basis.T
    return DataSet("vectors", signal + noise * torch.randn(n, columns, generator=generator))


def make_run(data=None, **settings) -> TrainingRun:
    data = vectors() if data is None else data
    return prepare_run(resolved(config_from({"latent": 4, "epochs": 4, **settings}, "test"), data), data, CPU)


def weights(run: TrainingRun) -> list[torch.Tensor]:
    return [value.clone() for value in run.model.state_dict().values()]


@pytest.mark.parametrize(("training", "expected"), [(180, 36), (2700, 540), (50_000, 10_000), (1_000_000, 10_000), (6, 2)])
def test_size_of_the_held_out_part(training, expected):
    assert hold_out_size(10_000, training) == expected


@pytest.mark.parametrize(("samples", "expected"), [(200, 36), (3000, 540)])
def test_size_of_x_alpha_after_the_validation_split(samples, expected):
    assert make_run(vectors(samples)).alpha_size == expected


def test_some_samples_are_all_that_a_run_sees():
    run = make_run(vectors(1000), samples=100)
    assert (len(run.train), len(run.validation), run.alpha_size) == (100, 11, 20)
    held_out, rest = run.split_epoch(0)
    assert set(held_out.tolist()) | set(rest.tolist()) == set(run.train.tolist())
    torch.testing.assert_close(run.data.tensor[run.train].mean(dim=0), torch.zeros(10), atol=1e-5, rtol=0)  # standardised by these alone


def test_default_epochs_make_as_many_steps_of_fewer_samples():
    """4,000 steps on vectors: an epoch of 1,000 samples has (1,000 − 200) / 100 = 8, one of 9,000 has (9,000 − 1,800) / 100 = 72."""
    data = vectors(10_000)
    assert [resolved(config_from({"samples": samples}, "test"), data).epochs for samples in (1000, None)] == [500, 56]


@pytest.mark.parametrize("every", [1, 3])
def test_held_out_codes_never_overlap_the_gradient_samples(every):
    run = make_run(alpha_every=every)
    draws = []
    for epoch in range(6):
        held_out, rest = run.split_epoch(epoch)
        assert not set(held_out.tolist()) & set(rest.tolist())
        assert set(held_out.tolist()) | set(rest.tolist()) == set(run.train.tolist())
        assert not set(run.train.tolist()) & set(run.validation.tolist())
        draws.append(frozenset(held_out.tolist()))
    assert len(set(draws)) == 6 // every


def test_a_seed_repeats_a_run_and_another_does_not():
    first, second, other = make_run(seed=3), make_run(seed=3), make_run(seed=4)
    for run in (first, second, other):
        run.fit(lambda record: None)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(first), weights(other), strict=True))


@pytest.mark.parametrize(
    "settings",
    [{}, {"beta": "auto"}, {"target_mse": 0.01}, {"beta_warmup": 0.5}, {"alpha_every": 3, "lr_patience": 1}, {"prior": "student-t"}],
)
def test_resuming_equals_never_having_stopped(settings):
    straight = make_run(epochs=6, **settings)
    saved = []
    straight.fit(lambda record: saved.append(copy.deepcopy(flatten_state(straight.state()))))
    for tensors, skeleton in saved[:-1]:
        resumed = make_run(epochs=6, **settings)
        resumed.restore(unflatten_state(tensors, skeleton))
        resumed.fit(lambda record: None)
        assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(resumed), strict=True))
        assert [record.validation for record in resumed.history] == [record.validation for record in straight.history]
        first, second = straight.final_codes(), resumed.final_codes()
        assert torch.equal(first.prior.b, second.prior.b)


def test_the_prior_is_estimated_afresh_after_the_last_step():
    run = make_run()
    run.fit(lambda record: None)
    before = run.objective.prior()
    codes = run.final_codes()
    assert not torch.equal(before.b, codes.prior.b)
    assert codes.prior.a == run.alpha_size / 2
    assert len(codes.reference) == len(run.train)


def test_rate_is_halved_after_ten_epochs_without_improvement_by_an_absolute_threshold():
    run = make_run()
    scheduler = run.schedulers[0]
    scheduler.step(1.0)
    for wait in range(1, 25):
        scheduler.step(1.0 - 0.9e-4)  # an improvement, but by less than 1e-4
        assert run.optimisers[0].param_groups[0]["lr"] == pytest.approx(run.lr * 0.5 ** (wait // 10))


def test_every_sample_is_used_once_an_epoch_in_full_batches():
    run = make_run(batch_size=50)
    _, rest = run.split_epoch(0)
    batches = list(run._batches(rest))
    assert all(len(batch) == 50 for batch in batches)
    assert len(batches) == len(rest) // 50
    seen = torch.cat(batches).tolist()
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(rest.tolist())


def test_a_loss_that_is_not_finite_stops_with_its_name():
    run = make_run(lr=0.5, beta=1e30)
    run.data.values[run.train[0]] = 1e30
    with pytest.raises(TrainingError, match=r"is not finite in epoch 1, step 1: exp_avg_sq of encoder\.\d\.weight is inf") as caught:
        run.fit(lambda record: None)  # a gradient of 1e30 is finite, its square in Adam is not
    assert caught.value.hint == "Lower --lr (now 0.5), or choose another --beta."


def test_a_method_without_beta_is_not_advised_to_change_it():
    run = make_run(method="ae", lr=0.5)
    run.data.values[run.train[0]] = 1e30
    with pytest.raises(TrainingError) as caught:
        run.fit(lambda record: None)
    assert caught.value.hint == "Lower --lr (now 0.5), or scale the data, whose values reach 1e+30."


@pytest.mark.parametrize("settings", [{"method": "wae-mmd"}, {"method": "beta-tcvae", "tcvae.estimator": "stratified"}])
def test_methods_that_compare_the_samples_of_a_batch_want_two(settings):
    needs = f"{settings['method']} compares the samples of a batch: it needs at least 2"
    with pytest.raises(ConfigError) as caught:
        make_run(**settings, batch_size=1)
    assert (caught.value.message, caught.value.hint) == (f"{needs}; found --batch-size 1.", "Use --batch-size 2 or more.")
    with pytest.raises(DataError) as refused:
        make_run(vectors(14), **settings)
    assert refused.value.message == f"{needs}, and 'vectors' leaves 1 for validation."
    run = make_run(vectors(15), **settings, batch_size=2)  # two for validation
    run.fit(lambda record: None)
    assert math.isfinite(run.history[-1].validation["loss"])


def test_too_little_or_constant_data():
    with pytest.raises(TrainingError, match="--latent is 400, more latent axes than the 360 training samples"):
        make_run(latent=400)
    with pytest.raises(DataError, match=r"'flat' is constant"):
        make_run(DataSet("flat", torch.zeros(50, 1, 16, 16, dtype=torch.uint8), (0.0, 1.0)))
    with pytest.raises(DataError, match="leaves 3 samples to train on"):
        make_run(vectors(4))


def test_state_survives_flattening():
    state = {"a": torch.arange(3), "list": [1, {"x": torch.ones(2)}, None], 5: {"deep": (True, "s", 1.5)}}
    tensors, skeleton = flatten_state(state)
    import json

    again = unflatten_state(tensors, json.loads(json.dumps(skeleton)))
    assert torch.equal(again["a"], state["a"])
    assert torch.equal(again["list"][1]["x"], torch.ones(2))
    assert again[5] == {"deep": [True, "s", 1.5]}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [2, 5])
def test_linear_data_of_known_rank(rank):
    """Linear-Gaussian data of rank r have r active axes; a third of the default schedule."""
    run = make_run(vectors(2000, rank, 20), latent=10, epochs=100)
    run.fit(lambda record: None)
    run.final_codes()
    assert run.count_active() == rank


def test_validation_data_that_fill_no_batch_leave_no_batch_of_one():
    """WAE-MMD compares the samples of a batch with each other: one alone has no value."""
    run = make_run(vectors(5010), method="wae-mmd")
    assert len(run.validation) == EVALUATION_BATCH + 1
    assert all(math.isfinite(value) for value in run.validation_terms(run.source).values())


def test_axes_are_counted_on_samples_from_all_over_the_validation_data():
    """Data are often sorted, by class or on a grid of factors."""
    run, seen = small_run({"method": "ard-vae"}), []

    def encode(index: torch.Tensor) -> Posterior:
        seen.append(index)
        raise InterruptedError

    run.validation, run.encode = torch.arange(5000), encode  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(InterruptedError):
            run.count_active()
    assert len(seen[0].unique()) == 1000 and torch.equal(*seen)
    for part in (seen[0], seen[0][:100]):  # moments and the Jacobian
        assert part.double().mean() == pytest.approx(2500, abs=600)
