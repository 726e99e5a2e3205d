"""Mixtures: what is drawn has the mixture's moments, parts and maps of it are exact, and a fit keeps the codes' moments."""

import pytest
import torch

from ardtool.autoencoder import Posterior
from ardtool.latent.codes import LatentCodes
from ardtool.latent.mixture import Mixture
from ardtool.latent.sampling import draw_codes
from ardtool.latent.statistics import CodeStatistics


def moments(mixture: Mixture) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of the whole mixture, by the law of total covariance."""
    mean = mixture.weights @ mixture.means
    deviations = mixture.means - mean
    between = torch.einsum("k,ki,kj->ij", mixture.weights, deviations, deviations)
    return mean, between + torch.einsum("k,kij->ij", mixture.weights, mixture.covariances)


@pytest.fixture
def mixture(generator) -> Mixture:
    roots = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    means = 3 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    return Mixture(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, roots @ roots.mT)


def test_draws_have_the_moments_of_the_mixture(mixture, generator):
    z = mixture.sample(200_000, generator)
    mean, covariance = moments(mixture)
    error = (covariance.diag() / len(z)).sqrt()
    assert ((z.mean(dim=0) - mean).abs() < 5 * error).all()
    scale = covariance.diag().sqrt()
    assert ((z.T.cov(correction=0) - covariance).abs() < 0.02 * scale * scale[:, None]).all()


def test_each_component_is_drawn_as_often_as_its_weight_says_and_has_its_own_shape():
    far = Mixture(
        torch.tensor([0.25, 0.75], dtype=torch.float64),
        torch.tensor([[-100.0, 0.0], [100.0, 0.0]], dtype=torch.float64),
        torch.tensor([[[1.0, 0.9], [0.9, 1.0]], [[4.0, 0.0], [0.0, 0.0]]], dtype=torch.float64),
    )
    z = far.sample(40_000, torch.Generator().manual_seed(0))
    first = z[z[:, 0] < 0]
    assert abs(len(first) / len(z) - 0.25) < 4 * (0.25 * 0.75 / len(z)) ** 0.5
    assert torch.corrcoef(first.T)[0, 1] == pytest.approx(0.9, abs=0.02)
    assert (z[z[:, 0] > 0][:, 1] == 0).all()  # a singular covariance is no obstacle


def test_a_marginal_and_a_map_commute_with_the_moments(mixture):
    mean, covariance = moments(mixture)
    marginal = moments(mixture.axes([2, 0]))
    torch.testing.assert_close(marginal, (mean[[2, 0]], covariance[[2, 0]][:, [2, 0]]))
    readout = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(
        moments(mixture.mapped(mixture.means @ readout.T, readout)), (readout @ mean, readout @ covariance @ readout.T)
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_fit_keeps_mean_and_covariance_whatever_the_scale(generator, scale):
    """Each step of expectation-maximisation ends with components whose total moments are those of the data, plus the millionth."""
    z = scale * torch.cat([torch.randn(300, 3, generator=generator), 4 + torch.randn(200, 3, generator=generator)]).double()
    mean, covariance = moments(Mixture.fit(z, seed=0))
    total = z.T.cov(correction=0)
    torch.testing.assert_close(mean, z.mean(dim=0), rtol=1e-9, atol=1e-9 * scale)
    torch.testing.assert_close(covariance, total + 1e-6 * total.diag().mean() * torch.eye(3), rtol=1e-6, atol=1e-9 * scale**2)


def test_a_sampler_prefers_the_mixture_that_the_codes_carry(mixture):
    z = torch.randn(200, 4, generator=torch.Generator().manual_seed(2))
    codes = LatentCodes(CodeStatistics.of(z), Posterior(z), mixture=mixture)
    drawn = draw_codes(codes, 50, "gmm", [0, 1, 2, 3], torch.Generator().manual_seed(3))
    assert torch.equal(drawn, mixture.sample(50, torch.Generator().manual_seed(3)).float())
