"""WAE-GAN: the losses of a known critic, and who learns from what."""

import math

import pytest
import torch

from ardtool.objectives.wae_gan import WaeGan


def objective(**options) -> WaeGan:
    torch.manual_seed(0)
    return WaeGan(3, **({"weight": 10.0, "reconstruction": 0.05, "units": 16} | options))


def undecided(made: WaeGan) -> WaeGan:
    with torch.no_grad():
        made.critic[-1].weight.zero_()
        made.critic[-1].bias.zero_()
    return made


def weights(module) -> list[torch.Tensor]:
    return [value.detach().clone() for value in module.parameters()]


def test_an_undecided_critic_costs_log_two(terms):
    made = undecided(objective())
    found = terms(made)
    assert float(found["adversarial"].detach()) == pytest.approx(math.log(2))
    assert float(found["critic"]) == pytest.approx(2 * math.log(2))
    torch.testing.assert_close(found["loss"], 0.05 * found["reconstruction"] + 10 * found["adversarial"])


def test_with_the_prior_in_the_logit_the_optimum_is_exact():
    """T = log p − log q for q = N(0, s²): the sum of both cross-entropies is then 2 log 2 − 2 JS, and no other T does better."""
    made, s = undecided(objective(p_trick=True)), 2.0

    def with_network(scale: float) -> float:
        generator = torch.Generator().manual_seed(0)
        z = s * torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
        prior = torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
        made.logits = lambda z: -0.5 * z.square().sum(1) + scale * (0.5 * z.square().sum(1) / s**2 + 3 * math.log(s))
        return float(made.critic_loss(z, prior))

    best = with_network(1.0)
    assert all(with_network(scale) > best for scale in (0.8, 0.9, 1.1, 1.2))


def test_the_logit_has_the_log_density_of_the_prior():
    z = torch.randn(5, 3)
    plain, tricked = undecided(objective()), undecided(objective(p_trick=True))
    torch.testing.assert_close(tricked.logits(z) - plain.logits(z), -0.5 * z.square().sum(1))


class Never(torch.optim.SGD):
    """Leaves parameters and gradients as they are."""

    def step(self, closure=None):
        return None


def gradients(module) -> list[torch.Tensor]:
    return [value.grad.clone() for value in module.parameters()]


def test_neither_loss_reaches_the_other_network(model, x):
    made = objective()
    made.step(model, x, torch.Generator().manual_seed(0), [Never(model.parameters(), 0.1), Never(made.critic.parameters(), 0.1)])
    of_model, of_critic = gradients(model), gradients(made.critic)
    for module in (model, made.critic):
        module.zero_grad()
    generator = torch.Generator().manual_seed(0)
    made.losses(model, x, generator)["loss"].backward()
    torch.testing.assert_close(of_model, gradients(model))
    made.critic.zero_grad()
    z = model.encode(x).mean.detach()
    (made.weight * made.critic_loss(z, torch.randn(z.shape, generator=generator))).backward()
    torch.testing.assert_close(of_critic, gradients(made.critic))


def test_a_step_changes_both_networks(model, x):
    made = objective()
    before = weights(made.critic), weights(model)
    made.step(model, x, torch.Generator().manual_seed(0), made.optimisers(model, 1e-3))
    after = weights(made.critic), weights(model)
    for one, other in zip(before, after, strict=True):
        assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))
