"""Precision: what is lowered, what stays float32, and that all is put back."""

from __future__ import annotations

import copy
import statistics
from contextlib import suppress

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ardtool.data.dataset import DataSet
from ardtool.errors import ConfigError
from ardtool.training.config import config_from
from ardtool.training.precision import resolved_precision

from .runs import CPU, METHODS, everything, name_of, pixels, small_run

CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("wanted", "capability", "expected"),
    [("auto", (7, 5), "fp32"), ("auto", (8, 0), "bf16"), ("auto", (9, 0), "bf16"), ("tf32", (8, 6), "tf32"), ("fp32", (9, 0), "fp32")],
)
def test_what_auto_is_on_a_gpu(monkeypatch, wanted, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolved_precision(wanted, CUDA) == expected


def test_what_auto_is_elsewhere():
    assert [resolved_precision(wanted, CPU) for wanted in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]
    assert resolved_precision("auto", torch.device("mps")) == "fp32"
    assert small_run({}).config.precision == "fp32"


@pytest.mark.parametrize(("wanted", "device"), [("tf32", CPU), ("tf32", CUDA), ("bf16", CUDA)])
def test_arithmetic_that_a_device_does_not_have(monkeypatch, wanted, device):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ConfigError) as caught:
        resolved_precision(wanted, device)
    assert caught.value.message == f"--precision {wanted} needs a GPU of compute capability 8.0; this is {device}."


@pytest.mark.parametrize("settings", METHODS, ids=name_of)
def test_losses_and_posteriors_are_float32_in_every_method(settings):
    run = small_run({"precision": "bf16"} | settings)
    x = run.source.take(run.train[:24])
    with run.computing():
        posterior = run.model.encode(x)
        terms = run.objective.step(run.model, x, torch.Generator().manual_seed(0), run.optimisers)
    tensors = [posterior.mean, *([] if posterior.log_variance is None else [posterior.log_variance]), *terms.values()]
    assert {value.dtype for value in tensors} == {torch.float32}
    assert all(torch.isfinite(value).all() for value in terms.values())
    assert {value.dtype for value in everything(run).values()} <= {torch.float32, torch.float64, torch.int64}


class NoFloat64(TorchDispatchMode):
    """Fails where an operation gives float64, which Apple's GPUs do not have."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert all(leaf.dtype != torch.float64 for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)), func
        return result


# the constant of the Student-t is in float64 wherever the device has it
@pytest.mark.parametrize("settings", [settings for settings in METHODS if settings.get("prior") != "student-t"], ids=name_of)
def test_no_step_needs_float64(settings):
    run = small_run(settings)
    x = run.source.take(run.train[: 30 * (1 + run.objective.further_batches)])
    with NoFloat64():
        run.objective.step(run.model, x, torch.Generator().manual_seed(0), run.optimisers)


def test_layers_are_lowered_and_the_heads_are_not():
    """The encoder's last layer sees values of 8 bits and gives values of 24; without autocast nothing is rounded."""
    run = small_run({"arch": "conv", "precision": "bf16"}, pixels(channels=3))
    seen = {}
    for part, layers in (("encoder", run.model.encoder), ("decoder", run.model.decoder)):
        for name, layer in layers.named_children():
            layer.register_forward_hook(lambda module, inputs, output, key=f"{part}.{name}": seen.update({key: output.dtype}))
    x = run.source.take(run.train[:24])
    with run.computing():
        run.model.decode(run.model.encode(x).mean)
    head = f"encoder.{len(run.model.encoder) - 1}"
    assert seen.pop(head) == torch.float32
    assert set(seen.values()) == {torch.bfloat16}
    run.model.decode(run.model.encode(x).mean)
    assert set(seen.values()) == {torch.float32}


def test_batch_normalisation_keeps_float32_statistics():
    layer = torch.nn.BatchNorm2d(3)
    x = 1000 + torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x.bfloat16())
    assert out.dtype == torch.bfloat16
    assert layer.running_mean is not None and layer.running_mean.dtype == torch.float32
    exact = x.bfloat16().float().mean(dim=(0, 2, 3))
    torch.testing.assert_close(layer.running_mean, 0.1 * exact, rtol=1e-5, atol=0)  # bfloat16 itself would be off by 2e-3


def test_everything_is_put_back():
    run = small_run({"precision": "bf16"})
    with suppress(KeyError), run.computing():
        assert run.model.execution is not None
        raise KeyError
    assert run.model.execution is None
    run.fit(lambda record: None)
    assert run.model.execution is None


def test_precision_makes_another_run_and_compilation_does_not():
    from ardtool.commands.train_identity import identity_of

    runs = [small_run(settings) for settings in ({}, {"compile": "off"}, {"precision": "bf16"})]
    plain, uncompiled, lowered = (identity_of(run.config, run.data) for run in runs)
    assert plain == uncompiled
    assert plain["precision"] == "fp32" and lowered["precision"] == "bf16"


@pytest.mark.parametrize(("value", "expected"), [(True, "on"), (False, "off"), ("auto", "auto")])
def test_yaml_reads_on_and_off_as_truth_values(value, expected):
    assert config_from({"compile": value}, "run.yaml").compile == expected


def test_resuming_in_bfloat16_equals_never_having_stopped():
    from ardtool.training.state import flatten_state, unflatten_state

    straight, saved = small_run({"precision": "bf16"}), []
    straight.fit(lambda record: saved.append(copy.deepcopy(flatten_state(straight.state()))))
    resumed = small_run({"precision": "bf16"})
    resumed.restore(unflatten_state(*saved[0]))
    resumed.fit(lambda record: None)
    assert all(torch.equal(a, b) for a, b in zip(everything(straight).values(), everything(resumed).values(), strict=True))


@pytest.mark.slow
def test_bfloat16_learns_what_float32_learns():
    """Data of rank 3: three active axes in both, and losses that differ by far less than those of two seeds."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(12, 3, generator=generator)).Q
    values = torch.randn(2000, 3, generator=generator) @ basis.T + 0.05 * torch.randn(2000, 12, generator=generator)
    losses: dict[str, list[float]] = {}
    for precision in ("fp32", "bf16"):
        for seed in range(3):
            settings = {"latent": 8, "epochs": 30, "batch_size": 50, "seed": seed, "precision": precision}
            run = small_run(settings, DataSet("vectors", values))
            run.fit(lambda record: None)
            run.final_codes()
            assert run.count_active() == 3
            losses.setdefault(precision, []).append(run.history[-1].validation["loss"])
    differences = [abs(a - b) for a, b in zip(losses["fp32"], losses["bf16"], strict=True)]
    assert max(differences) < 0.1 * statistics.stdev(losses["fp32"])
