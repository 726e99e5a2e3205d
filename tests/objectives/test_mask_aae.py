"""MaskAAE: the mask's values, each loss in closed form, who is changed by which step, and the schedule."""

import copy
import math

import pytest
import torch

from ardtool.errors import ConfigError
from ardtool.objectives.critic import gradient_penalty
from ardtool.objectives.mask_aae import MaskAae, Options

L = 3


def objective(**options) -> MaskAae:
    torch.manual_seed(0)
    return MaskAae(L, Options(**({"units": 16} | options)))


@pytest.fixture
def model():
    from ardtool.networks.build import architecture_record, build_network

    return build_network(architecture_record("dense", (1, 8, 8), L, value_range=(0.0, 1.0), stochastic=False), 0)


@pytest.fixture
def batches():
    """What a step is given: its own batch and seven behind it."""
    return torch.rand(8 * 6, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def set_mask(made: MaskAae, *alpha: float) -> MaskAae:
    with torch.no_grad():
        made.m.copy_(-torch.log1p(-torch.tensor(alpha)))
    return made


def test_a_mask_of_zero_closes_and_one_of_a_half_costs_most(terms_of):
    made = set_mask(objective(), 0.0, 0.0, 0.0)
    assert made.alpha.tolist() == [0, 0, 0]
    assert float(terms_of(made)["mask"].detach()) == 0
    assert float(terms_of(set_mask(made, 0.5, 0.5, 0.0))["mask"].detach()) == pytest.approx(2 * 0.25)
    at = {alpha: float(terms_of(set_mask(made, alpha, 0.0, 0.0))["mask"].detach()) for alpha in (0.3, 0.45, 0.5, 0.55, 0.7)}
    assert max(at, key=at.__getitem__) == 0.5


@pytest.fixture
def terms_of(model, x):
    return lambda made: made.losses(model, x, torch.Generator().manual_seed(0))


def test_the_variance_of_a_closed_axis_counts_fully_and_that_of_an_open_one_by_e_to_minus_ten(model, x, terms_of):
    z = model.encode(x).mean
    spread = (z - z.mean(dim=0)).square().mean()
    torch.testing.assert_close(terms_of(set_mask(objective(), 0.0, 0.0, 0.0))["variance"], spread)
    open_mask = objective()
    with torch.no_grad():
        open_mask.m.fill_(50.0)  # α = 1 in float32
    torch.testing.assert_close(terms_of(open_mask)["variance"], spread * math.exp(-10))


def test_the_autoencoder_loss_is_cross_entropy_per_pixel_plus_a_hundred_variances(model, x, terms_of):
    made = set_mask(objective(), 0.9, 0.4, 0.0)
    found = terms_of(made)
    probability = model.decode(torch.tensor([0.9, 0.4, 0.0]) * model.encode(x).mean)
    cross_entropy = -(x * probability.log() + (1 - x) * (1 - probability).log()).mean()
    torch.testing.assert_close(found["reconstruction"], cross_entropy, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["loss"], found["reconstruction"] + 100 * found["variance"])
    squared = terms_of(set_mask(objective(reconstruction="mse"), 0.9, 0.4, 0.0))
    torch.testing.assert_close(squared["reconstruction"], squared["mse"])
    torch.testing.assert_close(squared["mse"], (probability - x).square().mean())


@pytest.mark.parametrize("norm", [1.0, 0.0, 0.25, 3.0])
def test_the_gradient_penalty_of_a_linear_critic(norm):
    critic = torch.nn.Linear(L, 1)
    direction = torch.tensor([[1.0, -2.0, 2.0]]) / 3
    with torch.no_grad():
        critic.weight.copy_(norm * direction)
    generator = torch.Generator().manual_seed(0)
    z, prior, shares = (torch.randn(7, width, generator=generator) for width in (L, L, 1))
    found = gradient_penalty(critic, z, prior, shares)
    assert float(found.detach()) == pytest.approx((norm - 1) ** 2, abs=1e-6)
    found.backward()
    assert critic.weight.grad is not None and critic.weight.grad.isfinite().all()


def weights(module) -> list[torch.Tensor]:
    return [value.detach().clone() for value in module.parameters()]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Never(torch.optim.SGD):
    """Leaves parameters as they are."""

    def step(self, closure=None):
        return None


@pytest.mark.parametrize("which", ["autoencoder", "critic", "encoder", "mask"])
def test_each_update_changes_its_own_parameters_alone(model, batches, which):
    made = objective()
    parts = {"encoder": model.encoder, "decoder": model.decoder, "critic": made.critic, "mask": torch.nn.ParameterList([made.m])}
    own = {"autoencoder": {"encoder", "decoder"}}.get(which, {which})
    names = ("autoencoder", "critic", "encoder", "mask")
    optimisers = [
        real if name == which else Never(real.param_groups[0]["params"], 0.1)
        for name, real in zip(names, made.optimisers(model, 1e-3), strict=True)
    ]
    before = {name: weights(part) for name, part in parts.items()}
    made.step(model, batches, torch.Generator().manual_seed(0), optimisers)
    changed = {name for name, part in parts.items() if not same(before[name], weights(part))}
    assert changed == own


def test_the_mask_stays_at_or_above_zero(model, batches):
    made = set_mask(objective(), 0.001, 0.5, 0.9)
    optimisers = [*made.optimisers(model, 0.0)[:3], torch.optim.SGD([made.m], 1e6)]
    made.step(model, batches, torch.Generator().manual_seed(0), optimisers)
    assert (made.m >= 0).all() and (made.m == 0).any()


def test_every_run_starts_with_the_same_mask_mostly_open():
    assert torch.equal(MaskAae(2000).m, MaskAae(2000).m)
    start = MaskAae(20_000).own_count()
    share = 1 + math.log(0.9) / 5  # P(α ≥ 0.1) for m ~ U(0, 5): 97.9 %
    assert len(start.axes) / 20_000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 20_000))


