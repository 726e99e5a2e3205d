"""The step: plain and on fixed memory it is the same, it never waits for the host, and what fails falls back and says why."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ardtool.data.dataset import DataSet
from ardtool.data.dsprites_render import open_dsprites_render
from ardtool.data.shapes3d_render import open_shapes3d_render
from ardtool.training.capture import Backend, Rates, Snapshot
from ardtool.training.loop import TrainingRun
from ardtool.training.resident import BatchSource
from ardtool.training.state import flatten_state, match_parameters, unflatten_state
from ardtool.training.step import Stepper

from .runs import CPU, METHODS, everything, name_of, pixels, small_run

META = torch.device("meta")


class Eager:
    """Runs the body itself where a CUDA graph would replay it, on the same fixed memory."""

    def __init__(self, warm_up: Exception | None = None, capture: Exception | None = None) -> None:
        self.failures = {"warm_up": warm_up, "capture": capture}
        self.captures = 0

    def warm_up(self, body: Callable[[], None]) -> None:
        for _ in range(3):
            body()
        self._fail("warm_up")

    def capture(self, body: Callable[[], None], noise: torch.Generator) -> Callable[[], object]:
        self._fail("capture")
        self.captures += 1
        return body

    def _fail(self, where: str) -> None:
        if (error := self.failures[where]) is not None:
            raise error


def with_backend(run: TrainingRun, backend: Backend, tell: Callable[[str], None] = lambda text: None) -> TrainingRun:
    run.stepper = Stepper(run.model, run.objective, run.optimisers, run.source, run.config.compile, backend, tell)
    return run


def fitted(run: TrainingRun) -> dict[str, torch.Tensor]:
    run.fit(lambda record: None)
    return everything(run)


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert list(first) == list(second)
    different = [name for name, value in first.items() if not torch.equal(value, second[name])]
    assert not different


@pytest.mark.parametrize("settings", METHODS, ids=name_of)
def test_a_step_on_fixed_memory_is_the_plain_step(settings):
    plain, static = small_run(settings), with_backend(small_run(settings), Eager())
    assert_same(fitted(plain), fitted(static))
    assert (plain.stepper.kind, static.stepper.kind) == ("plain", "captured")
    assert [record.training for record in plain.history] == [record.training for record in static.history]


@pytest.mark.parametrize("settings", [{"beta": "auto", "lr_patience": 1}, {"method": "geco-l0-arm-vae"}], ids=name_of)
def test_a_resumed_step_on_fixed_memory_is_that_of_a_run_that_never_stopped(settings):
    straight, saved = with_backend(small_run(settings), Eager()), []
    straight.fit(lambda record: saved.append(copy.deepcopy(flatten_state(straight.state()))))
    resumed, backend = small_run(settings), Eager()
    with_backend(resumed, backend)
    resumed.stepper.prepare(resumed.train[:30])
    resumed.restore(unflatten_state(*saved[0]))
    assert_same(everything(straight), fitted(resumed))
    assert backend.captures == 2  # what was captured before knew other moments


@pytest.mark.parametrize("place", ["device", "host"])
def test_indices_and_bytes_are_both_fixed_inputs(place):
    plain, static = small_run({}), small_run({})
    for run in (plain, static):
        run.source = BatchSource(run.data, CPU, place)
    assert_same(fitted(plain), fitted(with_backend(static, Eager())))


@pytest.mark.parametrize("failure", ["warm_up", "capture"])
def test_what_cannot_be_captured_runs_plainly_and_says_why(failure):
    told: list[str] = []
    error = RuntimeError("operation not permitted when stream is capturing\nmore about it")
    run = with_backend(small_run({"beta": "auto"}), Eager(**{failure: error}), told.append)
    assert_same(fitted(small_run({"beta": "auto"})), fitted(run))
    assert told == ["steps are not captured as a CUDA graph: operation not permitted when stream is capturing"]
    assert run.stepper.kind == "plain"


def test_off_captures_nothing():
    backend = Eager()
    run = with_backend(small_run({"compile": "off"}), backend)
    run.fit(lambda record: None)
    assert (run.stepper.kind, backend.captures) == ("plain", 0)


class Watch(TorchDispatchMode):
    """Notes operators by name, and those that touch a tensor of the CPU beside the device of a step."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.foreign: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.append(str(func))
        tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)]
        if any(each.device != META and each.ndim for each in tensors):  # numbers of Python come as tensors without dimensions
            self.foreign.append(str(func))
        return result


WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")


@pytest.mark.parametrize("backend", [None, Eager()], ids=["plain", "captured"])
@pytest.mark.parametrize("settings", METHODS, ids=name_of)
def test_no_step_reads_a_number_from_the_device(settings, backend):
    run = small_run(settings)
    with_backend(run, backend)
    run.model.train()
    batches = run._batches(run.train)
    run.stepper.prepare(batches[0])
    run.stepper.start(torch.Generator().manual_seed(0))
    with Watch() as watch:
        run.stepper.run(batches)
    assert len(watch.names) > 20
    assert not [name for name in watch.names if name.split(".")[1] in WAITING]


@pytest.mark.parametrize("settings", METHODS, ids=name_of)
def test_all_that_a_step_touches_lies_on_its_device(settings):
    """On the meta device reading a number fails, and a copy from the CPU, which a GPU would be waited for, shows."""
    run = small_run(settings)
    run.model.train().to(META)
    run.objective.to(META)
    optimisers = run.objective.optimisers(run.model, 1e-3, fused=False)
    x = torch.empty((1 + run.objective.further_batches) * 20, *run.data.shape, device=META)
    run.objective.step(run.model, x, torch.Generator(), optimisers)  # tables are made once, moments too
    with Watch() as watch:
        run.objective.step(run.model, x, torch.Generator(), optimisers)
    assert len(watch.names) > 20
    assert not watch.foreign


@pytest.mark.parametrize("opened", [open_dsprites_render, open_shapes3d_render])
def test_images_are_drawn_on_the_device_alone(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())  # it does not know the meta device
    source = BatchSource(opened(tmp_path, "train"), META, "drawn")
    index = torch.empty(20, dtype=torch.int64, device=META)
    source.batch(index)
    with Watch() as watch:
        assert source.batch(index).device == META
    assert not watch.foreign


def test_a_snapshot_puts_everything_back():
    run = small_run({"method": "wae-gan"})
    x = run.source.take(run.train[:30])
    for steps_before in (0, 1):
        before = copy.deepcopy(everything(run))
        snapshot = Snapshot((run.model, run.objective), run.optimisers)
        run.objective.step(run.model, x, torch.Generator(), run.optimisers)
        snapshot.restore()
        after = everything(run)
        fresh = {name: torch.zeros_like(value) for name, value in after.items() if name not in before}
        assert bool(fresh) == (steps_before == 0)
        assert_same(before | fresh, after)
        run.objective.step(run.model, x, torch.Generator(), run.optimisers)


def test_rates_are_tensors_while_steps_run_and_numbers_otherwise():
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.Adam([weight], lr=0.5, fused=True)
    rates, seen = Rates([optimiser], CPU), []
    group = optimiser.param_groups[0]
    for rate in (0.5, 0.25):
        group["lr"] = rate
        with rates.in_use():
            seen.append(group["lr"])
            assert group["capturable"] and float(group["lr"]) == rate
            weight.grad = torch.ones(3)
            optimiser.step()
        assert group["lr"] == rate and isinstance(group["lr"], float) and not group["capturable"]
    assert seen[0] is seen[1]
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.25))  # Adam moves by the rate where the gradient stays


def test_restored_moments_are_laid_out_as_their_parameters():
    weight = torch.nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    optimiser = torch.optim.Adam([weight])
    weight.grad = torch.randn_like(weight)
    optimiser.step()
    state = optimiser.state_dict()
    moments = state["state"][0]
    moments["exp_avg"] = moments["exp_avg"].contiguous()
    optimiser.load_state_dict(state)
    expected = optimiser.state[weight]["exp_avg"].clone()
    match_parameters(optimiser)
    assert optimiser.state[weight]["exp_avg"].stride() == weight.stride()
    assert torch.equal(optimiser.state[weight]["exp_avg"], expected)


