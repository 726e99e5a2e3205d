"""The sketch against closed forms and exact derivatives, and its error bars."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair, Posterior
from ardtool.errors import ArdtoolError, ConfigError
from ardtool.latent.derivatives import NotDifferentiable
from ardtool.latent.jacobian import column_norms
from ardtool.latent.sketch import pulled_back, rademacher, sketched_norms


def pair(decoder, latent_dim: int) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.attend = nn.Linear(5, 16), nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, z):
        tokens = self.enter(z).unflatten(1, (4, 4))
        return self.attend(tokens, tokens, tokens, need_weights=False)[0].flatten(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.run, self.leave = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 6)

    def forward(self, z):
        return self.leave(self.run(z[:, None].expand(-1, 3, -1))[0]).flatten(1)


def convolutional() -> nn.Module:
    decoder = nn.Sequential(
        nn.Linear(5, 32),
        nn.Unflatten(1, (8, 2, 2)),
        nn.ConvTranspose2d(8, 4, 4, 2, 1),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.ConvTranspose2d(4, 3, 4, 2, 1),
    )
    with torch.no_grad():
        decoder(3 * torch.randn(64, 5) + 1)  # running statistics that differ from a batch's
    return decoder


DECODERS = {
    "dense": lambda: nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 12)),
    "convolutional": convolutional,
    "dropout": lambda: nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.SiLU(), nn.Linear(16, 12)),
    "attention": Attention,
    "recurrent": Recurrent,
}


def dense_jacobian(decoder, z):
    return torch.stack([torch.autograd.functional.jacobian(lambda q: decoder(q[None])[0].flatten(), code) for code in z])


def test_a_linear_decoder_is_met_within_four_standard_errors_on_50_seeds():
    matrix = torch.randn(30, 6) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1, 0.0])
    model, codes = pair(lambda z: z @ matrix.T, 6), Posterior(torch.randn(300, 6))
    exact, covered = matrix.double().square().sum(0), []
    for number in range(50):
        found = sketched_norms(model, codes, generator=seed(number))
        assert ((found.weight - exact).abs() <= 4 * found.stderr).all(), number
        assert found.weight[5] == 0 and found.outputs == 30
        covered.append((found.weight - exact).abs()[:5] <= 1.96 * found.stderr[:5])
    assert 0.90 <= torch.stack(covered).double().mean() <= 0.99


def test_intervals_cover_the_weight_of_the_whole_population():
    """f_d(z) = Σ_l W_dl z_l + C_dl z_l², so w_l = ‖W_l‖² + 4 ‖C_l‖² for standard normal codes; samples and probes are both random."""
    linear, curved = torch.randn(40, 4), 0.3 * torch.randn(40, 4)
    model = pair(lambda z: z @ linear.T + z.square() @ curved.T, 4)
    exact = (linear.square() + 4 * curved.square()).double().sum(0)
    covered = []
    for number in range(300):
        found = sketched_norms(model, Posterior(torch.randn(250, 4)), generator=seed(number))
        covered.append((found.weight - exact).abs() <= 1.96 * found.stderr)
    share = torch.stack(covered).double().mean()
    assert 0.90 <= share <= 0.99


def test_intervals_cover_where_the_outputs_lie_in_few_dimensions():
    """Rank 1: every projection is ± the whole norm for all axes at once, and the errors of the axes are fully dependent."""
    matrix = torch.outer(torch.randn(20), torch.tensor([1.0, 0.5, 0.1]))
    model, codes = pair(lambda z: z @ matrix.T, 3), Posterior(torch.zeros(250, 3))
    exact = matrix.double().square().sum(0)
    results = [sketched_norms(model, codes, generator=seed(number)) for number in range(300)]
    share = torch.stack([(found.weight - exact).abs() <= 1.96 * found.stderr for found in results]).double().mean()
    assert 0.90 <= share <= 0.99


@pytest.mark.parametrize("probes", [1, 4])
def test_the_variance_is_the_derived_one(probes):
    matrix = torch.randn(8, 5)
    found = sketched_norms(pair(lambda z: z @ matrix.T, 5), Posterior(torch.zeros(20000, 5)), probes=probes, generator=seed(0))
    exact = matrix.double().square().sum(0)
    variance = 2 * (exact.square() - matrix.double().pow(4).sum(0)) / probes
    torch.testing.assert_close(found.contributions.var(dim=0), variance, rtol=0.1, atol=0)
    assert (variance <= 2 * exact.square() / probes).all()


@pytest.mark.parametrize("name", DECODERS)
def test_many_probes_meet_the_exact_norms_of_every_sample(name):
    decoder, z = DECODERS[name](), torch.randn(3, 5)
    model = pair(decoder, 5)
    found = sketched_norms(model, Posterior(z), probes=2000, generator=seed(1)).contributions
    decoder.eval()
    exact = dense_jacobian(decoder, z).double().square().sum(1)
    assert ((found - exact).abs() <= 4.5 * exact * (2 / 2000) ** 0.5).all()
    if name != "recurrent":
        torch.testing.assert_close(column_norms(model, Posterior(z)).contributions, exact, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", DECODERS)
def test_products_are_those_of_the_dense_jacobian(name):
    decoder, z = DECODERS[name]().eval(), torch.randn(4, 5)
    jacobian = dense_jacobian(decoder, z)
    vectors = torch.randn(4, 3, jacobian.shape[1])
    torch.testing.assert_close(pulled_back(pair(decoder, 5), z, None, vectors), vectors @ jacobian, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("memory", [1, 20_000, 10**9])
@pytest.mark.parametrize("probes", [1, 3])
def test_chunks_do_not_change_the_result(memory, probes):
    decoder, codes = convolutional(), Posterior(torch.randn(11, 5))
    whole = sketched_norms(pair(decoder, 5), codes, probes=probes, generator=seed(0), memory=2**40)
    parts = sketched_norms(pair(decoder, 5), codes, probes=probes, generator=seed(0), memory=memory)
    torch.testing.assert_close(parts.contributions, whole.contributions, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("probes", [1, 3])
def test_blocks_of_codes_joined_are_one_call(probes):
    model, codes, source = pair(convolutional(), 5), Posterior(torch.randn(23, 5)), seed(0)
    whole = sketched_norms(model, codes, generator=seed(0), probes=probes)
    first, *rest = (
        sketched_norms(model, codes.rows(slice(start, start + 9)), generator=source, probes=probes) for start in range(0, 23, 9)
    )
    joined = first.joined(*rest)
    torch.testing.assert_close(joined.contributions, whole.contributions, rtol=1e-4, atol=1e-7)
    assert joined.mode == whole.mode == "sketch" and joined.outputs == whole.outputs


def test_codes_among_others_have_the_signs_that_they_have_in_one_call():
    torch.manual_seed(0)
    model, codes = pair(DECODERS["dense"](), 5), Posterior(torch.randn(9, 5))
    generators = [seed(1) for _ in range(4)]
    whole = sketched_norms(model, codes, generator=generators[0], probes=2)
    cuts = [(0, 4), (4, 6), (6, 9)]
    parts = [
        sketched_norms(model, codes.rows(slice(start, stop)), generator=generator, probes=2, among=(start, 9 - stop))
        for (start, stop), generator in zip(cuts, generators[1:], strict=True)
    ]
    torch.testing.assert_close(parts[0].joined(*parts[1:]).contributions, whole.contributions, rtol=1e-4, atol=1e-7)
    assert all(torch.equal(generator.get_state(), generators[0].get_state()) for generator in generators)


def test_memory_that_runs_out_halves_the_chunks_and_changes_no_sign():
    """Three outputs and a fixed matrix: (J_iᵀ r)² tells the signs r of every code apart, up to their common sign."""
    weight, sizes = torch.randn(3, 4), []

    def decode(z):
        sizes.append(len(z))
        if len(z) > 5:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")
        return z @ weight.T

    codes = Posterior(torch.randn(40, 4))
    found = sketched_norms(pair(decode, 4), codes, generator=seed(0)).contributions
    assert max(sizes) == 40
    torch.testing.assert_close(found, sketched_norms(pair(lambda z: z @ weight.T, 4), codes, generator=seed(0)).contributions)


def test_training_mode_and_autocast_outside_change_nothing():
    model, codes = pair(convolutional(), 5).eval(), Posterior(torch.randn(6, 5))
    expected = sketched_norms(model, codes, generator=seed(0)).weight
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        found = sketched_norms(model, codes, generator=seed(0)).weight
    assert torch.equal(found, expected)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_every_code_is_decoded_with_its_own_context():
    weight = torch.ones(1, 3)

    class Scaled(nn.Module):
        input_shape, latent_shape = (1,), (3,)

        def encode(self, x):
            raise NotImplementedError

        def decode(self, z, context=None):
            return context * (z @ weight.T)

    context = torch.tensor([[1.0], [2.0], [5.0], [0.5]])
    codes = Posterior(torch.randn(4, 3), context=context)
    for memory in (1, 10**9):
        found = sketched_norms(Scaled(), codes, generator=seed(0), memory=memory).contributions  # one output: exact
        torch.testing.assert_close(found, context.double().square().expand(4, 3))


def test_the_authors_convention_is_refused():
    with pytest.raises(ConfigError, match=r"the convention 'authors-code' needs absolute ones.* Hint: Use the estimator 'exact'"):
        sketched_norms(pair(nn.Linear(3, 4), 3), Posterior(torch.zeros(2, 3)), generator=seed(0), convention="authors-code")


def test_no_probes_are_refused():
    with pytest.raises(ConfigError, match="at least 1 probe"):
        sketched_norms(pair(nn.Linear(3, 4), 3), Posterior(torch.zeros(2, 3)), generator=seed(0), probes=0)


@pytest.mark.parametrize(
    "decoder",
    [
        lambda z: torch.from_numpy(z.detach().numpy() * 2),
        lambda z: torch.from_numpy(z.numpy() * 2),
        lambda z: BIAS + z.detach(),
        lambda z: torch.cat([z[:, :2], z[:, 2:].detach()], dim=1),
        lambda z: torch.no_grad()(torch.sin)(z),
        lambda z: z * z[0, 0].item(),
    ],
    ids=["numpy", "no conversion", "detached", "partly detached", "no_grad", "item"],
)
def test_a_decoder_with_no_or_wrong_derivatives_is_refused(decoder):
    with pytest.raises(NotDifferentiable, match=r"differentiated in reverse mode: .*\. Hint: Use the estimator 'exact'") as caught:
        sketched_norms(pair(decoder, 3), Posterior(torch.randn(8, 3)), generator=seed(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("passes", [0, 2, 6])
def test_too_little_memory_is_no_question_of_derivatives(passes):
    """It runs out when decoding is tried, when derivatives are checked, or in reverse mode: `sobol` in its place would not mend it."""
    calls = []

    def decode(z):
        calls.append(torch.is_grad_enabled())
        if len(calls) > passes:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")
        return 2 * z

    with pytest.raises(ArdtoolError, match="Memory ran out on one sample at a time: DefaultCPUAllocator") as caught:
        sketched_norms(pair(decode, 3), Posterior(torch.randn(2, 3)), generator=seed(0))
    assert not isinstance(caught.value, NotDifferentiable) and calls[-1] == (passes == 6)


BIAS = torch.zeros(3, requires_grad=True)


def test_signs_are_even_and_do_not_depend_on_the_pieces():
    whole = rademacher((1000, 7), seed(0), torch.device("cpu"))
    source = seed(0)
    pieces = torch.cat([rademacher((rows, 7), source, torch.device("cpu")) for rows in (1, 3, 500, 496)])
    assert torch.equal(whole, pieces)
    assert set(whole.unique().tolist()) == {-1.0, 1.0} and abs(whole.mean()) < 0.05
