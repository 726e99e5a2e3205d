"""RAE: every penalty on a decoder where it is known by hand, and that what is saved is a plain network."""

import copy

import pytest
import torch
from torch import nn

from ardtool.networks.build import architecture_record, build_network
from ardtool.objectives.decoder_penalty import jacobian_penalty, kernel_norm
from ardtool.objectives.objective import NoOptions, Setup
from ardtool.objectives.rae import Ae, Options, Rae


def linear(weight: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return z @ weight.T


def test_a_constant_code_has_its_square_as_embedding(model, terms):
    last = model.encoder[-1]
    network = build_network(architecture_record("auto", (1, 8, 8), 3, value_range=(0.0, 1.0), stochastic=False), 0)
    last = network.encoder[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(3.0)
    found = Rae(beta=0.1).losses(network, torch.rand(4, 1, 8, 8), torch.Generator())
    assert float(found["embedding"].detach()) == 9
    torch.testing.assert_close(found["loss"], found["mse"] + 0.1 * 9)


def test_probes_measure_the_frobenius_norm():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    z = torch.randn(20_000, 3, generator=generator, dtype=torch.float64).requires_grad_()
    found = float(jacobian_penalty(linear(weight, z), z, "hutchinson", generator).detach())
    assert found == pytest.approx(float(weight.square().sum()), rel=0.03)


def test_the_squared_output_has_the_gradient_two_wt_w_z():
    weight, z = torch.randn(7, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64).requires_grad_()
    found = jacobian_penalty(linear(weight, z), z, "squared-output", torch.Generator())
    torch.testing.assert_close(found, (2 * z @ weight.T @ weight).square().mean())


def test_kernels_of_convolutions_are_penalised_and_nothing_else(model):
    kernels = [layer.weight for layer in model.decoder if isinstance(layer, nn.ConvTranspose2d)]
    torch.testing.assert_close(kernel_norm(model), sum(kernel.square().sum() for kernel in kernels))
    dense = build_network(architecture_record("dense", (6,), 2, value_range=None), 0)
    weights = [layer.weight for layer in dense.decoder if isinstance(layer, nn.Linear)]
    torch.testing.assert_close(kernel_norm(dense), sum(weight.square().sum() for weight in weights))


@pytest.mark.parametrize("penalty", ["squared-output", "hutchinson"])
def test_the_gradient_penalty_reaches_the_decoder_and_works_without_a_graph(model, x, penalty):
    objective = Rae(beta=0.0, decoder_weight=1.0, variant="gp", penalty=penalty)
    with torch.no_grad():
        quiet = objective.losses(model, x, torch.Generator().manual_seed(0))
    found = objective.losses(model, x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(quiet["loss"], found["loss"].detach())
    assert not quiet["loss"].requires_grad
    found["penalty"].backward()
    assert float(model.decoder[0].weight.grad.abs().sum()) > 0


def test_spectral_norms_go_to_one_and_the_saved_network_is_plain(model, x):
    objective = Rae(beta=0.01, variant="sn")
    names = set(model.state_dict())
    objective.prepare(model)
    optimisers = objective.optimisers(model, 1e-4)
    for _ in range(60):
        objective.step(model, x, torch.Generator(), optimisers)
    model.eval()
    plain = objective.finished(model)
    assert set(plain.state_dict()) == names
    for layer in plain.decoder:
        if isinstance(layer, nn.Linear):
            assert float(torch.linalg.matrix_norm(layer.weight, 2).detach()) == pytest.approx(1, abs=0.02)
    z = torch.randn(4, 3)
    torch.testing.assert_close(plain.eval().decode(z), model.decode(z))


@pytest.mark.parametrize(
    ("options", "beta", "weight"),
    [
        (Options(table="mnist"), 1e-4, 1e-7),
        (Options(table="cifar10"), 1e-3, 1e-6),
        (Options(variant="gp", table="mnist"), 1e-4, 0.5e-7),
        (Options(variant="sn", table="cifar10"), 0.03, 0.0),
        (Options(variant="plain", table="mnist"), 5e-4, 0.0),
        (Options(variant="l2", beta=0.2, decoder_weight=0.3), 0.2, 0.3),
    ],
)
def test_weights_come_from_the_table_or_from_the_user(options, beta, weight):
    made = Rae.made_for(Setup(3, 64, 100, 0.1, 1e-5, {"seed": 0}, options))
    assert (made.beta, made.decoder_weight) == (beta, weight)


def test_the_autoencoder_has_the_error_alone(terms):
    found = terms(Ae.made_for(Setup(3, 64, 100, 0.1, 1e-5, {}, NoOptions())))
    assert torch.equal(found["loss"].detach(), found["mse"])


def test_a_step_is_that_of_the_summed_loss(model, x):
    """Adam forgets the scale of a loss up to eps; D times the loss with the usual eps and this one give the same weights."""
    from ardtool.networks.initialise import ADAM_EPS

    twin = copy.deepcopy(model)
    made = Ae.made_for(None)
    generator = torch.Generator().manual_seed(0)
    (optimiser,) = made.optimisers(model, 1e-3, eps=ADAM_EPS)
    summed = torch.optim.Adam(twin.parameters(), lr=1e-3, eps=ADAM_EPS)
    for _ in range(3):
        made.step(model, x, generator, [optimiser])
        summed.zero_grad()
        (64 * made.losses(twin, x, generator)["loss"]).backward()
        summed.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_seed_repeats_the_power_iterations(model):
    def first_vector(seed: int) -> torch.Tensor:
        torch.rand(1)  # whatever was drawn before
        network = copy.deepcopy(model)
        Rae(beta=0.01, variant="sn", seed=seed).prepare(network)
        return network.decoder[0].parametrizations.weight[0]._u.clone()

    assert torch.equal(first_vector(1), first_vector(1))
    assert not torch.equal(first_vector(1), first_vector(2))