def test_progress_is_told_after_every_step_and_terms_are_means():
    run, told = small_run({}), []
    run.model.train()
    noise = torch.Generator().manual_seed(0)
    batches = run._batches(run.train)
    expected = copy.deepcopy(run)
    run.stepper.prepare(batches[0])
    run.stepper.start(noise)
    assert run.stepper.run(batches, after_step=lambda done, steps: told.append((done, steps))) == 3
    assert told == [(1, 3), (2, 3), (3, 3)]
    noise.manual_seed(0)
    losses = [float(expected.objective.step(expected.model, run.data.batch(row), noise, expected.optimisers)["loss"]) for row in batches]
    assert run.stepper.totals()["loss"] == pytest.approx(sum(losses), rel=1e-6)


def test_layers_that_cannot_be_compiled_run_as_they_are_and_say_why(monkeypatch):
    def broken(module: torch.nn.Module) -> Callable[..., Any]:
        def run(x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no C++ compiler found\nset CXX")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    run, told = small_run({"compile": "on"}), []
    run.tell = told.append
    assert_same(fitted(small_run({})), fitted(run))
    assert told == ["layers are not compiled: no C++ compiler found"]
    assert run.stepper.kind == "plain"


def test_compiled_layers_are_used_for_steps_alone(monkeypatch):
    calls = []

    def compiled(module: torch.nn.Module) -> Callable[..., Any]:
        def run(x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return module(x)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    run = small_run({"compile": "on"}, pixels(200))
    assert_same(fitted(small_run({}, pixels(200))), fitted(run))
    assert set(calls) == {30}
    assert run.stepper.kind == "compiled"


@pytest.mark.slow
def test_really_compiled_layers_learn_what_plain_ones_do():
    data = DataSet("vectors", torch.randn(200, 6, generator=torch.Generator().manual_seed(0)))
    told: list[str] = []
    compiled, plain = small_run({"compile": "on"}, data), small_run({}, data)
    compiled.tell = told.append
    compiled.fit(lambda record: None)
    plain.fit(lambda record: None)
    if told:
        pytest.skip(f"no compiler here: {told[0]}")
    assert compiled.stepper.kind == "compiled"
    assert compiled.history[-1].validation["loss"] == pytest.approx(plain.history[-1].validation["loss"], rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("settings", METHODS, ids=name_of)
def test_on_a_gpu_every_method_is_captured_and_learns_what_plain_steps_do(settings, precision):
    cuda, told = torch.device("cuda", 0), []
    runs = [small_run({"precision": precision, "compile": compile} | settings, device=cuda) for compile in ("auto", "off")]
    for run in runs:
        run.tell = told.append
        run.fit(lambda record: None)
    captured, plain = runs
    assert (captured.stepper.kind, plain.stepper.kind, told) == ("captured", "plain", [])
    assert captured.source.place == "device"
    for name, value in captured.history[-1].validation.items():
        assert value == pytest.approx(plain.history[-1].validation[name], rel=0.02, abs=1e-3)
    saved = copy.deepcopy(flatten_state(captured.state()))
    again = small_run({"precision": precision} | settings, device=cuda)
    again.restore(unflatten_state(*saved))
    assert_same(everything(captured), everything(again))


def test_layers_are_not_compiled_in_several_processes(monkeypatch):
    """One that fails to compile would leave out the trial step, and with it a meeting of all."""
    run, told = small_run({"compile": "on"}), []
    assert run.compile == "on"
    monkeypatch.setattr(type(run.processes), "size", 2)
    run.tell = told.append
    assert run.compile == "off"
    assert run.stepper._compile == "off"
    assert told == ["layers are not compiled in several processes: each would have to succeed"]
