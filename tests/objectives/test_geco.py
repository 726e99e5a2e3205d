"""GECO-L0-ARM-VAE: an unbiased gate gradient, the multiplier's way, the latch, and the gates in the saved network."""

import itertools

import pytest
import torch

from ardtool.objectives.gates import arm_gradient, fold_scale
from ardtool.objectives.geco import Geco, Options

GAMMA = torch.tensor([0.5, -0.3, 1.2], dtype=torch.float64)
COEFFICIENTS = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def target(gates: torch.Tensor) -> torch.Tensor:
    return (gates @ COEFFICIENTS + 3 * gates.prod(dim=-1)).square()


def estimates(values, gamma, draws: int = 1_000_000, sharpness: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard error of single-draw ARM gradients."""
    u = torch.rand(draws, len(gamma), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probability = torch.sigmoid(sharpness * gamma)
    first, second = (u > 1 - probability).double(), (u < probability).double()
    single = sharpness * (values(first) - values(second))[:, None] * (u - 0.5)
    torch.testing.assert_close(arm_gradient(values(first), values(second), u, sharpness), single.mean(dim=0))
    return single.mean(dim=0), single.std(dim=0) / draws**0.5


def exact(values, gamma, sharpness: float = 1.0) -> torch.Tensor:
    probability = torch.sigmoid(sharpness * gamma)
    total = torch.zeros_like(gamma)
    for bits in itertools.product((0.0, 1.0), repeat=len(gamma)):
        g = torch.tensor(bits, dtype=torch.float64)
        chance = torch.where(g > 0, probability, 1 - probability).prod()
        total += sharpness * chance * values(g[None])[0] * (g - probability)
    return total


@pytest.mark.parametrize("sharpness", [1.0, 7.0])
def test_the_gate_gradient_is_unbiased(sharpness):
    mean, error = estimates(target, GAMMA / sharpness, sharpness=sharpness)
    assert ((mean - exact(target, GAMMA / sharpness, sharpness)).abs() < 4 * error).all()


def test_one_gate_has_its_closed_form_and_a_constant_none():
    gamma = GAMMA[:1]
    mean, error = estimates(lambda g: 2 + 3 * g[:, 0], gamma)
    probability = torch.sigmoid(gamma)
    assert ((mean - probability * (1 - probability) * 3).abs() < 4 * error).all()
    mean, error = estimates(lambda g: torch.full((len(g),), 5.0, dtype=torch.float64), gamma, draws=1000)
    assert mean == 0 and error == 0


def test_one_draw_a_batch_and_one_a_sample_agree_in_the_mean():
    """F of every sample has a factor of its own; u per sample with the sample's own F, u per batch with the mean F."""
    factors = torch.tensor([0.5, 1.0, 3.0, 5.5], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    probability, found = torch.sigmoid(GAMMA), {"batch": [], "example": []}
    for _ in range(20_000):
        u = torch.rand(4, 3, generator=generator, dtype=torch.float64)
        a, b = target((u > 1 - probability).double()), target((u < probability).double())
        found["example"].append(arm_gradient(factors * a, factors * b, u, 1.0))
        found["batch"].append(arm_gradient(factors.mean() * a[:1], factors.mean() * b[:1], u[:1], 1.0))
    truth = factors.mean() * exact(target, GAMMA)
    for values in found.values():
        stacked = torch.stack(values)
        assert ((stacked.mean(dim=0) - truth).abs() < 4 * stacked.std(dim=0) / len(values) ** 0.5).all()


def objective(model, tau: float, **options) -> Geco:
    made = Geco(3, tau=tau, options=Options(**options))
    made.prepare(model)
    return made


def test_lambda_starts_at_one_and_climbs_to_its_bound_while_the_target_is_missed(model):
    made = objective(model, tau=1.0, multiplier_lr=0.1)
    optimiser = torch.optim.Adam([made.multiplier.rho], lr=0.1)
    assert float(made.multiplier.value) == pytest.approx(1)
    values = []
    for _ in range(200):
        made.multiplier.push(torch.tensor(3.0))
        optimiser.step()
        values.append(float(made.multiplier.value))
    assert values == sorted(values) and values[-1] == pytest.approx(20, rel=0.02)
    steps = 0
    while float(made.multiplier.value) >= values[-1] * 0.999:
        made.multiplier.push(torch.tensor(-3.0))
        optimiser.step()
        steps += 1
    assert float(made.multiplier.moving) < 0 < steps  # it falls once the average has crossed zero


def test_the_exponential_form_follows_the_average(model):
    made = objective(model, tau=1.0, multiplier="exponential", multiplier_lr=0.01)
    before = float(made.multiplier.rho.detach())
    with torch.no_grad():
        made.multiplier.push(torch.tensor(2.0))
    assert float(made.multiplier.rho.detach()) - before == pytest.approx(0.02)


def test_gates_wait_for_the_target(model, x):
    made = objective(model, tau=0.01)
    optimisers = made.optimisers(model, 1e-3)
    before = made.gamma.detach().clone()
    for _ in range(3):
        made.step(model, x, torch.Generator().manual_seed(0), optimisers)
        assert made.gamma.grad is not None and not made.gamma.grad.any()
    assert torch.equal(made.gamma.detach(), before) and float(made.reached) == 0
    easy = objective(model, tau=1e6)
    for _ in range(3):
        easy.step(model, x, torch.Generator().manual_seed(0), optimisers[:1] + easy.optimisers(model, 1e-3)[1:])
    assert float(easy.reached) == 1 and easy.gamma.grad is not None and easy.gamma.grad.any()


def test_the_number_of_gates_counts_only_while_the_target_is_met(model, x):
    """With an infinitely patient λ the only difference between both weights is the L0 term."""

    def gradient(tau: float, weight: float) -> torch.Tensor:
        made = objective(model, tau=tau, l0_weight=weight)
        made.reached.fill_(1)
        made.step(model, x, torch.Generator().manual_seed(0), made.optimisers(model, 0.0))
        assert made.gamma.grad is not None
        return made.gamma.grad.clone()

    assert torch.equal(gradient(0.01, 0.0), gradient(0.01, 5.0))
    probability = torch.tensor(0.95)
    torch.testing.assert_close(
        gradient(1e6, 5.0) - gradient(1e6, 0.0), (5 * probability * (1 - probability)).expand(3), rtol=1e-3, atol=1e-4
    )


def test_the_saved_network_has_its_gates_in_the_first_layer(model):
    made = objective(model, tau=1.0)
    with torch.no_grad():
        made.gamma[1] = -1.0
    z = torch.randn(4, 3)
    torch.testing.assert_close(made.finished(model).decode(z), model.decode(z))  # not before the target was met
    made.reached.fill_(1)
    torch.testing.assert_close(made.finished(model).decode(z), model.decode(z * torch.tensor([1.0, 0.0, 1.0])))
    assert made.own_count().axes == [0, 2] and made.own_count().notion == "open gates"
    torch.testing.assert_close(fold_scale(model, torch.tensor([0.5, 2.0, 1.0])).decode(z), model.decode(z * torch.tensor([0.5, 2.0, 1.0])))


def test_a_missed_target_is_said(model):
    made = objective(model, tau=2.0)
    made.multiplier.moving.fill_(0.5)
    own = made.own_count()
    assert own.constraint_met is False and own.reason == "the squared error is 0.5 above its target 2"


@pytest.mark.slow
@pytest.mark.parametrize("gates", ["batch", "example"])
def test_two_true_axes_leave_two_gates_open(gates):
    from torch import nn

    from ardtool.networks.build import NetworkAutoencoder

    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 2)).Q
    data = 4 * torch.randn(4000, 2) @ basis.T
    record = {"input_shape": [6], "latent_dim": 6, "stochastic": True, "output": "identity", "value_range": None, "name": "dense"}
    network = NetworkAutoencoder(record, nn.Sequential(nn.Linear(6, 12)), nn.Sequential(nn.Linear(6, 6)))
    made = Geco(6, tau=1.0, options=Options(gates=gates, gate_lr=0.02))
    made.prepare(network)
    optimisers, generator = made.optimisers(network, 5e-3), torch.Generator().manual_seed(0)
    for _ in range(4000):
        made.step(network, data[torch.randint(4000, (100,), generator=generator)], generator, optimisers)
    own = made.own_count()
    assert len(own.axes) == 2 and own.constraint_met, (own, made.gamma)
