"""Total effects and central differences, which only decode."""

import numpy as np
import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.errors import ConfigError
from ardtool.latent.jacobian import JacobianNorms, column_norms
from ardtool.latent.sobol import finite_difference_norms, total_effects


def pair(decoder, latent_dim: int) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 32),
        nn.Unflatten(1, (8, 2, 2)),
        nn.ConvTranspose2d(8, 4, 4, 2, 1),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.SiLU(),
        nn.ConvTranspose2d(4, 3, 4, 2, 1),
    )


SCALES = torch.tensor([2.0, 1.0, 0.3, 0.0])


def test_a_linear_decoder_gives_weight_times_variance():
    matrix = torch.randn(12, 4)
    exact = (matrix.square().sum(0) * SCALES.square()).double()
    found = total_effects(pair(lambda z: z @ matrix.T + 3, 4), Posterior(torch.randn(4000, 4) * SCALES + 5), generator=seed(0))
    assert ((found.score - exact).abs() <= 4 * found.stderr).all()
    assert found.contributions.shape == (2000, 4) and found.outputs == 12
    assert 0 <= found.score[3] < 1e-10  # the square of a rounding in float32: equal codes in other batches


def test_intervals_cover():
    """Also for the error bar: codes that served twice would give intervals that cover 89 % only."""
    matrix = torch.randn(5, 4)
    exact = (matrix.square().sum(0) * SCALES.square()).double()[:3]
    covered = []
    for number in range(400):
        found = total_effects(pair(lambda z: z @ matrix.T, 4), Posterior(torch.randn(400, 4) * SCALES), generator=seed(number))
        covered.append((found.score[:3] - exact).abs() <= 1.96 * found.stderr[:3])
    assert 0.92 <= torch.stack(covered).double().mean() <= 0.98


def test_the_noise_of_the_posterior_counts():
    matrix = torch.randn(12, 2)
    codes = Posterior(torch.randn(8000, 2), torch.tensor([0.0, -20.0]).expand(8000, 2))
    found = total_effects(pair(lambda z: z @ matrix.T, 2), codes, generator=seed(0))
    exact = matrix.double().square().sum(0) * torch.tensor([2.0, 1.0])
    assert ((found.score - exact).abs() <= 4 * found.stderr).all()
    assert found.score[0] > 1.7 * matrix[:, 0].double().square().sum()


def test_interactions_count_for_both_axes():
    """f = z₁ z₂ has no main effects, and total effects of 1 each; z₃ is not read."""
    found = total_effects(pair(lambda z: z[:, :1] * z[:, 1:2], 3), Posterior(torch.randn(20_000, 3)), generator=seed(0))
    assert ((found.score - torch.tensor([1.0, 1.0, 0.0])).abs() <= 4 * found.stderr).all()


def test_a_decoder_outside_torch_is_enough():
    found = total_effects(
        pair(lambda z: torch.from_numpy(np.round(z.numpy() * 100) / 100), 2), Posterior(torch.randn(4000, 2)), generator=seed(0)
    )
    assert ((found.score - 1).abs() <= 4 * found.stderr).all()


@pytest.mark.parametrize("memory", [1, 4000, 10**9])
def test_chunks_do_not_change_the_result(memory):
    model, codes = pair(convolutional(), 5), Posterior(torch.randn(14, 5), torch.zeros(14, 5))
    whole = total_effects(model, codes, generator=seed(3), memory=2**40)
    torch.testing.assert_close(
        total_effects(model, codes, generator=seed(3), memory=memory).contributions, whole.contributions, rtol=1e-4, atol=1e-9
    )
    assert model.training
    whole = finite_difference_norms(model, codes, memory=2**40)
    torch.testing.assert_close(
        finite_difference_norms(model, codes, memory=memory).contributions, whole.contributions, rtol=2e-3, atol=1e-7
    )


def test_axes_of_several_elements_are_redrawn_as_a_whole():
    """A linear decoder of independent elements: the score of an axis is the sum over its elements, in any order of elements."""
    matrix, spread = torch.randn(12, 6), torch.tensor([2.0, 1.0, 0.3, 1.0, 0.5, 0.7])
    groups = torch.tensor([1, 0, 2, 1, 1, 0])
    codes = Posterior(torch.randn(8000, 6) * spread)
    found = total_effects(pair(lambda z: z @ matrix.T, 6), codes, generator=seed(0), groups=groups)
    exact = torch.zeros(3).index_add(0, groups, matrix.square().sum(0) * spread.square()).double()
    assert found.contributions.shape == (4000, 3)
    assert ((found.score - exact).abs() <= 4 * found.stderr).all()


