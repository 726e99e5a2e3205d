"""Every way to differentiate a decoder against differences in float64, and decoders whose derivative is missing or silently wrong."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.errors import ArdtoolError
from ardtool.latent.derivatives import COLUMN_MODES, FixedDecoder
from ardtool.latent.jacobian import column_norms, inference_mode


def pair(decoder, latent_dim: int = 6) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


class Tokens(nn.Module):
    """Six numbers to four tokens of eight, through some mixing of tokens."""

    def __init__(self, mix: nn.Module) -> None:
        super().__init__()
        self.enter, self.mix = nn.Linear(6, 32), mix

    def forward(self, z):
        return self.mix(self.enter(z).unflatten(1, (4, 8))).flatten(1)


class SelfAttention(nn.MultiheadAttention):
    def forward(self, tokens):
        return super().forward(tokens, tokens, tokens, need_weights=False)[0]


class ScaledDotProduct(nn.Module):
    def forward(self, tokens):
        return functional.scaled_dot_product_attention(tokens[:, None], tokens[:, None].sin(), tokens[:, None].cos())[:, 0]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.run, self.leave = kind(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, z):
        return self.leave(self.run(z[:, None].expand(-1, 4, -1))[0]).flatten(1)


def normalised() -> nn.Module:
    decoder = nn.Sequential(nn.Linear(6, 32), nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.SiLU())
    with torch.no_grad():
        decoder(3 * torch.randn(64, 6) + 1)  # running statistics that differ from a batch's
    return decoder


ZOO = {
    "dense": lambda: nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 12)),
    "multi-head attention": lambda: Tokens(SelfAttention(8, 2, batch_first=True)),
    "transformer layer": lambda: Tokens(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)),
    "scaled dot product": lambda: Tokens(ScaledDotProduct()),
    "group norm": lambda: nn.Sequential(nn.Linear(6, 16), nn.Unflatten(1, (4, 2, 2)), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3, padding=1)),
    "batch norm": normalised,
    "dropout": lambda: nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.SiLU(), nn.Linear(16, 12)),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "upsampling": lambda: nn.Sequential(
        nn.Unflatten(1, (6, 1, 1)),
        nn.Upsample(scale_factor=4, mode="bilinear"),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.PReLU(),
        nn.PixelShuffle(2),
    ),
    "fewer outputs": lambda: nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)),
}
MODES = {"lstm": "double reverse", "gru": "looped forward", "fewer outputs": "reverse"}


def differences(decoder: nn.Module, z: torch.Tensor) -> torch.Tensor:
    """Central differences in float64 with shape (N, D, L)."""
    double, z = copy.deepcopy(decoder).double().eval(), z.double()
    step = 1e-5
    with torch.no_grad():
        columns = [double(z + step * e).flatten(1) - double(z - step * e).flatten(1) for e in torch.eye(z.shape[1], dtype=torch.float64)]
    return torch.stack(columns, dim=2) / (2 * step)


@pytest.mark.parametrize("name", ZOO)
def test_exact_norms_are_those_of_differences_in_float64(name):
    decoder, z = ZOO[name](), torch.randn(5, 6)
    model = pair(decoder).train()
    jacobian = differences(decoder, z)
    paper = column_norms(model, Posterior(z))
    authors = column_norms(model, Posterior(z), convention="authors-code")
    torch.testing.assert_close(paper.contributions, jacobian.square().sum(1), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(authors.weight, jacobian.abs().mean(0).square().sum(0), rtol=1e-4, atol=1e-7)
    assert paper.mode == authors.mode == MODES.get(name, "forward")
    assert paper.outputs == jacobian.shape[1]
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", ZOO)
def test_training_mode_and_autocast_outside_change_no_bit(name):
    model, codes = pair(ZOO[name]()).eval(), Posterior(torch.randn(4, 6))
    expected = column_norms(model, codes)
    model.train()
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        found = column_norms(model, codes)
    assert torch.equal(found.contributions, expected.contributions) and found.mode == expected.mode


def test_every_submodule_comes_back_in_its_own_mode():
    decoder = normalised().train()
    decoder[3].eval()  # a frozen BatchNorm in a network that is being trained
    column_norms(pair(decoder), Posterior(torch.randn(3, 6)))
    assert not decoder[3].training and decoder.training and decoder[2].training


@pytest.mark.parametrize("mode", COLUMN_MODES)
@pytest.mark.parametrize("name", ["dense", "batch norm", "group norm"])
def test_all_ways_give_the_same_images(name, mode):
    decoder, z, tangents = ZOO[name](), torch.randn(5, 6), torch.randn(3, 6)
    model = pair(decoder)
    jacobian = differences(decoder, z)
    with inference_mode(model):
        fixed = FixedDecoder.at(model, Posterior(z), z, "cpu", 2**28)
        images = fixed.images(mode, slice(1, 4), tangents)
        assert fixed.agrees(mode)
    expected = torch.einsum("ndl,kl->nkd", jacobian[1:4], tangents.double())
    exact = mode != "central differences"
    torch.testing.assert_close(images.double(), expected, rtol=1e-4 if exact else 5e-3, atol=1e-5 if exact else 2e-3)


class NoForward(torch.autograd.Function):
    """The sine with a derivative for reverse mode alone."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.detach().sin()

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0] * ctx.saved_tensors[0].cos()


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return 3 * z

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0]


WEIGHT = torch.randn(6, 9, generator=torch.Generator().manual_seed(5))


def scattered(z):
    out = torch.zeros(len(z), 8)
    out[:, :6] = z.square()
    return out


