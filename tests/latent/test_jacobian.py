"""Column norms of the Jacobian against closed forms and finite differences."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.errors import ArdtoolError
from ardtool.latent.jacobian import column_norms


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


def test_training_mode_and_autocast_outside_change_nothing():
    decoder, codes = DECODERS["convolutional"](), Posterior(torch.randn(6, 5))
    model = pair(decoder, 5)
    expected = column_norms(model, codes).weight
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = column_norms(model, codes).weight
    torch.testing.assert_close(found, expected)
    assert model.training


def test_attention_has_a_forward_derivative():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.attend = nn.Linear(5, 16), nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, z):
            tokens = self.enter(z).unflatten(1, (4, 4))
            return self.attend(tokens, tokens, tokens, need_weights=False)[0].flatten(1)

    decoder, codes = Attention().eval(), torch.randn(3, 5)
    found = column_norms(pair(decoder, 5), Posterior(codes)).weight
    step = 1e-2
    basis = torch.eye(5)
    with torch.no_grad():
        columns = [(decoder(codes + step * e) - decoder(codes - step * e)) / (2 * step) for e in basis]
    expected = torch.stack([column.double().square().sum(1).mean() for column in columns])
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-6)


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


@pytest.mark.parametrize(
    "decode",
    [
        lambda z: torch.from_numpy(z.numpy() * 2),
        lambda z: z if z.sum() > 0 else -z,
        lambda z: z + torch.randn_like(z),
        lambda z: z.double() @ torch.ones(5, 3),
        lambda z: (z, z),
    ],
    ids=["numpy", "branch", "random", "types", "tuple"],
)
def test_decoders_without_a_forward_derivative_are_refused_in_one_line(decode):
    with pytest.raises(ArdtoolError) as caught:
        column_norms(ModulePair(nn.Identity(), decode, (5,), 5), Posterior(torch.randn(4, 5)))
    assert caught.value.message.startswith("The decoder cannot be differentiated in forward mode: ")
    assert "\n" not in str(caught.value)
