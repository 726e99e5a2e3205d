"""Column norms of the Jacobian against closed forms and finite differences."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.errors import ConfigError
from ardtool.latent.jacobian import JacobianNorms, column_norms


def pair(decoder: nn.Module, latent_dim: int) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


def dense_jacobian(decoder, z):
    """The Jacobian at every code by reverse mode, shape (N, D, L): an independent route."""
    return torch.stack([torch.autograd.functional.jacobian(lambda q: decoder(q[None])[0].flatten(), code) for code in z])


DECODERS = {
    "dense": lambda: nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 12)),
    "convolutional": lambda: nn.Sequential(
        nn.Linear(5, 32),
        nn.Unflatten(1, (8, 2, 2)),
        nn.ConvTranspose2d(8, 4, 4, 2, 1),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.ConvTranspose2d(4, 3, 4, 2, 1),
    ),
    "dropout": lambda: nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.SiLU(), nn.Linear(16, 12)),
    "groups": lambda: nn.Sequential(nn.Linear(5, 16), nn.Unflatten(1, (4, 2, 2)), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3, padding=1)),
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("convention", ["paper", "authors-code"])
def test_equals_the_dense_jacobian(name, convention):
    decoder = DECODERS[name]()
    codes = torch.randn(7, 5)
    found = column_norms(pair(decoder, 5), Posterior(codes), convention=convention)
    decoder.eval()
    jacobian = dense_jacobian(decoder, codes).double()
    expected = jacobian.square().mean(0).sum(0) if convention == "paper" else jacobian.abs().mean(0).square().sum(0)
    torch.testing.assert_close(found.weight, expected, rtol=1e-5, atol=1e-7)
    assert found.outputs == jacobian.shape[1]


@pytest.mark.parametrize("convention", ["paper", "authors-code"])
def test_a_linear_decoder_gives_its_column_norms(convention):
    decoder = nn.Linear(4, 9)
    found = column_norms(pair(decoder, 4), Posterior(torch.randn(5, 4)), convention=convention)
    torch.testing.assert_close(found.weight, decoder.weight.detach().double().square().sum(0), rtol=1e-6, atol=0)


def test_standard_error_vanishes_for_a_linear_decoder_and_not_for_a_curved_one():
    assert column_norms(pair(nn.Linear(4, 9), 4), Posterior(torch.randn(50, 4))).stderr.max() < 1e-6
    curved = column_norms(pair(DECODERS["dense"](), 5), Posterior(torch.randn(50, 5)))
    assert (curved.stderr > 1e-3 * curved.weight).all()


def test_authors_convention_is_at_most_the_papers():
    decoder, codes = DECODERS["dense"](), Posterior(torch.randn(40, 5))
    paper = column_norms(pair(decoder, 5), codes).weight
    assert (column_norms(pair(decoder, 5), codes, convention="authors-code").weight < paper).all()


def test_authors_convention_decodes_sampled_codes(generator):
    decoder = DECODERS["dense"]()
    wide = Posterior(torch.zeros(30, 5), torch.full((30, 5), 2.0))
    z = wide.sample(torch.Generator().manual_seed(0))
    found = column_norms(pair(decoder, 5), wide, convention="authors-code", generator=generator)
    expected = dense_jacobian(decoder, z).double().abs().mean(0).square().sum(0)
    torch.testing.assert_close(found.weight, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("memory", [1, 3000, 10**9])
def test_chunks_do_not_change_the_result(memory):
    decoder, codes = DECODERS["convolutional"](), Posterior(torch.randn(6, 5))
    whole = column_norms(pair(decoder, 5), codes)
    torch.testing.assert_close(
        column_norms(pair(decoder, 5), codes, memory=memory).contributions, whole.contributions, rtol=1e-4, atol=1e-8
    )


@pytest.mark.parametrize("convention", ["paper", "authors-code"])
def test_chunks_of_the_means_do_not_change_the_result(convention):
    """Little memory: the mean |J| of the authors' convention is kept for a few axes, or outputs, at a time."""
    for latent_dim, outputs in ((5, 300), (300, 5)):
        decoder, codes = nn.Sequential(nn.Linear(latent_dim, outputs), nn.Tanh()), Posterior(torch.randn(6, latent_dim))
        whole = column_norms(pair(decoder, latent_dim), codes, convention=convention)
        parts = column_norms(pair(decoder, latent_dim), codes, convention=convention, memory=70_000)
        torch.testing.assert_close(parts.contributions, whole.contributions, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("convention", ["paper", "authors-code"])
@pytest.mark.parametrize("memory", [1, 10**9])
def test_reverse_mode_equals_forward_mode(convention, memory):
    """Fewer outputs than axes go backwards; the same decoder with its outputs repeated goes forwards, with each norm eight times."""
    decoder = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 4), nn.Sigmoid())
    codes = Posterior(torch.randn(9, 20), torch.zeros(9, 20))
    reverse, forward = (
        column_norms(pair(model, 20), codes, convention=convention, generator=torch.Generator().manual_seed(0), memory=memory)
        for model in (decoder, lambda z: decoder(z).repeat(1, 8))
    )
    assert (reverse.mode, forward.mode) == ("reverse", "forward") and (reverse.outputs, forward.outputs) == (4, 32)
    torch.testing.assert_close(8 * reverse.contributions, forward.contributions, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("convention", ["paper", "authors-code"])
@pytest.mark.parametrize("outputs", [3, 7])
def test_memory_that_runs_out_halves_the_chunks(convention, outputs):
    weight = torch.randn(5, outputs, dtype=torch.float64)  # sums over outputs cancel: in float32 their last digits are the processor's

    def decode(z):
        if len(z) > 2:
            raise MemoryError
        return (z @ weight).sin()

    codes = Posterior(torch.randn(11, 5, dtype=torch.float64))
    found = column_norms(pair(decode, 5), codes, convention=convention)
    whole = column_norms(pair(lambda z: (z @ weight).sin(), 5), codes, convention=convention)
    torch.testing.assert_close(found.contributions, whole.contributions, rtol=1e-10, atol=1e-12)
    assert found.mode == whole.mode == ("reverse" if outputs == 3 else "forward")


def test_norms_at_different_codes_are_joined():
    decoder, codes = DECODERS["dense"](), Posterior(torch.randn(9, 5))
    whole = column_norms(pair(decoder, 5), codes)
    first, *others = (column_norms(pair(decoder, 5), codes.rows(slice(start, start + 3))) for start in (0, 3, 6))
    joined = first.joined(*others)
    torch.testing.assert_close(joined.contributions, whole.contributions)
    assert (joined.outputs, joined.convention, joined.mode) == (12, "paper", "forward")
    assert torch.equal(first.joined().contributions, first.contributions)
    assert first.joined(replace(first, mode="central differences"), first).mode == "central differences"


def test_norms_that_do_not_belong_together_are_not_joined():
    norms = JacobianNorms(torch.ones(3, 5), 12, "paper")
    with pytest.raises(ConfigError, match="different decoders cannot be joined: 12 outputs of 5 axes and 13 outputs of 5 axes"):
        norms.joined(replace(norms, outputs=13))
    with pytest.raises(ConfigError, match="different decoders cannot be joined"):
        norms.joined(replace(norms, contributions=torch.ones(3, 4)))
    with pytest.raises(ConfigError, match="authors' convention cannot be joined"):
        norms.joined(replace(norms, convention="authors-code"))


@pytest.mark.parametrize("convention", ["paper", "authors-code"])
def test_every_code_is_decoded_with_its_own_context(convention):
    """decode(z, c) = c W z: the Jacobian at sample i is cᵢ W."""
    weight = torch.randn(6, 3)

    class Scaled(nn.Module):
        input_shape, latent_shape = (6,), (3,)

        def encode(self, x):
            raise NotImplementedError

        def decode(self, z, context=None):
            return context * (z @ weight.T)

    context = torch.tensor([[1.0], [2.0], [5.0], [0.5]])
    found = column_norms(Scaled(), Posterior(torch.randn(4, 3), context=context), convention=convention)
    factor = context.square().mean() if convention == "paper" else context.mean().square()
    torch.testing.assert_close(found.weight, (weight.square().sum(0) * factor).double(), rtol=1e-5, atol=0)
