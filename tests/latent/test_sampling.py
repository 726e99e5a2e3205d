"""Samplers reproduce the moments they promise."""

import pytest
import torch

from ardtool.autoencoder import Posterior
from ardtool.latent.codes import LatentCodes
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.sampling import draw_codes
from ardtool.latent.statistics import CodeStatistics


@pytest.fixture
def codes(generator):
    z = torch.randn(1000, 3, generator=generator) @ torch.tensor([[1.0, 0.8, 0], [0, 0.6, 0], [0, 0, 0.2]]) + torch.tensor([2.0, 0, -1])
    return LatentCodes(CodeStatistics.of(z), Posterior(z), GammaPosterior.uninformed(3).updated(z))


@pytest.mark.parametrize("sampler", ["paper", "centred", "full-gaussian", "gmm"])
def test_moments(codes, generator, sampler):
    z = draw_codes(codes, 20_000, sampler, [0, 1, 2], generator).double()
    torch.testing.assert_close(z.mean(0), codes.statistics.mean, rtol=0, atol=0.06)
    expected = codes.axis_variance if sampler == "paper" else codes.statistics.variance
    torch.testing.assert_close(z.var(0), expected, rtol=0.06, atol=0)
    correlation = torch.corrcoef(z.T)[0, 1]
    assert (abs(correlation) < 0.03) if sampler in ("paper", "centred") else correlation > 0.7


@pytest.mark.parametrize("sampler", ["paper", "centred", "full-gaussian", "gmm"])
def test_inactive_axes_stay_at_the_mean_and_a_seed_repeats(codes, sampler):
    first, second = (draw_codes(codes, 50, sampler, [2], torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first[:, :2], codes.statistics.mean[:2].float().expand(50, -1))
    assert first[:, 2].std() > 0
