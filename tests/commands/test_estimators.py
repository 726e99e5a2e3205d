"""Every estimator and basis gives the same answer where the answer is known."""

import pytest
import torch
from torch import nn

import ardtool
from ardtool.autoencoder import Posterior
from ardtool.commands.estimation import Request, estimate
from ardtool.errors import ConfigError
from ardtool.latent.axes import LatentAxes
from ardtool.latent.codes import LatentCodes
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.statistics import CodeStatistics

DEVIATIONS = torch.tensor([3.0, 1.0, 0.05, 2.0])


@pytest.fixture(scope="module")
def linear():
    """Independent codes and a linear decoder: scores are ‖W_l‖² Var(z_l) for every estimator."""
    torch.manual_seed(0)
    decoder = nn.Linear(4, 12)
    return ardtool.ModulePair(nn.Identity(), decoder, (4,), 4), torch.randn(4000, 4) * DEVIATIONS


@pytest.mark.parametrize(("estimator", "samples"), [("exact", 50), ("sketch", 1000), ("sobol", 1000), ("auto", None)])
def test_scores_of_a_linear_decoder(linear, estimator, samples):
    model, x = linear
    result = ardtool.relevance(model, data=x, estimator=estimator, samples=samples)
    expected = model.decoder.weight.detach().double().square().sum(0) * x.double().var(0, correction=0)
    for axis in result.axes:
        assert abs(axis.score - float(expected[axis.axis])) < 4 * axis.score_stderr + 1e-3 * float(expected.sum())
    assert result.active == int(ardtool.relevance(model, data=x).active)
    assert result.variance_kind == "centred"


def test_auto_sketches_wide_latent_spaces_and_says_why():
    model = ardtool.ModulePair(nn.Identity(), nn.Linear(300, 300), (300,), 300)
    result = ardtool.relevance(model, data=torch.randn(1500, 300))
    assert result.estimator["name"] == "sketch"
    assert "the sketch costs" in result.estimator["reason"]
    assert ardtool.relevance(model, data=torch.randn(1500, 300), convention="authors-code", samples=20).estimator["name"] == "exact"


@pytest.mark.parametrize("rank", [2, 5])
def test_rotated_axes_all_look_active_but_only_r_directions_are(rank):
    """Codes of rank r turned against the axes: the decoder reads the same r directions through every axis."""
    rotation = torch.linalg.qr(torch.randn(16, 16)).Q
    spread = torch.zeros(16)
    spread[:rank] = torch.linspace(1, 2, rank)
    x = (torch.randn(3000, 16) * spread) @ rotation
    model = ardtool.ModulePair(nn.Identity(), nn.Sequential(nn.Linear(16, 30)), (16,), 16)
    assert ardtool.relevance(model, data=x).active > rank
    principal = ardtool.relevance(model, data=x, basis="principal")
    assert (principal.active, principal.active_interval, principal.basis) == (rank, (rank, rank), "principal")
    assert [axis.state for axis in principal.axes[:rank]] == ["relevant"] * rank
    assert principal.axes[rank - 1].cumulative > 0.99


def test_principal_directions_of_a_trained_model(vectors_run):
    result = ardtool.relevance(vectors_run.model, basis="principal")
    assert result.active == 2
    total = sum(axis.score for axis in vectors_run.relevance.axes)
    assert sum(axis.score for axis in result.axes) == pytest.approx(total, rel=0.2)


def test_combinations_that_are_not_defined(linear):
    model, x = linear
    for options, sentence in (
        ({"basis": "principal", "estimator": "sketch"}, "--basis principal is defined for"),
        ({"estimator": "sobol", "convention": "authors-code"}, "--estimator sobol has no derivatives"),
    ):
        with pytest.raises(ConfigError) as caught:
            ardtool.relevance(model, data=x, **options)
        assert caught.value.message.startswith(sentence)
    with pytest.raises(ardtool.ArdtoolError):
        ardtool.relevance(model, data=x, estimator="sketch", convention="authors-code")


@pytest.mark.parametrize("latent_dim", [1000, 1100])
def test_directions_of_an_ard_model_are_scored_about_zero_at_any_size(latent_dim):
    """Above 1,024 axes the codes themselves take the place of their covariance; their mean counts in the prior's variance all the same."""
    torch.manual_seed(0)
    z = 3 + 0.1 * torch.randn(200, latent_dim)
    model = ardtool.ModulePair(nn.Identity(), nn.Linear(latent_dim, 4, bias=False), (latent_dim,), latent_dim)
    prior = GammaPosterior.uninformed(latent_dim).updated(z)
    codes = LatentCodes(CodeStatistics.of(z), Posterior(z), prior)
    found = estimate(model, codes, LatentAxes((latent_dim,)), Request(basis="principal")).scores
    expected = float(model.decode(z).detach().double().square().sum(dim=1).mean())
    assert sum(axis.score for axis in found.axes) == pytest.approx(expected, rel=0.02)


def test_the_kl_does_not_depend_on_the_estimator():
    torch.manual_seed(0)
    posterior = Posterior(torch.randn(500, 3) * torch.tensor([1.0, 1.0, 0.0]), torch.log(torch.tensor([0.02, 0.02, 0.04])).expand(500, 3))
    z = posterior.sample(torch.Generator().manual_seed(1))
    codes = LatentCodes(CodeStatistics.of(z), posterior, GammaPosterior.uninformed(3).updated(z))
    decoder = nn.Linear(3, 6)
    with torch.no_grad():
        decoder.weight[:, 2] = 0
    model = ardtool.ModulePair(nn.Identity(), decoder, (6,), 3)
    rows = [
        {axis.axis: (axis.kl, axis.state) for axis in estimate(model, codes, LatentAxes((3,)), Request(estimator=estimator)).scores.axes}
        for estimator in ("exact", "sobol")
    ]
    assert rows[0] == rows[1] and rows[0][2][1] == "collapsed"
