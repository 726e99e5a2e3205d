"""σ-VAE: the likelihood in closed form, and its kinship with the β-VAE."""

import math

import pytest
import torch

from ardtool.objectives.sigma_vae import SigmaVae, gaussian_nll
from ardtool.objectives.vae import Vae

D = 64
FLOOR = 1e-6


def test_a_constant_error_is_its_own_sigma():
    delta = 0.3
    error = torch.tensor(D * delta**2, dtype=torch.float64)
    log_sigma = torch.tensor(math.log(delta), dtype=torch.float64)
    assert float(gaussian_nll(error, log_sigma, D)) == pytest.approx(D / 2 * (1 + math.log(2 * math.pi * delta**2)))


def test_the_optimal_sigma_is_the_root_of_the_mean_squared_error(terms):
    found = terms(SigmaVae(D, floor=FLOOR))
    assert float(found["sigma"].detach()) == pytest.approx(math.sqrt(float(found["mse"])), rel=1e-4)


def test_twice_the_scale_shifts_the_likelihood_alone():
    error, log_sigma = torch.tensor(5.0, dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64)
    shift = gaussian_nll(4 * error, log_sigma + math.log(2), D) - gaussian_nll(error, log_sigma, D)
    assert float(shift) == pytest.approx(D * math.log(2))


def test_gradients_are_those_of_the_beta_vae_over_twice_the_variance(model, x):
    sigma = 0.4
    shared = SigmaVae(D, floor=FLOOR, variance="shared")
    with torch.no_grad():
        shared.log_sigma.fill_(math.log(sigma))

    def gradients(objective) -> torch.Tensor:
        model.zero_grad()
        objective.losses(model, x, torch.Generator().manual_seed(0))["loss"].backward()
        return torch.cat([value.grad.flatten() for value in model.parameters()])

    torch.testing.assert_close(2 * sigma**2 * gradients(shared), gradients(Vae(beta=2 * sigma**2)), rtol=1e-3, atol=1e-4)


def test_sigma_never_falls_below_the_floor(terms):
    found = terms(SigmaVae(D, floor=10.0))
    assert float(found["sigma"].detach()) >= 10


@pytest.mark.parametrize(("variance", "moves"), [("shared", True), ("optimal", False)])
def test_only_the_shared_sigma_is_learned(model, x, variance, moves):
    objective = SigmaVae(D, floor=FLOOR, variance=variance)
    optimisers = objective.optimisers(model, 1e-2)
    for _ in range(3):
        objective.step(model, x, torch.Generator().manual_seed(0), optimisers)
    assert (float(objective.log_sigma.detach()) != 0) is moves
