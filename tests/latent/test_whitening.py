"""Principal directions from deviations of codes, where a covariance would be too large to build."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.chunks import AllocatedBytes
from ardtool.latent.principal import principal_directions
from ardtool.latent.whitening import root_of


def pair(decoder, latent_dim: int) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def spectrum(matrix: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of M Σ Mᵀ, those of A for a linear decoder M, on the other side of the product."""
    return torch.linalg.eigvalsh(matrix.double() @ covariance @ matrix.double().T).flip(0)


@pytest.mark.parametrize(("rows", "rank"), [(3, 3), (40, 8), (40, 2)])
def test_a_root_and_its_inverse(rows, rank):
    """R Rᵀ = Σ, R⁺ R = I, and R R⁺ projects onto what the codes span, from Σ and from deviations."""
    deviations = torch.randn(rows, rank).double() @ torch.randn(rank, 8).double()
    covariance = deviations.T @ deviations / rows
    projection = torch.linalg.pinv(deviations) @ deviations
    for given in ((covariance, None), (None, deviations)):
        root, inverse = root_of(8, *given, "cpu")
        assert root.shape == (8, rank) and inverse.shape == (rank, 8)
        torch.testing.assert_close(root @ root.T, covariance)
        torch.testing.assert_close(inverse @ root, torch.eye(rank).double())
        torch.testing.assert_close(root @ inverse, projection)


@pytest.mark.parametrize("route", ["exact", "krylov"])
@pytest.mark.parametrize("count", [3, 12, 60])
def test_deviations_give_what_their_covariance_gives(route, count):
    """Fewer codes than axes and more: the same eigenvalues, directions up to sign, and readout on what the codes span."""
    decoder = nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 30))
    z, deviations = torch.randn(8, 20), torch.randn(count, 20) * 0.8 ** torch.arange(20)
    covariance = deviations.double().T @ deviations.double() / count
    given, built = (
        principal_directions(pair(decoder, 20), Posterior(z), generator=seed(), threshold=0.9999, route=route, **one)
        for one in ({"deviations": deviations}, {"covariance": covariance})
    )
    kept = min(len(given.eigenvalues), len(built.eigenvalues))
    assert given.count(0.99) == built.count(0.99) and given.rank == built.rank == min(count, 20)
    torch.testing.assert_close(given.eigenvalues[:kept], built.eigenvalues[:kept], rtol=1e-4, atol=0)
    assert given.total == pytest.approx(built.total, rel=1e-3)
    torch.testing.assert_close(given.readout @ given.directions, torch.eye(len(given.eigenvalues)).double(), rtol=0, atol=1e-8)
    torch.testing.assert_close((given.readout[:2] @ built.directions[:, :2]).abs(), torch.eye(2).double(), rtol=0, atol=0.02)


def test_a_large_map_needs_no_matrix_of_its_size():
    """16,384 elements, codes on a plane of 6 dimensions of which the decoder reads 4: nothing of 16,384² (2 GiB) is built."""
    frame = torch.linalg.qr(torch.randn(16384, 6)).Q
    deviations = torch.randn(200, 6) @ frame.T
    matrix = torch.randn(4, 5) @ torch.linalg.qr(torch.randn(5, 5)).Q
    model = pair(lambda z: z @ frame[:, :5] @ matrix.T @ torch.eye(4, 50), 16384)
    coordinates = (deviations @ frame[:, :5]).double()
    exact = spectrum(matrix, coordinates.T @ coordinates / 200)
    for route in ("exact", "krylov"):
        with AllocatedBytes() as allocated:
            found = principal_directions(
                model, Posterior(deviations[:3]), deviations=deviations, generator=seed(), threshold=0.9999, route=route
            )
        assert found.rank == 6 and found.count(0.9999) == 4 and found.spread.shape == (3, 6)
        torch.testing.assert_close(found.eigenvalues, exact, rtol=1e-4, atol=0)
        assert allocated.total < 16384**2 * 8


def test_codes_that_do_not_vary_have_no_directions():
    model, codes = pair(nn.Linear(7, 9), 7), Posterior(torch.ones(5, 7))
    for given in ({"covariance": torch.zeros(7, 7)}, {"deviations": torch.zeros(5, 7)}):
        found = principal_directions(model, codes, generator=seed(), **given)
        assert found.count(0.99) == 0 and found.total == 0
