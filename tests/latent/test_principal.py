"""Principal directions against closed forms, and the Krylov route against the exact one."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.errors import ConfigError
from ardtool.latent import whitening
from ardtool.latent.jacobian import column_norms
from ardtool.latent.principal import principal_directions
from ardtool.latent.relevance import active_count


def pair(decoder, latent_dim: int) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def rotation(size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size)).Q


def covariance_of(z: torch.Tensor) -> torch.Tensor:
    return z.double().T.cov(correction=0)


def spectrum(matrix: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of M Σ Mᵀ, those of A for a linear decoder M, on the other side of the product."""
    return torch.linalg.eigvalsh(matrix.double() @ covariance @ matrix.double().T).flip(0)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.attend = nn.Linear(5, 16), nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, z):
        tokens = self.enter(z).unflatten(1, (4, 4))
        return self.attend(tokens, tokens, tokens, need_weights=False)[0].flatten(1)


DECODERS = {
    "dense": lambda: nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 12)),
    "normalised": lambda: nn.Sequential(
        nn.Linear(5, 32), nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.SiLU()
    ),
    "attention": Attention,
}


def dense_jacobian(decoder, z):
    return torch.stack([torch.autograd.functional.jacobian(lambda q: decoder(q[None])[0].flatten(), code) for code in z]).double()


@pytest.mark.parametrize("route", ["exact", "krylov"])
def test_a_linear_decoder_has_the_spectrum_of_the_closed_form(route):
    matrix, z = torch.randn(40, 6), torch.randn(50, 6) @ torch.randn(6, 6)
    covariance = covariance_of(z)
    found = principal_directions(pair(lambda q: q @ matrix.T, 6), Posterior(z), covariance, generator=seed(), route=route)
    exact = spectrum(matrix, covariance)[:6]
    kept = len(found.eigenvalues)
    torch.testing.assert_close(found.eigenvalues, exact[:kept], rtol=1e-5, atol=1e-6 * float(exact[0]))
    assert found.total == pytest.approx(float(exact.sum()), rel=1e-4)
    assert found.count(0.99) == int(active_count(exact, 0.99)) and found.route == route


@pytest.mark.parametrize("route", ["exact", "krylov"])
@pytest.mark.parametrize("name", DECODERS)
def test_curved_decoders_meet_the_dense_jacobian(name, route):
    decoder, z = DECODERS[name](), torch.randn(20, 5)
    covariance = covariance_of(z @ torch.randn(5, 5))
    model = pair(decoder, 5)
    found = principal_directions(model, Posterior(z), covariance, generator=seed(), threshold=0.9999, route=route)
    assert model.training
    jacobian = dense_jacobian(decoder.eval(), z)
    gram = (jacobian.mT @ jacobian).mean(0)
    kept = len(found.eigenvalues)
    exact = torch.linalg.eigvals(gram @ covariance).real.sort(descending=True).values  # not symmetric, the same eigenvalues
    torch.testing.assert_close(found.eigenvalues, exact[:kept], rtol=1e-4, atol=1e-6)
    assert found.total == pytest.approx(float(exact.sum()), rel=1e-3)
    contributions = (jacobian @ found.directions).square().sum(1)
    torch.testing.assert_close(found.contributions, contributions, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.contributions.mean(0), found.eigenvalues, rtol=1e-4, atol=1e-6)
    if route == "exact":
        traces = (jacobian.mT @ jacobian @ covariance).diagonal(dim1=1, dim2=2).sum(1)
        torch.testing.assert_close(found.spread.sum(1), traces, rtol=1e-4, atol=1e-6)


def test_with_diagonal_covariance_the_total_is_the_sum_of_the_scores():
    decoder, codes = DECODERS["dense"](), Posterior(torch.randn(20, 5))
    variance = torch.tensor([4.0, 1.0, 0.5, 0.1, 0.0], dtype=torch.float64)
    found = principal_directions(pair(decoder, 5), codes, variance.diag(), generator=seed())
    assert found.total == pytest.approx(float((column_norms(pair(decoder, 5), codes).weight * variance).sum()), rel=1e-5)


def rotated(latent_dim: int, rank: int, outputs: int, samples: int):
    """A decoder that reads `rank` equal directions of a rotated space, and codes that vary everywhere."""
    matrix = rotation(outputs)[:, :rank] @ rotation(latent_dim)[:rank]
    return pair(lambda z: z @ matrix.T, latent_dim), torch.randn(samples, latent_dim)