def test_redrawing_everything_is_the_whole_variance_and_elements_that_move_together_count_together():
    """f = z₁ − z₂ with z₁ = z₂: each alone has an effect of its own, both together have none."""
    z = torch.randn(4000, 1).expand(-1, 2).contiguous()
    model = pair(lambda q: q[:, :1] - q[:, 1:], 2)
    together = total_effects(model, Posterior(z), generator=seed(0), groups=torch.tensor([0, 0]))
    apart = total_effects(model, Posterior(z), generator=seed(0))
    assert together.score.item() == 0
    assert ((apart.score - 1).abs() <= 4 * apart.stderr).all()


@pytest.mark.parametrize("memory", [1, 10**9])
def test_elements_as_groups_are_the_elements(memory):
    model, codes = pair(convolutional(), 5), Posterior(torch.randn(14, 5))
    whole = total_effects(model, codes, generator=seed(3))
    found = total_effects(model, codes, generator=seed(3), groups=torch.arange(5), memory=memory)
    torch.testing.assert_close(found.contributions, whole.contributions, rtol=1e-4, atol=1e-9)


def test_channels_of_a_large_map_are_decoded_a_few_at_a_time():
    """16,384 elements in 16 channels, decoded within 4 MiB: one copy of a code is 64 KiB, all 16 of all 8 pairs would be 8 MiB."""
    sizes = []
    weight = torch.rand(16)

    def decode(z):
        sizes.append(len(z))
        return (z.unflatten(1, (16, 1024)) * weight[:, None]).sum(1)

    groups = torch.arange(16).repeat_interleave(1024)
    found = total_effects(pair(decode, 16384), Posterior(torch.randn(16, 16384)), generator=seed(0), groups=groups, memory=4 * 2**20)
    assert found.contributions.shape == (8, 16)
    torch.testing.assert_close(found.score, 1024 * weight.double().square(), rtol=0.15, atol=0)
    assert max(sizes) * 16384 * 4 < 4 * 2**20


def test_memory_that_runs_out_halves_the_chunks():
    def decode(z):
        if len(z) > 7:
            raise MemoryError
        return z.sin()

    codes = Posterior(torch.randn(20, 5))
    whole = total_effects(pair(torch.sin, 5), codes, generator=seed(0)).contributions
    assert torch.equal(total_effects(pair(decode, 5), codes, generator=seed(0)).contributions, whole)


class Witness(nn.Module):
    """Its context is the code itself, so a decoded row differs from its own context in the one axis that was moved, or in none."""

    input_shape, latent_shape = (6,), (6,)

    def encode(self, x):
        raise NotImplementedError

    def decode(self, z, context=None):
        assert ((z != context).sum(1) <= 1).all()
        return context * z


@pytest.mark.parametrize("memory", [1, 1000, 10**9])
def test_every_code_is_decoded_with_its_own_context(memory):
    z = torch.randn(41, 6)
    codes = Posterior(z, context=z)
    assert total_effects(Witness(), codes, generator=seed(0), memory=memory).contributions.shape == (20, 6)
    norms = finite_difference_norms(Witness(), codes, memory=memory).contributions
    torch.testing.assert_close(norms, z.double().square(), rtol=2e-3, atol=1e-6)


def test_central_differences_meet_exact_derivatives():
    model, codes = pair(convolutional(), 5), Posterior(torch.randn(30, 5) * torch.tensor([10.0, 1.0, 1.0, 0.1, 1.0]))
    exact = column_norms(model, codes)
    found = finite_difference_norms(model, codes)
    torch.testing.assert_close(found.weight, exact.weight, rtol=2e-3, atol=0)
    assert isinstance(found, JacobianNorms) and found.outputs == exact.outputs and found.mode == "central differences"
    torch.testing.assert_close(found.step, 0.01 * codes.mean.double().std(0, correction=0))


def test_an_axis_that_does_not_vary_has_a_step_too():
    found = finite_difference_norms(pair(lambda z: 3 * z, 2), Posterior(torch.tensor([[1.0, 7.0], [2.0, 7.0]])))
    torch.testing.assert_close(found.weight, torch.tensor([9.0, 9.0], dtype=torch.float64), rtol=1e-3, atol=0)
    assert found.step[1] == 0.01


def test_what_cannot_be_computed_is_refused():
    with pytest.raises(ConfigError, match="at least two codes, found 1"):
        total_effects(pair(nn.Identity(), 2), Posterior(torch.zeros(1, 2)), generator=seed(0))
    for groups in (torch.zeros(3, dtype=torch.long), torch.zeros(2), torch.tensor([0, -1])):
        with pytest.raises(ConfigError, match=r"The axes of 2 elements must be integers from 0 with shape \(2,\); found shape"):
            total_effects(pair(nn.Identity(), 2), Posterior(torch.zeros(4, 2)), generator=seed(0), groups=groups)
    with pytest.raises(ConfigError, match="must be positive, not 0"):
        finite_difference_norms(pair(nn.Identity(), 2), Posterior(torch.zeros(1, 2)), step=0)