@pytest.mark.parametrize(
    ("latent", "interval", "steps", "expected"),
    [
        (16, 75, 0, 2 / 16),
        (16, 75, 299, 2 / 16),
        (16, 75, 300, 4 / 16),
        (16, 75, 4199, 1024),
        (16, 75, 4200, 2048),
        (16, 75, 100_000, 2048),
        (32, 3600, 215_999, 1024),
        (32, 3600, 216_000, 2048),
        (200, 10_000, 40_000, 0.02),
    ],
)
def test_the_polarisation_doubles_every_four_intervals_up_to_its_bound(latent, interval, steps, expected):
    made = MaskAae(latent)
    made.steps.fill_(steps)
    assert made.interval == interval
    assert float(made.polarisation) == pytest.approx(expected)


@pytest.mark.parametrize("cut", ["loss", "lr"])
def test_the_cut_scales_losses_or_rates_after_five_intervals(cut, model, batches):
    """RMSProp forgets the scale of a loss, so that only a cut rate makes the first step shorter."""

    def moved(steps: int) -> list[float]:
        network, made = copy.deepcopy(model), objective(cut=cut, interval=10)
        made.steps.fill_(steps)
        parts = (network.decoder[0].weight, made.critic[0].weight, made.m)
        before = [part.detach().clone() for part in parts]
        made.step(network, batches, torch.Generator().manual_seed(0), made.optimisers(network, 1e-3))
        return [float((part.detach() - old).norm()) for part, old in zip(parts, before, strict=True)]

    (decoder, critic, mask), (cut_decoder, cut_critic, cut_mask) = moved(50), moved(51)
    share = 1.0 if cut == "loss" else 0.2
    assert cut_decoder / decoder == pytest.approx(share, rel=0.01)
    assert cut_critic / critic == pytest.approx(1, rel=0.1)  # never cut, but it sees codes of the encoder before it
    assert cut_mask / mask == pytest.approx(share, rel=0.01)


def test_the_saved_network_holds_the_mask(model):
    made = set_mask(objective(), 0.5, 0.0, 0.9)
    z = torch.randn(4, L)
    torch.testing.assert_close(made.finished(model).decode(z), model.decode(torch.tensor([0.5, 0.0, 0.9]) * z))
    assert made.own_count().axes == [0, 2] and made.own_count().constraint_met
    closed = set_mask(made, 0.0, 0.05, 0.0).own_count()
    assert closed.axes == [] and closed.constraint_met is False and closed.reason == "the mask closed every axis"


def test_cross_entropy_needs_pixels_between_zero_and_one():
    from ardtool.networks.build import architecture_record, build_network

    vectors = build_network(architecture_record("dense", (6,), L, value_range=None, stochastic=False), 0)
    objective().prepare(vectors)
    with pytest.raises(ConfigError) as caught:
        objective(reconstruction="bce").prepare(vectors)
    assert caught.value.message == "mask.reconstruction=bce needs images in [0, 1]."
