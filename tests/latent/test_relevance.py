"""Scores, counts and verdicts that are known beforehand."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.axes import LatentAxes
from ardtool.latent.codes import LatentCodes
from ardtool.latent.jacobian import JacobianNorms, column_norms
from ardtool.latent.precision import GammaPosterior
from ardtool.latent.relevance import active_count, score_axes
from ardtool.latent.statistics import CodeStatistics


def codes_of(z: torch.Tensor, log_variance: torch.Tensor | None = None, ard: bool = True) -> LatentCodes:
    prior = GammaPosterior.uninformed(z.shape[1]).updated(z) if ard else None
    return LatentCodes(CodeStatistics.of(z), Posterior(z, log_variance), prior)


def exact_norms(weight: torch.Tensor, samples: int = 50) -> JacobianNorms:
    return JacobianNorms(weight.double().expand(samples, -1).clone(), 10, "paper")


@pytest.mark.parametrize(
    ("scores", "threshold", "count"),
    [
        ((60, 39.5, 0.3, 0.2), 0.99, 2),
        ((50, 49, 1), 0.99, 3),  # 99.0 is not more than 99
        ((50, 25, 25), 0.5, 2),
        ((1, 1, 1, 1), 0.5, 3),  # ties
        ((3, 2, 1, 0), 1.0, 3),  # all axes with a positive score
        ((5, 0, 0), 0.99, 1),
        ((0, 0, 0), 0.99, 0),
        ((0.2, 60, 0.3, 39.5), 0.99, 2),  # order does not matter
    ],
)
def test_active_count(scores, threshold, count):
    assert int(active_count(torch.tensor(scores, dtype=torch.float64), threshold)) == count


def test_scores_are_weight_times_variance_sorted():
    z = torch.randn(500, 3) * torch.tensor([1.0, 3.0, 0.1])
    codes = codes_of(z)
    weight = torch.tensor([2.0, 1.0, 5.0])
    result = score_axes(codes, exact_norms(weight), 0.99)
    expected = weight.double() * z.double().square().mean(0)
    assert result.order == expected.argsort(descending=True).tolist()
    for axis in result.axes:
        assert axis.score == pytest.approx(float(expected[axis.axis]))
        assert axis.explained == pytest.approx(float(expected[axis.axis] / expected.sum()))
    assert result.axes[-1].cumulative == pytest.approx(1)


def test_invariant_to_rescaling_an_axis():
    """W_l → W_l / c, z_l → c z_l leaves every score alone."""
    scale = torch.tensor([1e-3, 1.0, 50.0, 7.0])
    decoder, z = nn.Sequential(nn.Linear(4, 20), nn.Tanh(), nn.Linear(20, 9)), torch.randn(200, 4)
    rescaled = nn.Sequential(nn.Linear(4, 20), nn.Tanh(), nn.Linear(20, 9))
    rescaled.load_state_dict(decoder.state_dict())
    with torch.no_grad():
        rescaled[0].weight /= scale
    results = [
        score_axes(codes_of(codes), column_norms(ModulePair(nn.Identity(), net, (9,), 4), Posterior(codes[:20])), 0.9)
        for net, codes in ((decoder, z), (rescaled, z * scale))
    ]
    first, second = ({axis.axis: axis.score for axis in result.axes} for result in results)
    for axis, score in first.items():
        assert second[axis] == pytest.approx(score, rel=1e-4)
    assert results[0].active_axes == results[1].active_axes


def test_equivariant_to_permuting_axes():
    z, weight, order = torch.randn(300, 4) * torch.tensor([1.0, 2.0, 3.0, 0.01]), torch.rand(4) + 0.1, [2, 0, 3, 1]
    first = score_axes(codes_of(z), exact_norms(weight), 0.99)
    second = score_axes(codes_of(z[:, order]), exact_norms(weight[order]), 0.99)
    assert [order[axis.axis] for axis in second.axes] == first.order
    assert second.active == first.active


def test_fixed_priors_use_the_variance_about_the_mean():
    z = torch.randn(1000, 2) + torch.tensor([10.0, 0.0])
    ard, fixed = (
        score_axes(codes_of(z), exact_norms(torch.ones(2)), 0.99),
        score_axes(codes_of(z, ard=False), exact_norms(torch.ones(2)), 0.99),
    )
    assert ard.axes[0].variance == pytest.approx(101, rel=0.02)
    assert fixed.axes[0].variance == pytest.approx(1, rel=0.15)


def test_states_of_axes_whose_part_is_known():
    """relevant, collapsed to the prior, written but not read, and weak."""
    n = 4000
    moving = torch.randn(n, 4)
    mean = moving * torch.tensor([1.0, 0.0, 1.0, 1.0])
    log_variance = torch.tensor([-4.0, 0.0, -4.0, -4.0]).expand(n, -1)
    z = mean + (log_variance / 2).exp() * torch.randn(n, 4)
    codes = LatentCodes(CodeStatistics.of(z), Posterior(mean, log_variance), None)
    result = score_axes(codes, exact_norms(torch.tensor([1.0, 1e-3, 1e-9, 5e-3])), 0.99)
    assert {axis.axis: axis.state for axis in result.axes} == {0: "relevant", 1: "collapsed", 2: "ignored", 3: "weak"}
    assert result.active_axes == [0]


def test_deterministic_codes_have_no_kl_and_collapse_when_they_stand_still():
    z = torch.randn(100, 3) * torch.tensor([1.0, 0.0, 0.05])
    result = score_axes(codes_of(z, ard=False), exact_norms(torch.ones(3)), 0.99)
    assert {axis.axis: (axis.kl, axis.state) for axis in result.axes} == {0: (None, "relevant"), 1: (None, "collapsed"), 2: (None, "weak")}


def test_interval_is_a_point_where_nothing_is_in_doubt():
    codes = codes_of(torch.randn(10_000, 3))
    assert score_axes(codes, exact_norms(torch.tensor([1.0, 1.0, 1e-6])), 0.99).active_interval == (2, 2)


def test_interval_opens_where_an_axis_is_on_the_edge(generator):
    """A third axis worth 1 % of the total, from 40 codes: whether it counts is a coin toss, and the interval says so."""
    codes = codes_of(torch.randn(40, 3, generator=generator))
    variance = codes.axis_variance
    target = torch.tensor([0.6, 0.39, 0.01], dtype=torch.float64)
    assert score_axes(codes, exact_norms(target / variance), 0.99).active_interval == (2, 3)


def test_standard_error_covers_the_truth(generator):
    """95 % intervals of scores from 25 samples and 200 codes contain the true score in 90-99 % of repetitions."""
    hits = 0
    for _ in range(400):
        contributions = torch.rand(25, 1, generator=generator, dtype=torch.float64) * 2  # mean 1
        codes = codes_of(torch.randn(200, 1, generator=generator))  # variance 1
        axis = score_axes(codes, JacobianNorms(contributions, 1, "paper"), 0.99, generator).axes[0]
        hits += abs(axis.score - 1) < 1.96 * axis.score_stderr
    assert 0.90 <= hits / 400 <= 0.99


def test_the_score_of_a_channel_is_the_sum_over_its_elements():
    """Its weight is that sum over its mean variance, and its error counts that elements change together from sample to sample."""
    axes, samples = LatentAxes((3, 2, 2)), 40
    z = torch.randn(400, 12) * torch.linspace(0.2, 2, 12) + 1
    contributions = torch.rand(samples, 12, dtype=torch.float64) * torch.linspace(3, 1, 12) + torch.rand(samples, 1, dtype=torch.float64)
    codes, norms = codes_of(z), JacobianNorms(contributions, 10, "paper")
    result = score_axes(codes, norms, 0.99, axes=axes)
    elements = (contributions * codes.axis_variance).unflatten(1, axes.shape).sum((2, 3))
    variance = codes.axis_variance.unflatten(0, axes.shape).mean((1, 2))
    error = (elements.std(0).square() / samples + elements.mean(0).square() * 2 / codes.moments(axes).variance_count).sqrt()
    assert len(result.axes) == 3
    for row in result.axes:
        assert row.score == pytest.approx(float(elements[:, row.axis].mean()))
        assert row.variance == pytest.approx(float(variance[row.axis]))
        assert row.weight == pytest.approx(row.score / row.variance)
        assert row.score_stderr == pytest.approx(float(error[row.axis]))
    whole = JacobianNorms(elements / variance, 10, "paper")  # as total effects of channels come
    assert score_axes(codes, whole, 0.99, axes=axes).axes == result.axes
    single = score_axes(codes, norms, 0.99, axes=LatentAxes((3, 2, 2), "element"))
    assert len(single.axes) == 12 and sum(row.score for row in single.axes) == pytest.approx(sum(row.score for row in result.axes))


def test_states_of_channels_count_nats_an_element():
    """Four elements of 0.006 nats each have collapsed; as one axis they would have 0.024 nats."""
    variance = 0.8978  # KL of N(0, 0.8978) from N(0, 1) is 0.0028 nats; a mean of variance 0.0063 adds as much again
    mean, log_variance = torch.randn(4000, 8) * torch.tensor([1.0] * 4 + [0.0063**0.5] * 4), torch.zeros(4000, 8)
    log_variance[:, 4:] = torch.tensor(variance).log()
    log_variance[:, :4] = -4
    z = mean + (log_variance / 2).exp() * torch.randn(4000, 8)
    codes = LatentCodes(CodeStatistics.of(z), Posterior(mean, log_variance), None)
    norms = exact_norms(torch.tensor([1.0] * 4 + [1e-3] * 4))
    result = score_axes(codes, norms, 0.99, axes=LatentAxes((2, 2, 2)))
    assert {row.axis: row.state for row in result.axes} == {0: "relevant", 1: "collapsed"}
    assert result.axes[1].kl == pytest.approx(0.024, rel=0.05)


def test_one_axis_and_a_dead_decoder():
    one = score_axes(codes_of(torch.randn(100, 1)), exact_norms(torch.ones(1)), 0.99)
    assert (one.active, one.active_interval) == (1, (1, 1))
    dead = score_axes(codes_of(torch.randn(100, 2)), exact_norms(torch.zeros(2)), 0.99)
    assert (dead.active, dead.active_axes, dead.active_interval) == (0, [], (0, 0))
