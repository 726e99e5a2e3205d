"""Models on some directions equal the full ones on the plane that these span, folded into layers where these mix all axes."""

import json

import pytest
import torch
from torch import Tensor, nn

from ardtool.autoencoder import FlatLatents, ModulePair, Posterior
from ardtool.latent.pruning import prune_directions, rebuild

F64 = torch.float64


class Chunked(nn.Module):
    """Means and log variances from one layer, the latter clamped."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Posterior:
        mean, log_variance = self.body(x).chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-0.2, 0.2))


class Squashed(nn.Module):
    """Bends every element before it is read."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z / 3) * 3


class Divided(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z / 0.18215


def vector_model(decoder: nn.Module, encoder: nn.Module | None = None) -> ModulePair:
    return ModulePair(encoder or Chunked(nn.Linear(4, 10)), decoder, (4,), 5).double()


def map_model(*reader: nn.Module) -> FlatLatents:
    """Codes of 5×4×3, read as a map or as a vector."""
    layers = nn.Sequential(*reader, nn.Tanh(), nn.Conv2d(6, 2, 1))
    return FlatLatents(ModulePair(Chunked(nn.Conv2d(2, 10, 3, padding=1)), layers, (2, 4, 3), (5, 4, 3))).double()


def posterior(size: int) -> Posterior:
    return Posterior(torch.randn(30, size, dtype=F64) + torch.randn(size, dtype=F64))


def rotation(size: int, kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """Directions, readout and centre: not orthogonal, readout · directions = I."""
    basis = torch.randn(size, size, dtype=F64)
    return basis[:, :kept], torch.linalg.inv(basis)[:kept], torch.randn(size, dtype=F64)


DECODERS = {
    "linear": (lambda: vector_model(nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))), "folded"),
    "scaled": (lambda: vector_model(nn.Sequential(Divided(), nn.Linear(5, 4))), "folded"),
    "clamped": (lambda: vector_model(nn.Sequential(Squashed(), nn.Linear(5, 4))), "scatter"),
    "transposed": (lambda: vector_model(nn.Sequential(nn.Unflatten(1, (-1, 1, 1)), nn.ConvTranspose2d(5, 4, 1), nn.Flatten())), "folded"),
    "dense map": (lambda: map_model(nn.Flatten(), nn.Linear(60, 72), nn.Unflatten(1, (6, 4, 3))), "folded"),
    "map": (lambda: map_model(nn.Conv2d(5, 6, 3, padding=1)), "scatter"),
}


@pytest.mark.parametrize("name", DECODERS)
def test_directions(name):
    """decode(c) = full.decode(z₀ + U c); encode gives B (μ − z₀) and the diagonal of B diag(σ²) Bᵀ."""
    make, way = DECODERS[name]
    model = make()
    size = model.latent_shape[0]
    directions, readout, centre = rotation(size, 3)
    pruning = prune_directions(model, directions, readout, centre, posterior(size))
    assert (pruning.record["decoder"], pruning.record["encoder"]) == (way, "rotated")
    c, x = torch.randn(6, 3, dtype=F64), torch.rand(6, *model.input_shape, dtype=F64)
    with torch.no_grad():
        expected = model.decode(centre + c @ directions.T)
        torch.testing.assert_close(pruning.model.decode(c), expected, rtol=1e-9, atol=1e-9)
        found, full = pruning.model.encode(x), model.encode(x)
    assert found.log_variance is not None and full.log_variance is not None
    covariance = readout @ torch.diag_embed(full.log_variance.exp()) @ readout.T
    torch.testing.assert_close(found.mean, (full.mean - centre) @ readout.T)
    torch.testing.assert_close(found.log_variance.exp(), covariance.diagonal(dim1=1, dim2=2))
    again = rebuild(make(), json.loads(json.dumps(pruning.record)))
    again.load_state_dict(pruning.model.state_dict())
    assert torch.equal(again.decode(c), pruning.model.decode(c))
    assert torch.equal(again.encode(x).mean, found.mean)
    assert again.latent_shape == pruning.model.latent_shape == (3,)


def test_a_deterministic_encoder_is_rotated_by_its_layer():
    model = vector_model(nn.Linear(5, 4), nn.Linear(4, 5))
    directions, readout, centre = rotation(5, 2)
    pruning = prune_directions(model, directions, readout, centre, posterior(5))
    assert (pruning.record["decoder"], pruning.record["encoder"]) == ("folded", "folded")
    assert not [name for name in pruning.model.state_dict() if name.startswith("reduction")]
    x = torch.rand(6, 4, dtype=F64)
    torch.testing.assert_close(pruning.model.encode(x).mean, (model.encode(x).mean - centre) @ readout.T)


class Clamped(nn.Module):
    """Changes codes far from the centre only."""

    def forward(self, z: Tensor) -> Tensor:
        return z.clamp(-6, 6)


def test_a_clamp_that_reference_codes_do_not_reach_is_kept():
    model = vector_model(nn.Sequential(Clamped(), nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)))
    codes, (directions, readout, centre) = posterior(5), rotation(5, 3)
    pruning = prune_directions(model, directions, readout, centre, codes)
    assert pruning.record["decoder"] == "scatter"
    c = 20 * torch.randn(6, 3, dtype=F64)
    torch.testing.assert_close(pruning.model.decode(c), model.decode(centre + c @ directions.T))
