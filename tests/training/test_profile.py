"""The profile: FLOPs in closed form, shares that sum to 1, a run that is left as it was, and checkpoints that cost little."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ardtool.commands import train_checkpoints
from ardtool.commands.train import _fit
from ardtool.commands.train_checkpoints import Checkpoints
from ardtool.data.dataset import DataSet
from ardtool.training.interruption import Interruption
from ardtool.training.profile import flops_per_sample, matrix_rate, peak_bytes, profile, time_shares
from ardtool.training.record import EpochRecord, Stopwatch

from .runs import CPU, everything, small_run

PHASES = ("step", "prior", "validation", "checkpoint", "other")


def vectors(columns: int = 6) -> DataSet:
    return DataSet("vectors", torch.randn(120, columns, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_flops_of_a_linear_network(precision):
    """Encoder D → 2L and decoder L → D: a product costs 2 D 2L, its gradients as much for weights and, of the decoder, for inputs."""
    columns, latent = 6, 3
    run = small_run({"arch": "linear", "precision": precision}, vectors(columns))
    encoder, decoder = 2 * columns * 2 * latent, 2 * latent * columns
    assert flops_per_sample(run) == 2 * encoder + 3 * decoder


def test_flops_of_a_method_that_takes_further_batches_count_them_all():
    """MaskAAE's step is that of an autoencoder, then seven passes through the encoder and one through the decoder, two with gradients."""
    plain = flops_per_sample(small_run({"method": "ae"}, vectors()))
    assert flops_per_sample(small_run({"method": "mask-aae"}, vectors())) > 2 * plain


def test_counting_leaves_the_run_as_it_was():
    run, other = small_run({"method": "wae-gan"}), small_run({"method": "wae-gan"})
    run.model.eval()
    flops_per_sample(run)
    assert not run.model.training
    for each in (run, other):
        each.fit(lambda record: None)
    first, second = everything(run), everything(other)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_profile_is_consistent():
    run = small_run({})
    run.fit(lambda record: None)
    found = profile(run, run.history)
    assert found["steps"] == "plain" and found["data"] == "memory" and found["precision"] == "fp32" and found["device"] == "cpu"
    assert found["flops_per_second"] == pytest.approx(found["flops_per_sample"] * found["samples_per_second"])
    assert found["utilisation"] == pytest.approx(found["flops_per_second"] / found["matrix_flops_per_second"])
    assert set(found["shares"]) == set(PHASES) and sum(found["shares"].values()) == pytest.approx(1)
    assert matrix_rate(run) > 0 and (peak_bytes(CPU) or 1) > 0


def test_shares_are_those_of_the_whole_time():
    seconds = [{f"{phase}_seconds": float(factor * value) for value, phase in enumerate(PHASES, start=1)} for factor in (1, 3)]
    records = [EpochRecord(1, {}, {}, {}, 0.1, 10, **each) for each in seconds]
    assert time_shares(records) == pytest.approx({phase: value / 15 for value, phase in enumerate(PHASES, start=1)})


def test_the_phases_of_a_lap_make_up_its_time(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 10.0, 20.0, 21.0, 30.0])
    monkeypatch.setattr("ardtool.training.record.time.perf_counter", lambda: next(clock))
    watch = Stopwatch()  # at 0
    with watch.phase("prior"):  # from 1 to 3
        pass
    watch.add("step", 5.0)
    first = watch.lap()  # at 10
    with watch.phase("checkpoint"):  # from 20 to 21
        pass
    second = watch.lap()  # at 30
    none = {f"{phase}_seconds": 0.0 for phase in PHASES}
    assert first == none | {"prior_seconds": 2.0, "step_seconds": 5.0, "other_seconds": 3.0}
    assert second == none | {"checkpoint_seconds": 1.0, "other_seconds": 19.0}


def test_checkpoints_take_no_more_than_a_hundredth_of_the_time(monkeypatch):
    """A checkpoint takes 0.5 s, an epoch 10 s: after one, 50 s pass before the next. The last epoch has one in any case."""
    now, written = [0.0], []
    monkeypatch.setattr(train_checkpoints.time, "monotonic", lambda: now[0])
    folder = SimpleNamespace(write_checkpoint=lambda *arguments: now.__setitem__(0, now[0] + 0.5), write_history=lambda history: None)
    checkpoints = Checkpoints(run := small_run({"epochs": 15}), folder, {}, 10, Interruption(), print)  # pyright: ignore[reportArgumentType]

    def fit(after_epoch, after_step, **saving):
        for _ in range(15):
            now[0] += 10
            run.epoch += 1
            before = now[0]
            after_epoch(None)
            if now[0] > before:
                written.append(run.epoch)

    monkeypatch.setattr(run, "fit", fit)
    _fit(run, checkpoints, None)
    assert written == [1, 6, 11, 15]