def test_the_krylov_route_equals_the_exact_one():
    """80 axes with a geometric spectrum, a curved decoder, and a threshold that needs many directions."""
    decoder = nn.Sequential(nn.Linear(80, 100), nn.Tanh(), nn.Linear(100, 60))
    z = torch.randn(30, 80) * 0.93 ** torch.arange(80)
    covariance = covariance_of(torch.randn(3000, 80) * 0.93 ** torch.arange(80))
    exact, krylov = (
        principal_directions(pair(decoder, 80), Posterior(z), covariance, generator=seed(), threshold=0.97, route=route)
        for route in ("exact", "krylov")
    )
    assert exact.count(0.97) == krylov.count(0.97) > 16  # more than one block
    kept = krylov.count(0.97)
    torch.testing.assert_close(krylov.eigenvalues[:kept], exact.eigenvalues[:kept], rtol=1e-3, atol=0)
    assert krylov.total == pytest.approx(exact.total, rel=2e-3)
    overlap = (krylov.readout[:10] @ exact.directions[:, :10]).abs()
    torch.testing.assert_close(overlap, torch.eye(10, dtype=torch.float64), rtol=0, atol=0.02)


def test_the_krylov_route_stops_before_it_has_seen_the_whole_space(monkeypatch):
    seen = []
    product = whitening.WhitenedDecoder.product
    monkeypatch.setattr(whitening.WhitenedDecoder, "product", lambda self, vectors: seen.append(vectors.shape[1]) or product(self, vectors))
    model, z = rotated(512, 7, 48, 4)
    principal_directions(model, Posterior(z), torch.eye(512, dtype=torch.float64), generator=seed(), route="krylov")
    assert sum(seen) <= 32


def test_a_repeated_eigenvalue_is_found_as_often_as_it_occurs():
    """A Krylov space of one block of 16 is invariant at once here; the missing trace must send it on."""
    found = principal_directions(
        pair(lambda z: 2 * z, 50), Posterior(torch.randn(5, 50)), torch.eye(50, dtype=torch.float64), generator=seed(), route="krylov"
    )
    assert found.count(0.99) == 50
    torch.testing.assert_close(found.eigenvalues, torch.full((50,), 4.0, dtype=torch.float64), rtol=1e-5, atol=0)


def test_the_remainder_of_the_krylov_route_is_unbiased():
    """decode(z, c) = c M z at c of very different sizes: G = mean(c²) MᵀM, and the remainder of a sample is in proportion to its c²."""
    matrix = torch.randn(150, 200) * 0.96 ** torch.arange(200)

    class Scaled(nn.Module):
        input_shape, latent_shape = (150,), (200,)

        def encode(self, x):
            raise NotImplementedError

        def decode(self, z, context=None):
            return context * (z @ matrix.T)

    scale, identity = torch.linspace(0.1, 3, 400)[:, None], torch.eye(200, dtype=torch.float64)
    codes = Posterior(torch.zeros(400, 200), context=scale)
    found = principal_directions(Scaled(), codes, identity, generator=seed(), threshold=0.7, route="krylov", memory=10**7)
    square = scale[:, 0].double().square()
    eigenvalues = spectrum(matrix, identity)
    torch.testing.assert_close(found.eigenvalues, eigenvalues[: len(found.eigenvalues)] * square.mean(), rtol=1e-3, atol=0)
    rest = float(eigenvalues[len(found.eigenvalues) :].sum())
    own = found.remainder / square
    assert abs(own.mean() - rest) <= 4 * own.std() / 400**0.5 < 0.07 * rest
    assert 0.85 * found.total <= found.eigenvalues.sum() < 0.99 * found.total


