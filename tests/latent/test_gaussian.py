"""Laws of Eq. 17."""

import math

import torch
from torch.distributions import Normal, kl_divergence

from ardtool.latent.gaussian import gaussian_log_density, kl_to_gaussian

F64 = torch.float64


def test_zero_iff_posterior_equals_prior():
    prior = torch.tensor([0.3, 2.0, 7.0], dtype=F64)
    mean, log_variance = torch.zeros(1, 3, dtype=F64), prior.log()[None]
    torch.testing.assert_close(kl_to_gaussian(mean, log_variance, prior), torch.zeros(1, 3, dtype=F64))
    assert (kl_to_gaussian(mean + 0.1, log_variance, prior) > 0).all()
    assert (kl_to_gaussian(mean, log_variance + 0.1, prior) > 0).all()
    assert (kl_to_gaussian(mean, log_variance - 0.1, prior) > 0).all()


def test_matches_torch_distributions():
    mean, log_variance = torch.randn(50, 4, dtype=F64), torch.randn(50, 4, dtype=F64)
    prior = torch.rand(4, dtype=F64) + 0.1
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(4, dtype=F64), prior.sqrt()))
    torch.testing.assert_close(kl_to_gaussian(mean, log_variance, prior), expected)


def test_equals_the_vae_kl_under_a_unit_prior():
    mean, log_variance = torch.randn(50, 4, dtype=F64), torch.randn(50, 4, dtype=F64)
    vae = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1)
    torch.testing.assert_close(kl_to_gaussian(mean, log_variance, torch.ones(4, dtype=F64)), vae)


def test_log_density_matches_torch_distributions():
    z, variance = torch.randn(50, 4, dtype=F64), torch.rand(4, dtype=F64) + 0.1
    torch.testing.assert_close(gaussian_log_density(z, variance), Normal(torch.zeros(4, dtype=F64), variance.sqrt()).log_prob(z))


def test_known_values_under_a_unit_prior():
    one, zero = torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64)
    assert kl_to_gaussian(one, zero, one[0]).item() == 0.5
    assert math.isclose(kl_to_gaussian(zero, zero + math.log(4), one[0]).item(), 0.806853, abs_tol=1e-6)


def test_invariant_to_rescaling_an_axis():
    mean, log_variance, prior = torch.randn(20, 3, dtype=F64), torch.randn(20, 3, dtype=F64), torch.rand(3, dtype=F64) + 0.1
    scale = torch.tensor([1e-3, 5.0, 300.0], dtype=F64)
    scaled = kl_to_gaussian(mean * scale, log_variance + 2 * scale.log(), prior * scale**2)
    torch.testing.assert_close(scaled, kl_to_gaussian(mean, log_variance, prior))


def test_gradients_and_none_into_the_prior():
    mean = torch.randn(5, 3, dtype=F64, requires_grad=True)
    log_variance = torch.randn(5, 3, dtype=F64, requires_grad=True)
    prior = (torch.rand(3, dtype=F64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, v: kl_to_gaussian(m, v, prior), (mean, log_variance))
    kl_to_gaussian(mean, log_variance, prior).sum().backward()
    assert prior.grad is None
    torch.testing.assert_close(mean.grad, mean.detach() / prior.detach())
