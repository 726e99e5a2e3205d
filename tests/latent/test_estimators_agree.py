"""Exact derivatives, the sketch, total effects and principal directions on decoders whose scores are known, and in any surroundings."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.derivatives import FixedDecoder, pulled_back
from ardtool.latent.jacobian import column_norms, inference_mode
from ardtool.latent.principal import principal_directions
from ardtool.latent.relevance import active_count
from ardtool.latent.sketch import sketched_norms
from ardtool.latent.sobol import finite_difference_norms, total_effects


def pair(decoder, latent_dim: int) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


SPREAD = torch.tensor([0.5, 2.0, 1.0, 0.02, 1.5, 0.0])
GAIN = torch.tensor([2.0, 3.0, 2.0, 1.0, 0.01, 4.0])


def linear(outputs: int) -> tuple[ModulePair, Posterior, torch.Tensor]:
    """f(z) = U diag(gain) z + c with orthonormal columns U, independent codes, and the score gain² Var of every axis."""
    matrix = torch.linalg.qr(torch.randn(outputs, 6)).Q * GAIN
    codes = Posterior(torch.randn(4000, 6) * SPREAD + 1)
    return pair(lambda z: z @ matrix.T - 2, 6), codes, (GAIN * SPREAD).double().square()


def test_a_linear_decoder_has_the_same_scores_by_every_estimator():
    model, codes, score = linear(20)
    variance, few = SPREAD.double().square(), codes.rows(slice(0, 50))
    torch.testing.assert_close(column_norms(model, few).weight * variance, score, rtol=1e-5, atol=0)
    torch.testing.assert_close(finite_difference_norms(model, few).weight * variance, score, rtol=1e-3, atol=0)
    sketched, effects = sketched_norms(model, codes, generator=seed()), total_effects(model, codes, generator=seed())
    assert ((sketched.weight * variance - score).abs() <= 4 * sketched.stderr * variance).all()
    assert ((effects.score - score).abs() <= 4 * effects.stderr).all()
    assert sketched.weight[5] > 0 and effects.score[5] == 0  # read, but it does not vary
    for route in ("exact", "krylov"):
        found = principal_directions(model, few, variance.diag(), generator=seed(), threshold=0.9999, route=route)
        kept = score.sort(descending=True)
        torch.testing.assert_close(found.eigenvalues, kept.values[: len(found.eigenvalues)], rtol=1e-4, atol=0)
        assert found.directions.abs().argmax(dim=0).tolist() == kept.indices[: len(found.eigenvalues)].tolist()
        assert found.total == pytest.approx(float(score.sum()), rel=1e-5)
        counts = [found.count(0.99), *(int(active_count(one, 0.99)) for one in (score, sketched.weight * variance, effects.score))]
        assert counts == [3, 3, 3, 3]


class Everything(nn.Module):
    """Layers that behave differently in training, or under autocast, or in the fast path of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm, self.drop = nn.Linear(6, 32), nn.BatchNorm1d(32), nn.Dropout(0.5)
        self.attend, self.leave = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(32, 24)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.leave(self.attend(self.drop(self.norm(self.enter(z))).unflatten(1, (4, 8))).flatten(1))


DEVIATIONS = torch.randn(30, 6, generator=seed())
ESTIMATORS = {
    "exact": lambda model, codes: column_norms(model, codes).contributions,
    "authors-code": lambda model, codes: column_norms(model, codes, convention="authors-code", generator=seed()).contributions,
    "sketch": lambda model, codes: sketched_norms(model, codes, generator=seed()).contributions,
    "total effects": lambda model, codes: total_effects(model, codes, generator=seed()).contributions,
    "differences": lambda model, codes: finite_difference_norms(model, codes).contributions,
    "directions": lambda model, codes: principal_directions(model, codes, torch.eye(6), generator=seed(), route="exact").contributions,
    "krylov": lambda model, codes: principal_directions(model, codes, torch.eye(6), generator=seed(), route="krylov").contributions,
    "deviations": lambda model, codes: principal_directions(model, codes, deviations=DEVIATIONS, generator=seed()).contributions,
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_surroundings_change_no_bit_and_are_not_changed(name):
    decoder, codes = Everything(), Posterior(torch.randn(12, 6), torch.full((12, 6), -1.0))
    model = pair(decoder, 6)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    expected = ESTIMATORS[name](model.eval(), codes)
    assert expected.shape[0] in (12, 6) and (expected.sum(0) > 0).all()
    model.train()
    decoder.norm.eval()
    for surroundings in (torch.autocast("cpu", torch.bfloat16), torch.no_grad(), torch.inference_mode(), torch.enable_grad()):
        with surroundings:
            assert torch.equal(ESTIMATORS[name](model, codes), expected)
    assert [part.training for part in (model, decoder, decoder.norm, decoder.drop)] == [True, True, False, True]
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.backends.mha.get_fastpath_enabled() and torch.is_grad_enabled()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_surroundings_are_put_back_after_an_error(name):
    def fail(z):
        raise RuntimeError("shapes")

    model = pair(fail, 6).train()
    with pytest.raises(Exception, match="shapes"):
        ESTIMATORS[name](model, Posterior(torch.randn(4, 6)))
    assert model.training and torch.backends.mha.get_fastpath_enabled() and torch.is_grad_enabled()


def test_rows_and_columns_of_one_jacobian_are_the_same_numbers():
    """Forward images of unit tangents, and reverse products with unit cotangents, entry by entry."""
    model, z = pair(Everything(), 6), torch.randn(5, 6)
    with inference_mode(model):
        decoder = FixedDecoder.at(model, Posterior(z), z, "cpu", 2**28)
        columns = decoder.images("forward", slice(0, 5), torch.eye(6)).mT
        rows = pulled_back(model, z, None, torch.eye(24).expand(5, -1, -1))
    assert rows.shape == columns.shape == (5, 24, 6)
    torch.testing.assert_close(rows, columns, rtol=1e-4, atol=1e-6)