@pytest.mark.parametrize("route", ["exact", "krylov"])
def test_a_singular_covariance(route):
    """Codes on a plane of 3 dimensions in 20, a decoder that reads everything."""
    frame = torch.randn(3, 20, dtype=torch.float64)
    z, matrix = torch.randn(60, 3, dtype=torch.float64) @ frame, torch.randn(25, 20, dtype=torch.float64)
    covariance = covariance_of(z)
    found = principal_directions(
        pair(lambda q: q @ matrix.T, 20), Posterior(z), covariance, generator=seed(), threshold=0.9999, route=route
    )
    assert found.count(0.9999) == len(found.eigenvalues) == 3
    torch.testing.assert_close(found.eigenvalues, spectrum(matrix, covariance)[:3], rtol=1e-4, atol=0)
    torch.testing.assert_close(found.readout @ found.directions, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(((z.double() - z.double().mean(0)) @ found.readout.T) @ found.directions.T, z.double() - z.double().mean(0))


@pytest.mark.parametrize("route", ["exact", "krylov"])
@pytest.mark.parametrize("memory", [1, 30_000, 10**9])
def test_chunks_do_not_change_the_result(memory, route):
    decoder, z = DECODERS["normalised"](), torch.randn(9, 5)
    whole, parts = (
        principal_directions(
            pair(decoder, 5), Posterior(z), covariance_of(z), generator=seed(), threshold=0.9999, route=route, memory=budget
        )
        for budget in (2**40, memory)
    )
    torch.testing.assert_close(parts.eigenvalues, whole.eigenvalues, rtol=1e-4, atol=0)
    torch.testing.assert_close(parts.contributions, whole.contributions, rtol=2e-3, atol=1e-5)
    torch.testing.assert_close(parts.remainder, whole.remainder, rtol=2e-3, atol=1e-5)


def test_auto_is_exact_where_it_fits():
    model, z = rotated(16, 3, 20, 4)
    for memory, route in ((12 * 16 * 20, "exact"), (12 * 16 * 20 - 1, "krylov")):
        found = principal_directions(model, Posterior(z), torch.eye(16, dtype=torch.float64), generator=seed(), memory=memory)
        assert (found.route, found.count(0.99)) == (route, 3)
    model, z = rotated(513, 3, 20, 2)
    assert principal_directions(model, Posterior(z), torch.eye(513, dtype=torch.float64), generator=seed()).route == "krylov"


@pytest.mark.parametrize("route", ["exact", "krylov"])
@pytest.mark.parametrize("memory", [1, 10**9])
def test_every_code_is_decoded_with_its_own_context(route, memory):
    weight = torch.diag(torch.tensor([3.0, 2.0, 1.0]))

    class Scaled(nn.Module):
        input_shape, latent_shape = (3,), (3,)

        def encode(self, x):
            raise NotImplementedError

        def decode(self, z, context=None):
            return context * (z @ weight.T)

    context = torch.tensor([[1.0], [2.0], [5.0], [0.5]])
    found = principal_directions(
        Scaled(),
        Posterior(torch.randn(4, 3), context=context),
        torch.eye(3, dtype=torch.float64),
        generator=seed(),
        route=route,
        memory=memory,
    )
    expected = context.double().square() * torch.tensor([9.0, 4.0, 1.0])
    torch.testing.assert_close(found.contributions, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.eigenvalues, expected.mean(0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("route", ["exact", "krylov"])
def test_a_decoder_that_reads_nothing_has_no_directions(route):
    found = principal_directions(
        pair(lambda z: 0 * z, 20), Posterior(torch.randn(5, 20)), torch.eye(20, dtype=torch.float64), generator=seed(), route=route
    )
    assert found.count(0.99) == 0 and found.total == 0 and found.spread.shape == (5, 20)


def test_contributions_bootstrap_the_count():
    """Directions read by half of the samples each: the count of resampled means moves, and their mean is the spectrum."""
    model = pair(lambda z: torch.cat([z.relu(), (-z).relu()], dim=1) * torch.tensor([3.0, 1.0, 1.0, 0.5]), 2)
    z = torch.randn(40, 2)
    found = principal_directions(model, Posterior(z), torch.eye(2, dtype=torch.float64), generator=seed())
    rows = torch.randint(0, 40, (500, 40), generator=seed())
    counts = active_count(found.spread[rows].mean(1), 0.83)
    assert {1, 2} == set(counts.tolist())


def test_what_cannot_be_computed_is_refused():
    model, codes = pair(nn.Linear(3, 4), 3), Posterior(torch.zeros(2, 3))
    with pytest.raises(ConfigError, match=r"must be finite with shape \(3, 3\); found shape \(2, 2\)"):
        principal_directions(model, codes, torch.eye(2), generator=seed())
    with pytest.raises(ConfigError, match="need either a covariance or deviations"):
        principal_directions(model, codes, generator=seed())
    with pytest.raises(ConfigError, match="need either a covariance or deviations"):
        principal_directions(model, codes, torch.eye(3), deviations=torch.ones(4, 3), generator=seed())
    with pytest.raises(ConfigError, match=r"Deviations of codes on 3 axes must be finite with shape \(n, 3\); found shape \(4, 2\)"):
        principal_directions(model, codes, deviations=torch.ones(4, 2), generator=seed())
    with pytest.raises(ConfigError, match="must be finite"):
        principal_directions(model, codes, torch.full((3, 3), float("nan")), generator=seed())
    with pytest.raises(ConfigError, match=r"thresholds up to 99.99%, not 100.00%"):
        principal_directions(model, codes, torch.eye(3), generator=seed(), threshold=1.0, route="krylov")
