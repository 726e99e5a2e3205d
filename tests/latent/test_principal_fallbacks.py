"""Principal directions of decoders that are hard to differentiate, or that do not fit into memory at once."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.errors import ArdtoolError
from ardtool.latent.principal import principal_directions
from ardtool.latent.relevance import active_count


def pair(decoder, latent_dim: int) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def spectrum(matrix: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of M Σ Mᵀ, those of A for a linear decoder M, on the other side of the product."""
    return torch.linalg.eigvalsh(matrix.double() @ covariance @ matrix.double().T).flip(0)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.run, self.leave = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 6)

    def forward(self, z):
        return self.leave(self.run(z[:, None].expand(-1, 3, -1))[0]).flatten(1)


@pytest.mark.parametrize("route", ["exact", "krylov"])
def test_a_decoder_without_a_forward_derivative(route):
    decoder, z = Recurrent(), torch.randn(6, 5)
    found = principal_directions(pair(decoder, 5), Posterior(z), torch.eye(5).double(), generator=seed(), threshold=0.9999, route=route)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda q: decoder(q[None])[0], code) for code in z]).double()
    exact = torch.linalg.eigvalsh((jacobian.mT @ jacobian).mean(0)).flip(0)
    torch.testing.assert_close(found.eigenvalues, exact[: len(found.eigenvalues)], rtol=1e-4, atol=1e-7)
    assert found.mode == "double reverse"


def test_a_decoder_that_only_decodes_has_directions_by_differences_on_the_exact_route():
    matrix, z, identity = torch.randn(9, 5), torch.randn(6, 5), torch.eye(5).double()
    model = pair(lambda q: torch.from_numpy((q.detach() @ matrix.T).numpy()), 5)
    found = principal_directions(model, Posterior(z), identity, generator=seed())
    assert found.mode == "central differences"
    torch.testing.assert_close(found.eigenvalues, spectrum(matrix, identity)[: len(found.eigenvalues)], rtol=1e-3, atol=0)
    with pytest.raises(ArdtoolError, match="The decoder cannot be differentiated: ") as caught:
        principal_directions(model, Posterior(z), identity, generator=seed(), route="krylov")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("route", ["exact", "krylov"])
def test_half_precision_inside_the_decoder_loses_no_direction(route):
    matrix, z = torch.randn(9, 5).bfloat16(), torch.randn(6, 5)
    model = pair(lambda q: (q.bfloat16() @ matrix.T).float(), 5)
    found = principal_directions(model, Posterior(z), torch.eye(5).double(), generator=seed(), route=route)
    exact = spectrum(matrix.float(), torch.eye(5).double())[:5]
    assert found.count(0.99) == int(active_count(exact, 0.99))
    torch.testing.assert_close(found.eigenvalues, exact[: len(found.eigenvalues)], rtol=0.02, atol=0.01)


@pytest.mark.parametrize("route", ["exact", "krylov"])
def test_memory_that_runs_out_halves_the_chunks(route):
    decoder, z = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 12)), torch.randn(9, 5)

    class Scarce(nn.Module):
        def forward(self, codes):
            if len(codes) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return decoder(codes)

    found, whole = (
        principal_directions(pair(model, 5), Posterior(z), torch.eye(5), generator=seed(), threshold=0.9999, route=route)
        for model in (Scarce(), decoder)
    )
    torch.testing.assert_close(found.eigenvalues, whole.eigenvalues, rtol=1e-4, atol=0)
