"""Numbers over long runs, the same result each time, and what is restored and recorded of torch's settings."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import ardtool
from ardtool.autoencoder import Posterior
from ardtool.commands.train_record import warnings_of
from ardtool.errors import TrainingError
from ardtool.latent.gaussian import kl_to_gaussian
from ardtool.latent.precision import VARIANCE_RANGE, GammaPosterior, clamped_axes
from ardtool.networks.build import LOG_VARIANCE_RANGE
from ardtool.objectives.ard_vae import ArdVae
from ardtool.storage.model_file import load_model
from ardtool.training.precision import deterministic_algorithms, float32_settings

from .runs import CPU, small_run


def test_axes_at_the_bounds_of_the_prior_variance_are_counted():
    variance = torch.tensor([1e-8, 1e-9, 0.5, 1e8, 1.0, 1e20]).clamp(*VARIANCE_RANGE)
    assert clamped_axes(variance) == (2, 2)
    objective = ArdVae(3, beta=1.0, data_variance=1.0, mse_floor=1e-6)
    objective.set_prior(GammaPosterior(5.0, torch.tensor([0.0, 1.0, 1e60], dtype=torch.float64)))
    summary = objective.summary()
    assert (summary["prior_clamped_low"], summary["prior_clamped_high"]) == (1.0, 1.0)
    assert bool(objective.prior_b.isfinite().all())


def test_a_warning_says_how_many_axes_are_held_at_a_bound():
    record = {"epochs": 9, "active_trace": [[1, 2], [2, 2]], "converged": True, "clamped_axes": [1, 3]}
    low, high = warnings_of({"target_mse": None}, record | {"validation": {"mse": 1.0}})
    assert low.startswith("the prior variance of 1 axis was held at its lower bound, 1e-08, after the last epoch; prior_clamped_low in")
    assert high.startswith("the prior variance of 3 axes was held at its upper bound, 1e+08, after the last epoch; prior_clamped_high in")


def test_a_prior_is_not_learned_from_codes_that_are_not_finite():
    run = small_run({})
    prior = run.objective.state_dict()["prior_variance"].clone()
    run.encode = lambda index: Posterior(torch.zeros(4, 3), torch.tensor([0.0, math.nan, 0.0]).expand(4, 3))  # type: ignore[method-assign]
    with pytest.raises(TrainingError) as caught:
        run.fit(lambda record: None)
    assert caught.value.message == ("The codes that the prior is learned from are not finite in epoch 1: axis 1: log variance is nan.")
    assert torch.equal(prior, run.objective.state_dict()["prior_variance"])


@pytest.mark.parametrize("scale", [0.5, 2.0, 1.0])
def test_the_prior_of_a_collapsed_axis_stays_within_its_bounds_however_long_it_drifts(scale):
    """A collapsed axis follows its prior, and the prior follows it: any factor between two updates is taken to a power."""
    objective = ArdVae(2, beta=1.0, data_variance=1.0, mse_floor=1e-6)
    for _ in range(2_000):
        variance = objective.prior_variance * scale
        codes = variance.sqrt() * torch.tensor([[1.0], [-1.0]]).expand(2, 2)
        objective.set_prior(objective.hyperprior.updated(codes))
        log_variance = objective.prior_variance.log().clamp(*LOG_VARIANCE_RANGE).expand(2, 2)
        assert bool(kl_to_gaussian(codes, log_variance, objective.prior_variance).isfinite().all())
    low, high = VARIANCE_RANGE
    assert float(objective.prior_variance[0]) == pytest.approx({0.5: low, 2.0: high, 1.0: 1.0}[scale], rel=1e-3)


@pytest.mark.parametrize("log_variance", LOG_VARIANCE_RANGE)
@pytest.mark.parametrize("prior", VARIANCE_RANGE)
def test_kl_and_its_gradient_are_finite_at_the_ends_of_all_ranges(log_variance, prior):
    mean, v = torch.full((1, 1), 100.0, requires_grad=True), torch.full((1, 1), log_variance, requires_grad=True)
    kl = kl_to_gaussian(mean, v, torch.tensor([prior]))
    kl.sum().backward()
    assert mean.grad is not None and v.grad is not None
    assert all(bool(each.isfinite().all()) for each in (kl, mean.grad, v.grad))


def test_moments_of_a_collapsed_axis_neither_vanish_into_nan_nor_overflow():
    """The gradient of a collapsed axis is tiny and changes sign for ever; its square is far below float32. After 20,000 updates
    Adam's averages, which remember a thousand, have long come to their end.
    """
    weight = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.Adam([weight], lr=1e-3, eps=1e-7, fused=True)
    weight.grad = torch.empty(2)
    for step in range(20_000):
        sign = 1 if step % 2 else -1
        weight.grad.copy_(torch.tensor([1e-30 * sign, 1e18 * sign]))
        optimiser.step()
    tensors = [weight, *(value for value in optimiser.state[weight].values())]
    assert all(bool(each.isfinite().all()) for each in tensors)
    assert float(weight.detach()[0].abs()) < 1e-20  # a gradient of nothing moves nothing


def test_determinism_is_asked_for_and_given_back(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.benchmark

    def fail() -> None:
        with deterministic_algorithms(True):
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.backends.cudnn.benchmark
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
            assert float32_settings("fp32", CPU)["deterministic"]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == before
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with deterministic_algorithms(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_a_variable_that_the_user_set_is_kept(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with deterministic_algorithms(True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize(("precision", "matmul", "tf32"), [("fp32", "highest", False), ("tf32", "high", True), ("bf16", "highest", False)])
def test_the_record_of_a_gpu_states_what_its_steps_used(precision, matmul, tf32):
    found = float32_settings(precision, torch.device("cuda", 0))
    assert (found["float32_matmul_precision"], found["cudnn_allow_tf32"]) == (matmul, tf32)


def test_a_model_file_states_its_settings_and_the_switch_is_off_again(tmp_path):
    result = ardtool.train(data="sprites-2", latent=2, epochs=1, samples=300, out=tmp_path / "run", device="cpu", deterministic=True)
    record = load_model(result.model).metadata["training"]
    assert record["deterministic"] is True
    assert record["float32_matmul_precision"] == "highest"
    assert record["cudnn_allow_tf32"] is None
    assert record["threads"] == torch.get_num_threads()
    assert record["clamped_axes"] == [0, 0]
    assert not torch.are_deterministic_algorithms_enabled()


def test_two_processes_with_one_seed_have_one_result(tmp_path):
    paths, options = (
        [tmp_path / name / "model.safetensors" for name in ("first", "second")],
        "--data sprites-2 --latent 2 --epochs 2 --samples 300 --device cpu --seed 3 --json",
    )
    for path in paths:
        command = [sys.executable, "-m", "ardtool", "train", *options.split(), "--out", str(path.parent)]
        subprocess.run(command, check=True, capture_output=True)
    first, second = map(load_file, paths)  # weights, moments, prior and reference codes
    assert list(first) == list(second)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    metadata = [load_model(path).metadata for path in paths]
    clock = ("seconds", "samples_per_second", "finished")
    for each in metadata:
        each["training"] = {key: value for key, value in each["training"].items() if key not in clock}
        each.pop("content_sha256", None)
    assert metadata[0] == metadata[1]
