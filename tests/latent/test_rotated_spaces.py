"""Rotated spaces of rank r: more than r axes are active, and exactly r principal directions; a rotation changes none of them."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.codes import LatentCodes
from ardtool.latent.jacobian import column_norms
from ardtool.latent.principal import principal_directions
from ardtool.latent.relevance import active_count, score_axes
from ardtool.latent.statistics import CodeStatistics


def pair(decoder, latent_dim: int) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotation(size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size)).Q


def covariance_of(z: torch.Tensor) -> torch.Tensor:
    return z.double().T.cov(correction=0)


@pytest.mark.parametrize("route", ["exact", "krylov"])
@pytest.mark.parametrize(("latent_dim", "rank"), [(16, 5), (64, 3), (512, 7), (512, 40)])
def test_a_decoder_that_reads_r_directions(latent_dim, rank, route):
    """Codes vary everywhere, and the decoder reads r of their directions equally."""
    matrix, z = rotation(48)[:, :rank] @ rotation(latent_dim)[:rank], torch.randn(8, latent_dim)
    model, covariance = pair(lambda q: q @ matrix.T, latent_dim), torch.eye(latent_dim, dtype=torch.float64)
    axes = int(active_count(column_norms(model, Posterior(z)).weight, 0.99))
    found = principal_directions(model, Posterior(z), covariance, generator=seed(), threshold=0.995, route=route)
    assert axes > rank
    assert found.count(0.995) == rank == len(found.eigenvalues)
    torch.testing.assert_close(found.eigenvalues, torch.ones(rank, dtype=torch.float64), rtol=1e-4, atol=0)
    if route == "exact":
        everything = principal_directions(model, Posterior(z), covariance, generator=seed(), threshold=1.0, route=route)
        assert everything.count(1.0) == rank


@pytest.mark.parametrize("route", ["exact", "krylov"])
@pytest.mark.parametrize(("latent_dim", "rank"), [(16, 5), (512, 7)])
def test_a_curved_decoder_that_reads_r_directions(latent_dim, rank, route):
    """f(z) = sin of r rotated coordinates, side by side: λ = E[cos²] of each, and nothing else at any threshold."""
    turn, z = rotation(latent_dim)[:rank], torch.randn(30, latent_dim)
    model = pair(lambda q: (q @ turn.T).sin().repeat(1, 2), latent_dim)
    covariance = torch.eye(latent_dim, dtype=torch.float64)
    found = principal_directions(model, Posterior(z), covariance, generator=seed(), threshold=0.9999, route=route)
    expected = 2 * (z @ turn.T).double().cos().square().mean(0).sort(descending=True).values
    assert int(active_count(column_norms(model, Posterior(z[:8])).weight, 0.99)) > rank
    assert found.count(0.9999) == rank == len(found.eigenvalues)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("route", ["exact", "krylov"])
@pytest.mark.parametrize(("latent_dim", "rank"), [(16, 5), (512, 7), (2048, 6)])
def test_codes_of_rank_r(latent_dim, rank, route):
    """z = Q s with s of rank r, and a decoder that reads everything. Above 1,024 elements only variances are known, and deviations."""
    z = torch.randn(300, rank) @ rotation(latent_dim)[:rank]
    model, codes = pair(lambda q: 3 * q, latent_dim), LatentCodes(CodeStatistics.of(z), Posterior(z))
    reference, centred = codes.reference.rows(slice(0, 4)), z.double() - codes.statistics.mean
    covariance, deviations = (None, centred) if codes.statistics.is_diagonal else (codes.statistics.covariance, None)
    found = principal_directions(model, reference, covariance, deviations=deviations, generator=seed(), threshold=0.9999, route=route)
    assert codes.statistics.is_diagonal == (latent_dim == 2048)
    assert score_axes(codes, column_norms(model, reference), 0.9999).active > rank
    assert found.count(0.9999) == rank == len(found.eigenvalues) == found.rank
    exact = 9 * torch.linalg.svdvals(centred)[:rank].square() / 300
    torch.testing.assert_close(found.eigenvalues, exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize("route", ["exact", "krylov"])
def test_a_rotation_of_the_latent_space_changes_no_eigenvalue(route):
    decoder, turn = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 12)), rotation(5)
    z = torch.randn(20, 5) * torch.tensor([3.0, 1.0, 1.0, 0.3, 0.1])
    plain = principal_directions(pair(decoder, 5), Posterior(z), covariance_of(z), generator=seed(), route=route)
    model = pair(lambda q: decoder(q @ turn), 5)
    turned = principal_directions(model, Posterior(z @ turn.T), covariance_of(z @ turn.T), generator=seed(), route=route)
    kept = plain.count(0.99)
    assert kept == turned.count(0.99)
    torch.testing.assert_close(turned.eigenvalues[:kept], plain.eigenvalues[:kept], rtol=1e-3, atol=0)


def test_directions_rebuild_what_the_decoder_reads():
    """With r of L directions kept, z and its projection decode to the same."""
    matrix, z = rotation(30)[:, :4] @ rotation(24)[:4], torch.randn(500, 24)
    model = pair(lambda q: q @ matrix.T, 24)
    found = principal_directions(model, Posterior(z), covariance_of(z), generator=seed())
    centre = z.double().mean(0)
    coordinates = (z.double() - centre) @ found.readout[:4].T
    torch.testing.assert_close(coordinates.T.cov(correction=0), torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-5)
    projected = (centre + coordinates @ found.directions[:, :4].T).float()
    torch.testing.assert_close(model.decode(projected), model.decode(z), rtol=0, atol=1e-4)
    assert not torch.allclose(model.decode((centre + coordinates[:, :3] @ found.directions[:, :3].T).float()), model.decode(z), atol=0.1)
