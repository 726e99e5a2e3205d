"""β-TCVAE: both estimators of the total correlation against closed forms and a brute-force sum."""

import math

import pytest
import torch

from ardtool.objectives.beta_tcvae import BetaTcVae, log_densities, stratified_log_weights, total_correlation
from ardtool.objectives.vae import Vae

B, N, L = 20, 200, 4


def posteriors(batch: int = B, latent_dim: int = L, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(batch, latent_dim, generator=generator, dtype=torch.float64)
    log_variance = 0.5 * torch.randn(batch, latent_dim, generator=generator, dtype=torch.float64) - 1
    z = mean + torch.exp(0.5 * log_variance) * torch.randn(batch, latent_dim, generator=generator, dtype=torch.float64)
    return z, mean, log_variance


def weighted_with_constants(densities: torch.Tensor, samples: int) -> float:
    batch, latent_dim = len(densities), densities.shape[2]
    return float(total_correlation(densities, samples, "weighted")) + (latent_dim - 1) * math.log(samples * batch)


def test_densities_are_those_of_torch():
    z, mean, log_variance = posteriors()
    normal = torch.distributions.Normal(mean[None], torch.exp(0.5 * log_variance)[None])
    torch.testing.assert_close(log_densities(z, mean, log_variance), normal.log_prob(z[:, None]))


def test_equal_posteriors_have_no_total_correlation():
    z, mean, log_variance = posteriors()
    densities = log_densities(z, mean[:1].expand(B, L), log_variance[:1].expand(B, L))
    assert weighted_with_constants(densities, N) == pytest.approx((L - 1) * math.log(N))
    assert float(total_correlation(densities, N, "weighted")) == pytest.approx((1 - L) * math.log(B))
    assert float(total_correlation(densities, N, "stratified")) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("batch", "samples"), [(2, 7), (5, 100), (20, 200), (100, 50_000)])
def test_stratified_weights_sum_to_one_in_every_row_with_the_own_code_on_the_diagonal(batch, samples):
    weights = stratified_log_weights(batch, samples).exp()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(batch, dtype=torch.float64))
    torch.testing.assert_close(weights.diagonal(), torch.full((batch,), 1 / samples, dtype=torch.float64))


def test_a_batch_larger_than_the_training_set_counts_as_all_of_it():
    """Validation data may be more than the training data."""
    torch.testing.assert_close(stratified_log_weights(20, 5), stratified_log_weights(20, 20))


def test_one_axis_has_no_total_correlation():
    densities = log_densities(*posteriors(latent_dim=1))
    assert float(total_correlation(densities, N, "weighted")) == pytest.approx(0, abs=1e-12)
    assert float(total_correlation(densities, N, "stratified")) == pytest.approx(0, abs=1e-12)


def test_a_batch_of_all_data_is_exact():
    """LSE_i(·) − log B is then the density of the aggregate posterior: a mixture, summed here by brute force."""
    z, mean, log_variance = posteriors()
    densities = log_densities(z, mean, log_variance)
    own = densities.exp()
    joint = own.prod(dim=2).mean(dim=1).log()
    marginals = own.mean(dim=1).log().sum(dim=1)
    exact = float((joint - marginals).mean())
    assert float(total_correlation(densities, B, "weighted")) + (L - 1) * math.log(B) == pytest.approx(exact, rel=1e-9)


def test_the_three_parts_of_the_kl_telescope():
    """Mutual information + total correlation + dimension-wise KL = log q(z|x) − log p(z), sample by sample."""
    z, mean, log_variance = posteriors()
    densities = log_densities(z, mean, log_variance)
    own = densities[torch.arange(B), torch.arange(B)].sum(dim=1)
    joint = densities.sum(dim=2).logsumexp(dim=1) - math.log(N * B)
    marginals = densities.logsumexp(dim=1) - math.log(N * B)
    prior = log_densities(z, torch.zeros(1, L), torch.zeros(1, L))[:, 0]
    parts = (own - joint) + (joint - marginals.sum(dim=1)) + (marginals - prior).sum(dim=1)
    torch.testing.assert_close(parts, own - prior.sum(dim=1))


def test_estimates_of_a_known_total_correlation():
    """Posteriors N(μ, 0.3²) around N = 200 correlated points: stratified estimates are far nearer than weighted ones with constants."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    log_variance = torch.full((N, 2), 2 * math.log(0.3), dtype=torch.float64)
    z = mean + 0.3 * torch.randn(N, 2, generator=generator, dtype=torch.float64)
    own = log_densities(z, mean, log_variance).exp()
    exact = float((own.prod(dim=2).mean(dim=1).log() - own.mean(dim=1).log().sum(dim=1)).mean())
    found: dict[str, list[float]] = {"weighted": [], "stratified": []}
    for _ in range(200):
        rows = torch.randperm(N, generator=generator)[:B]
        densities = log_densities(z[rows], mean[rows], log_variance[rows])
        found["weighted"].append(weighted_with_constants(densities, N))
        found["stratified"].append(float(total_correlation(densities, N, "stratified")))
    means = {name: sum(values) / len(values) for name, values in found.items()}
    assert 0 < exact < 0.4
    assert abs(means["stratified"] - exact) < 0.25 < 4 < means["weighted"] - exact


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_with_beta_one_it_is_the_vae_bit_for_bit(terms, estimator):
    assert torch.equal(terms(BetaTcVae(beta=1.0, samples=N, estimator=estimator))["loss"], terms(Vae())["loss"])


def test_the_weight_is_beta_minus_one(terms):
    found = terms(BetaTcVae(beta=6.0, samples=N))
    torch.testing.assert_close(found["loss"], found["reconstruction"] + found["kl"] + 5 * found["total_correlation"])
