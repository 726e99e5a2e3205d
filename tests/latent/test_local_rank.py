"""Local rank: on maps whose rank is known, against the whole Jacobian, and where it cannot be found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import ardtool
from ardtool.errors import ArdtoolError
from ardtool.latent.local_rank import local_rank
from ardtool.networks.build import architecture_record, build_network


def pair(encoder, decoder, shape: tuple[int, ...], latent: int) -> ardtool.ModulePair:
    return ardtool.ModulePair(encoder, decoder, input_shape=shape, latent_dim=latent)


def circle(n: int) -> Tensor:
    angle = torch.linspace(0, 6, n)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


class Onto(nn.Module):
    """The nearest point of the unit circle."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=1, keepdim=True)


def test_a_linear_projection_has_the_rank_of_its_plane():
    basis, _ = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    model = pair(lambda x: x @ basis, lambda z: z @ basis.T, (8,), 3)
    found = local_rank(model, torch.randn(20, 8))
    assert torch.allclose(found.spectra, torch.ones(20, 3, dtype=torch.float64), atol=1e-6)
    assert found.ranks.tolist() == [3] * 20


def test_an_axis_that_the_decoder_does_not_read_is_no_direction():
    basis, _ = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    model = pair(lambda x: x @ basis, lambda z: z[:, :2] @ basis.T[:2], (8,), 3)
    found = local_rank(model, torch.randn(20, 8))
    assert found.ranks.tolist() == [2] * 20
    assert found.gap > 1e6


def test_a_circle_takes_two_axes_and_has_one_dimension():
    """Both axes are active by relevance; reconstructions move along the circle alone."""
    model = pair(Onto(), nn.Identity(), (2,), 2)
    x = circle(200)
    assert ardtool.relevance(model, data=x).active == 2
    found = local_rank(model, x)
    assert found.ranks.unique().tolist() == [1]
    assert torch.allclose(found.spectra.mean(dim=0), torch.tensor([1.0, 0.0], dtype=torch.float64), atol=1e-6)


def test_a_direction_that_is_shrunk_to_less_than_half_is_gone():
    shrink = torch.tensor([0.9, 0.6, 0.4, 0.1])
    model = pair(lambda x: x * shrink, nn.Identity(), (4,), 4)
    found = local_rank(model, torch.randn(10, 4))
    assert found.ranks.tolist() == [2] * 10
    assert found.gap == pytest.approx(0.6 / 0.4, rel=1e-5)


@pytest.mark.parametrize(("arch", "shape"), [("dense", (7,)), ("dense", (3,)), ("conv", (1, 16, 16))])
def test_singular_values_are_those_of_the_whole_jacobian(arch, shape):
    record = architecture_record(arch, shape, 5, value_range=None)
    model = build_network(record, generator_seed=0).eval()
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    found = local_rank(model, x)
    for one, spectrum in zip(x, found.spectra, strict=True):
        whole = torch.autograd.functional.jacobian(lambda y: model.decode(model.encode(y[None]).mean).flatten(), one)
        values = torch.linalg.svdvals(whole.reshape(one.numel(), one.numel()).double())  # pyright: ignore[reportAttributeAccessIssue]
        assert torch.allclose(spectrum, values[: len(spectrum)], atol=1e-6, rtol=1e-3)


def test_few_codes_or_outputs_at_a_time_change_nothing():
    model = build_network(architecture_record("dense", (30,), 6, value_range=None), generator_seed=0).eval()
    x = torch.randn(4, 30)
    assert torch.allclose(local_rank(model, x).spectra, local_rank(model, x, memory=3_000_000).spectra, atol=1e-7)


class Leaves(nn.Module):
    """An encoder that leaves torch for a moment."""

    def __init__(self, how) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(x)


def test_an_encoder_that_cannot_be_differentiated_is_named():
    model = pair(Leaves(lambda x: x.detach() * 2), nn.Identity(), (4,), 4)
    with pytest.raises(ArdtoolError, match=r"^The encoder cannot be differentiated: .*\."):
        local_rank(model, torch.randn(10, 4))


def test_an_encoder_with_a_wrong_derivative_is_named():
    model = pair(Leaves(lambda x: x + 3 * x.detach()), nn.Identity(), (4,), 4)
    with pytest.raises(ArdtoolError, match=r"^The encoder's derivative is not that of its codes, so the local rank cannot be found\."):
        local_rank(model, torch.randn(10, 4))


def test_the_model_is_left_as_it_was():
    model = build_network(architecture_record("paper-mnist/8", (1, 32, 32), 4, value_range=(0.0, 1.0)), generator_seed=0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    local_rank(model, torch.rand(3, 1, 32, 32))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_evaluate_says_it(tmp_path):
    result = ardtool.evaluate(pair(Onto(), nn.Identity(), (2,), 2), data=circle(300), metrics=["local-rank"])
    value = result.metrics["local_rank"]
    assert (value.value, value.n, value.unit) == (1.0, 100, "dimensions")
    assert (value.details["lowest"], value.details["highest"]) == (1, 1)
    assert value.details["singular_values"] == pytest.approx([1, 0], abs=1e-6)
    assert result.metrics["local_rank_gap"].value > 1e6


def test_a_jacobian_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr("ardtool.commands.evaluating.latent.LARGEST", 3)
    with pytest.raises(ArdtoolError, match=r"^local-rank needs samples of at most 1 numbers for codes of 2\."):
        ardtool.evaluate(pair(Onto(), nn.Identity(), (2,), 2), data=circle(300), metrics=["local-rank"])
