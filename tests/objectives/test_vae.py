"""VAE and β-VAE: the KL in closed form, the loss linear in β."""

import math

import pytest
import torch

from ardtool.autoencoder import Posterior
from ardtool.objectives.vae import BetaVae, Vae, kl_to_standard


@pytest.mark.parametrize(("mean", "log_variance", "expected"), [(0.0, 0.0, 0.0), (1.0, 0.0, 0.5), (0.0, math.log(4), 0.806853)])
def test_the_kl_has_its_closed_form(mean, log_variance, expected):
    posterior = Posterior(torch.full((2, 3), mean), torch.full((2, 3), log_variance))
    torch.testing.assert_close(kl_to_standard(posterior), torch.full((2, 3), expected), atol=1e-6, rtol=0)


def test_the_gradient_of_the_kl_is_the_mean():
    mean = torch.randn(4, 3, requires_grad=True)
    kl_to_standard(Posterior(mean, torch.randn(4, 3))).sum().backward()
    torch.testing.assert_close(mean.grad, mean.detach())


def test_the_loss_is_linear_in_beta(terms):
    found = [terms(Vae(beta=beta)) for beta in (0.0, 1.0, 3.0)]
    losses = [float(each["loss"].detach()) for each in found]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-4)
    assert losses[1] == pytest.approx(float((found[1]["reconstruction"] + found[1]["kl"]).detach()), rel=1e-6)


def test_a_decoder_that_ignores_the_code_leaves_nothing_to_pay_for(model, x):
    """Posterior collapse: the encoder's optimum is KL = 0."""
    with torch.no_grad():
        model.decoder[0].weight.zero_()
    last = model.encoder[-1]
    objective, optimiser = Vae(), torch.optim.LBFGS(last.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        terms = objective.losses(model, x, torch.Generator().manual_seed(0))
        terms["loss"].backward()
        return terms["loss"]

    optimiser.step(loss)
    assert float(objective.losses(model, x, torch.Generator().manual_seed(0))["kl"].detach()) < 1e-3


def test_the_two_differ_in_what_may_be_set():
    assert "beta" in BetaVae.takes and "beta" not in Vae.takes
    assert Vae.values_for("mnist") == {"beta": 1.0, "epochs": 100} and Vae.values_for("elsewhere") == {"beta": 1.0}
