"""Scores of principal directions: shares, error bars and verdicts that are known beforehand."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.codes import LatentCodes
from ardtool.latent.directions import score_directions
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.principal import PrincipalDirections, principal_directions
from ardtool.latent.relevance import RelevanceScores
from ardtool.latent.statistics import CodeStatistics


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def scored(gain: torch.Tensor, count: int, threshold: float, *, ard: bool = False) -> tuple[RelevanceScores, LatentCodes]:
    """f(z) = U diag(gain) z with orthonormal columns, of codes with unit covariance about (1, …, 1), or about zero with an ARD prior."""
    axes, z = len(gain), torch.randn(count, len(gain), dtype=torch.float64)
    z = torch.linalg.qr(z - z.mean(0)).Q * count**0.5
    z = (z if ard else z + 1).float()
    matrix = torch.linalg.qr(torch.randn(axes + 5, axes)).Q * gain
    model = ModulePair(nn.Identity(), lambda q: q @ matrix.T, (axes + 5,), axes)
    codes = LatentCodes(CodeStatistics.of(z), Posterior(z), GammaPosterior.uninformed(axes).updated(z) if ard else None)
    found = principal_directions(
        model, codes.reference.rows(slice(0, 20)), codes.statistics.covariance, generator=seed(), threshold=1.0, route="exact"
    )
    return score_directions(found, codes, codes.statistics.mean, threshold, seed()), codes


@pytest.mark.parametrize("ard", [True, False])
def test_scores_of_a_linear_decoder_are_its_spectrum(ard):
    gain = torch.tensor([3.0, 2.0, 1.0, 0.1])
    result, codes = scored(gain, 500, 0.9, ard=ard)
    spectrum = gain.double().square()
    share = spectrum / spectrum.sum()
    for name, expected in (("score", spectrum), ("weight", spectrum), ("explained", share), ("cumulative", share.cumsum(0))):
        torch.testing.assert_close(torch.tensor([getattr(axis, name) for axis in result.axes]), expected.float(), rtol=1e-4, atol=0)
    assert codes.variance_count == 500
    for axis in result.axes:  # no spread between samples: what is left is the error of a variance of 500 codes
        assert axis.score_stderr == pytest.approx(axis.score * (2 / 500) ** 0.5, rel=1e-3)
        assert axis.mean_variance == pytest.approx(1, rel=1e-4) and (axis.variance, axis.kl) == (1, None)
    assert [axis.active for axis in result.axes] == [True, True, False, False] and result.active == 2  # 13 of 14.01 are more than 90 %
    assert result.order == [0, 1, 2, 3] and result.threshold == 0.9


def test_states_of_directions():
    """A share below 1e-4 is ignored, one above that but outside the active set is weak."""
    result, _ = scored(torch.tensor([1.0, 0.05, 0.002]), 300, 0.99)
    assert [axis.state for axis in result.axes] == ["relevant", "weak", "ignored"]


def test_the_interval_of_the_count_opens_where_a_direction_is_on_the_edge():
    sure, _ = scored(torch.tensor([1.0, 1.0, 0.001]), 300, 0.99)
    edge, _ = scored(torch.tensor([1.0, 1.0, (2 / 99) ** 0.5]), 40, 0.99)
    assert (sure.active, sure.active_interval) == (2, (2, 2))
    assert edge.active_interval == (2, 3)


def test_a_remainder_is_part_of_the_total_and_of_every_share():
    """Two directions found of five, the others' trace known only as a sum: half of everything."""
    contributions = torch.tensor([3.0, 1.0], dtype=torch.float64).expand(30, 2).clone()
    found = PrincipalDirections(
        contributions.mean(0),
        torch.eye(5, dtype=torch.float64)[:, :2],
        torch.eye(5, dtype=torch.float64)[:2],
        contributions,
        torch.full((30,), 4.0, dtype=torch.float64),
        "krylov",
        5,
    )
    z = torch.randn(1000, 5)
    codes = LatentCodes(CodeStatistics.of(z), Posterior(z))
    result = score_directions(found, codes, codes.statistics.mean, 0.4, seed())
    assert [axis.explained for axis in result.axes] == [3 / 8, 1 / 8] and result.axes[-1].cumulative == 0.5
    assert result.active == 2 and found.spread.shape == (30, 5)
