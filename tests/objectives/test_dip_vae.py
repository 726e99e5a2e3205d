"""DIP-VAE: the penalties of batches with a known covariance."""

import pytest
import torch

from ardtool.autoencoder import Posterior
from ardtool.objectives.dip_vae import DipVaeI, DipVaeII, covariance_penalties


def penalties(mean, log_variance=None, *, with_variance=False) -> tuple[float, float]:
    posterior = Posterior(torch.tensor(mean), None if log_variance is None else torch.tensor(log_variance))
    off_diagonal, diagonal = covariance_penalties(posterior, with_variance=with_variance)
    return float(off_diagonal), float(diagonal)


def test_unit_variance_costs_nothing():
    assert penalties([[1.0], [-1.0]]) == (0, 0)


def test_constant_means_lack_all_variance():
    assert penalties([[0.0, 0.0, 0.0]] * 4) == (0, 3)


def test_posterior_variances_count_in_the_second_form():
    assert penalties([[0.0, 0.0]] * 4, [[0.0, 0.0]] * 4, with_variance=True) == pytest.approx((0, 0))


def test_both_orders_of_a_pair_count():
    assert penalties([[1.0, 1.0], [-1.0, -1.0]]) == (2, 0)


@pytest.mark.parametrize("with_variance", [False, True])
def test_the_order_of_axes_does_not_matter(with_variance):
    mean, log_variance = torch.randn(30, 5), torch.randn(30, 5)
    order = torch.randperm(5)
    first = covariance_penalties(Posterior(mean, log_variance), with_variance=with_variance)
    second = covariance_penalties(Posterior(mean[:, order], log_variance[:, order]), with_variance=with_variance)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(("objective", "with_variance"), [(DipVaeI, False), (DipVaeII, True)])
def test_the_loss_adds_both_penalties_with_their_weights(terms, model, x, objective, with_variance):
    found = terms(objective(lambda_od=10.0, lambda_d=100.0))
    off_diagonal, diagonal = covariance_penalties(model.encode(x), with_variance=with_variance)
    expected = found["reconstruction"] + found["kl"] + 10 * off_diagonal + 100 * diagonal
    torch.testing.assert_close(found["loss"], expected)
    torch.testing.assert_close((found["off_diagonal"], found["diagonal"]), (off_diagonal, diagonal))


def test_the_defaults_are_the_papers():
    first, second = DipVaeI.Options(), DipVaeII.Options()
    assert (first.lambda_od, first.lambda_d, second.lambda_od, second.lambda_d) == (10, 100, 10, 10)