# decoder, the same in torch, the way that works
CHAIN = {
    "branch": (lambda z: z.sin() if z.sum() > 0 else z.cos(), lambda z: torch.where(z.sum(1, keepdim=True) > 0, z.sin(), z.cos()), 1),
    "item in a condition": (lambda z: z * (2 if z.abs().max().item() > 1e6 else 3), lambda z: 3 * z, 1),
    "written in place": (scattered, lambda z: functional.pad(z.square(), (0, 2)), 1),
    "no forward derivative": (NoForward.apply, torch.sin, 2),
    "numpy": (lambda z: torch.from_numpy(z.numpy() * 2), lambda z: 2 * z, 3),
    "detached to numpy": (lambda z: torch.from_numpy(z.detach().cpu().numpy() * 2), lambda z: 2 * z, 3),
    "list": (lambda z: 2 * torch.tensor(z.tolist()), lambda z: 2 * z, 3),
    "detached": (lambda z: z.detach() @ WEIGHT, lambda z: z @ WEIGHT, 3),
    "data": (lambda z: (z.data @ WEIGHT).sin(), lambda z: (z @ WEIGHT).sin(), 3),
    "own inference mode": (torch.inference_mode()(lambda z: (z @ WEIGHT).sin()), lambda z: (z @ WEIGHT).sin(), 3),
    "own no_grad": (torch.no_grad()(lambda z: (z @ WEIGHT).sin()), lambda z: (z @ WEIGHT).sin(), 0),
    "partly detached": (lambda z: torch.cat([3 * z[:, :5], z[:, 5:].detach()], dim=1), lambda z: z * torch.tensor([3.0] * 5 + [1.0]), 3),
    "item as a number": (lambda z: torch.stack([row * row[0].item() for row in z]), lambda z: z * z[:, :1], 3),
    "wrong derivative": (WrongBackward.apply, lambda z: 3 * z, 3),
    "half precision": (lambda z: (z.bfloat16() @ WEIGHT.bfloat16()).float(), lambda z: z @ WEIGHT.bfloat16().float(), 0),
}


@pytest.mark.parametrize("convention", ["paper", "authors-code"])
@pytest.mark.parametrize("name", CHAIN)
def test_where_one_way_fails_or_is_silently_wrong_the_next_one_is_right(name, convention):
    decode, same, place = CHAIN[name]
    codes = Posterior(torch.randn(8, 6))
    found = column_norms(pair(decode), codes, convention=convention)
    expected = column_norms(pair(same), codes, convention=convention)
    assert found.mode == COLUMN_MODES[place] and expected.mode == "forward"
    tolerance = {3: 5e-3, 0: 1e-2 if name == "half precision" else 1e-5}.get(place, 1e-5)
    torch.testing.assert_close(found.weight, expected.weight, rtol=tolerance, atol=0)


def test_axes_that_the_decoder_ignores_are_zero_and_no_reason_to_doubt():
    found = column_norms(pair(lambda z: (z[:, :4] @ torch.ones(4, 7)).sin()), Posterior(torch.randn(8, 6)))
    assert found.mode == "forward" and (found.weight[4:] == 0).all() and (found.weight[:4] > 0).all()
    constant = column_norms(pair(lambda z: torch.ones(len(z), 7)), Posterior(torch.randn(8, 6)))
    assert constant.mode == "forward" and (constant.weight == 0).all()


@pytest.mark.parametrize(
    ("decode", "sentence"),
    [
        (lambda z: z @ torch.ones(4, 4), r"The decoder cannot decode codes of 6 axes: .*cannot be multiplied"),
        (lambda z: z.double() @ torch.ones(6, 3), r"The decoder cannot decode codes of 6 axes: "),
        (lambda z: (z, z), r"The decoder gave a tuple; expected a tensor\."),
        (lambda z: z + torch.randn_like(z), r"The decoder is random: two passes over the same codes differ\."),
        (lambda z: (z - 100).sqrt(), r"The decoder cannot be differentiated: its derivative along axis 0 is not finite\."),
    ],
    ids=["shapes", "types", "tuple", "random", "not a number"],
)
def test_what_no_way_can_mend_is_refused_in_one_line(decode, sentence):
    with pytest.raises(ArdtoolError, match=sentence) as caught:
        column_norms(pair(decode), Posterior(torch.randn(4, 6)))
    assert "\n" not in str(caught.value) and caught.value.hint


def test_a_decoder_that_cannot_decode_is_tried_once():
    calls = []

    def decode(z):
        calls.append(len(z))
        raise RuntimeError("shapes do not match")

    with pytest.raises(ArdtoolError, match="shapes do not match"):
        column_norms(pair(decode), Posterior(torch.randn(4, 6)))
    assert len(calls) == 1


def test_memory_that_does_not_hold_one_code_is_said_in_one_line():
    def decode(z):
        if torch.is_grad_enabled() or torch._C._functorch.maybe_current_level() is not None:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 800 bytes.")
        return z @ WEIGHT

    with pytest.raises(ArdtoolError, match="Memory ran out on one sample at a time: DefaultCPUAllocator") as caught:
        column_norms(pair(decode), Posterior(torch.randn(4, 6)))
    assert "--estimator sketch" in caught.value.hint


def test_the_first_forward_derivative_of_a_process_warns_of_nothing():
    code = """
import warnings
shown = []
warnings.showwarning = lambda *about, **more: shown.append(str(about[0]))
import torch
from torch import nn
import ardtool
model = ardtool.ModulePair(nn.Linear(6, 3), nn.Linear(3, 6), (6,), 3)
print(ardtool.relevance(model, data=torch.randn(100, 6)).estimator["derivatives"], shown)
warnings.warn("seen", FutureWarning)
assert shown == ["seen"], "others are shown as before"
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("forward []\n", "")
