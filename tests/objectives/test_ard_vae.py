"""The ARD-VAE objective: scale of its terms, where gradients go, how β is chosen."""

import pytest
import torch

from ardtool.autoencoder import Posterior
from ardtool.latent.gaussian import kl_to_gaussian
from ardtool.networks.build import architecture_record, build_network
from ardtool.objectives.ard_vae import ArdVae


@pytest.fixture
def model():
    return build_network(architecture_record("auto", (1, 8, 8), 3, value_range=(0.0, 1.0)), 0)


@pytest.fixture
def x():
    return torch.rand(10, 1, 8, 8)


def objective(**options) -> ArdVae:
    return ArdVae(3, **({"beta": 0.5, "data_variance": 0.08, "mse_floor": 1e-5} | options))


def terms(objective, model, x):
    return objective.losses(model, x, torch.Generator().manual_seed(0))


def test_loss_is_summed_error_plus_beta_times_kl(model, x):
    posterior = model.encode(x)
    reconstruction = model.decode(posterior.sample(torch.Generator().manual_seed(0)))
    found = terms(objective(), model, x)
    torch.testing.assert_close(found["reconstruction"], (reconstruction - x).square().flatten(1).sum(1).mean())
    torch.testing.assert_close(found["kl"], kl_to_gaussian(posterior.mean, posterior.log_variance, torch.ones(3)).sum(1).mean())
    torch.testing.assert_close(found["mse"], (reconstruction - x).square().mean())
    torch.testing.assert_close(found["loss"], found["reconstruction"] + 0.5 * found["kl"])


def test_bernoulli_is_cross_entropy_on_logits(model, x):
    found = terms(objective(likelihood="bernoulli"), model, x)
    p = model.decode(model.encode(x).sample(torch.Generator().manual_seed(0)))
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1).mean()
    torch.testing.assert_close(found["reconstruction"], expected, rtol=1e-4, atol=1e-4)


def test_no_gradient_reaches_the_prior(model, x):
    ard = objective()
    ard.prior_variance.requires_grad_()
    terms(ard, model, x)["loss"].backward()
    assert ard.prior_variance.grad is None
    assert not list(ard.parameters())


def test_learned_prior_enters_the_kl(model, x):
    ard = objective()
    z = torch.tensor([[1.0, 0.0, 3.0], [-1.0, 0.0, 3.0]])
    ard.update_prior(Posterior(z, torch.full_like(z, -30.0)), torch.Generator().manual_seed(0))
    torch.testing.assert_close(ard.prior_variance, torch.tensor([1.0, 1e-8, 9.0]))
    assert ard.prior().a == 1.0
    posterior = model.encode(x)
    torch.testing.assert_close(ard.kl(posterior), kl_to_gaussian(posterior.mean, posterior.log_variance, ard.prior_variance))


def test_hyperprior_rao_blackwell_and_location():
    posterior = Posterior(torch.zeros(4, 3), torch.zeros(4, 3))
    ard = objective(prior_a0=2.0, prior_b0=1.0, prior_mean=1.0, rao_blackwell=True)
    ard.update_prior(posterior, torch.Generator())
    assert ard.prior().a == 4.0
    torch.testing.assert_close(ard.prior().b, torch.full((3,), 1.0 + 0.5 * 4 * 2, dtype=torch.float64))  # (0-1)² + 1 = 2 each


def test_student_t_prior_tends_to_the_gaussian_with_many_codes(model, x):
    posterior = model.encode(x)
    z = Posterior(torch.randn(20_000, 3), torch.full((20_000, 3), -30.0))
    kls = []
    for kind in ("gaussian", "student-t"):
        ard = objective(prior=kind)
        ard.update_prior(z, torch.Generator().manual_seed(0))
        kls.append(ard.kl(posterior))
    torch.testing.assert_close(kls[0], kls[1], rtol=0, atol=1e-3)
    few = objective(prior="student-t")
    few.update_prior(z.rows(slice(0, 4)), torch.Generator().manual_seed(0))
    assert (few.kl(posterior) - kls[0]).abs().max() > 1e-2


def test_auto_beta_is_twice_the_running_error_with_a_floor(model, x):
    ard = objective(beta="auto")
    assert float(ard.beta) == pytest.approx(0.16)
    optimisers = ard.optimisers(model, 1e-3)
    errors = [float(ard.step(model, x, torch.Generator().manual_seed(k), optimisers)["mse"]) for k in range(3)]
    running = 0.08
    for error in errors:
        running += 0.01 * (error - running)
    assert float(ard.beta) == pytest.approx(2 * running, rel=1e-5)
    floored = objective(beta="auto", data_variance=1e-9, mse_floor=10.0)
    floored.step(model, x, torch.Generator(), optimisers)
    assert float(floored.beta) == 20


def test_target_mse_steers_beta_and_then_holds_it():
    ard = objective(beta=0.2, target_mse=0.01)
    ard.end_epoch({"mse": 0.0144}, 0.1)
    assert float(ard.beta) == pytest.approx(0.2 / 1.2)  # the root of the ratio
    ard.end_epoch({"mse": 1.0}, 0.2)
    assert float(ard.beta) == pytest.approx(0.2 / 1.2 / 1.5)  # the step is limited
    ard.end_epoch({"mse": 0.5}, 0.76)
    assert float(ard.beta) == pytest.approx(0.2 / 1.2 / 1.5)  # three quarters are over
    assert [ard.is_stationary(progress) for progress in (0.1, 0.75, 0.76)] == [False, False, True]
    for _ in range(100):
        ard.end_epoch({"mse": 1.0}, 0.1)
    assert float(ard.beta) == pytest.approx(2e-5)  # not below what can be seen
    assert objective().is_stationary(0.1)


def test_beta_warms_up_and_then_stands():
    ard, betas = objective(beta=0.8, beta_warmup=0.3, epochs=10), []
    for epoch in range(1, 11):
        betas.append(float(ard.beta))
        ard.end_epoch({"mse": 1.0}, epoch / 10)
    assert betas == pytest.approx([0.2, 0.4, 0.6, *[0.8] * 7])
    assert [ard.is_stationary(epoch / 10) for epoch in (1, 3, 4, 10)] == [False, False, True, True]
    assert ard.likelihood_beta({}) == pytest.approx(0.8)


def test_a_warm_up_of_less_than_half_an_epoch_is_none():
    ard = objective(beta=0.8, beta_warmup=0.04, epochs=10)
    assert float(ard.beta) == pytest.approx(0.8) and ard.is_stationary(0.1)


def test_a_step_descends(model, x):
    ard = objective()
    optimisers = ard.optimisers(model, 1e-2)
    before = terms(ard, model, x)["loss"].item()
    for _ in range(20):
        ard.step(model, x, torch.Generator().manual_seed(0), optimisers)
    assert terms(ard, model, x)["loss"].item() < 0.9 * before
