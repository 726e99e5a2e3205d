"""The Student-t prior (Eq. 10-16)."""

import pytest
import torch
from torch.distributions import Cauchy, Gamma, Normal

from ardtool.latent.gaussian import kl_to_gaussian
from ardtool.latent.student_t import kl_to_student_t, student_t_log_density

F64 = torch.float64
MEAN, LOG_VARIANCE, SCALE = torch.tensor([[0.3]], dtype=F64), torch.tensor([[0.2**2]], dtype=F64).log(), torch.tensor([0.7], dtype=F64)


@pytest.mark.parametrize(
    ("nu", "expected", "tolerance"), [(1, 1.194276, 1e-3), (4, 0.970469, 1e-4), (20, 0.902704, 1e-5), (1e4, 0.885451, 1e-5)]
)
def test_kl_at_known_points(nu, expected, tolerance):
    assert abs(kl_to_student_t(MEAN, LOG_VARIANCE, nu, SCALE).item() - expected) < tolerance


def test_gaussian_limit():
    gaussian = kl_to_gaussian(MEAN, LOG_VARIANCE, SCALE**2).item()
    assert abs(gaussian - 0.885416) < 1e-6
    assert abs(kl_to_student_t(MEAN, LOG_VARIANCE, 1e8, SCALE).item() - gaussian) < 1e-6


@pytest.mark.parametrize("nu", [1, 3, 30])
def test_density_integrates_to_one(nu):
    # z = tan(u) maps the whole line to (−π/2, π/2), so heavy tails are integrated too
    u = (torch.arange(200_000, dtype=F64) + 0.5) / 200_000 * torch.pi - torch.pi / 2
    density = student_t_log_density(torch.tan(u)[:, None], nu, SCALE).exp()[:, 0] / torch.cos(u) ** 2
    assert abs(float(density.sum() * torch.pi / 200_000) - 1) < 1e-6


def test_one_degree_of_freedom_is_cauchy():
    z = torch.linspace(-9, 9, 50, dtype=F64)[:, None]
    torch.testing.assert_close(student_t_log_density(z, 1, SCALE), Cauchy(torch.zeros(1, dtype=F64), SCALE).log_prob(z))


def test_is_the_marginal_over_the_gamma():
    """∫ N(z; 0, 1/α) Gamma(α; a, b) dα by quadrature over α (Eq. 6, 10)."""
    a, b = 2.5, 1.2
    alpha = torch.linspace(1e-6, 40, 400_001, dtype=F64)
    for z in (0.0, 0.7, 3.0):
        joint = Normal(torch.tensor(0.0, dtype=F64), alpha.rsqrt()).log_prob(torch.tensor(z, dtype=F64)) + Gamma(
            torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64)
        ).log_prob(alpha)
        marginal = torch.trapezoid(joint.exp(), alpha).log().item()
        found = student_t_log_density(torch.tensor([[z]], dtype=F64), 2 * a, torch.tensor([(b / a) ** 0.5], dtype=F64)).item()
        assert abs(marginal - found) < 1e-4


def test_monte_carlo_agrees_with_quadrature(generator):
    mean, log_variance = torch.randn(3, 2, dtype=F64), torch.randn(3, 2, dtype=F64)
    scale = torch.tensor([0.5, 2.0], dtype=F64)
    exact = kl_to_student_t(mean, log_variance, 8.0, scale)
    drawn = kl_to_student_t(mean, log_variance, 8.0, scale, draws=200_000, generator=generator)
    torch.testing.assert_close(drawn, exact, rtol=0, atol=0.02)


def test_gradient():
    mean, log_variance = torch.randn(4, 2, dtype=F64, requires_grad=True), torch.randn(4, 2, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, v: kl_to_student_t(m, v, 6.0, torch.tensor([0.5, 2.0], dtype=F64)), (mean, log_variance))


def test_float32_at_many_degrees_of_freedom():
    single = kl_to_student_t(MEAN.float(), LOG_VARIANCE.float(), 20_000.0, SCALE.float()).item()
    double = kl_to_student_t(MEAN, LOG_VARIANCE, 20_000.0, SCALE).item()
    assert abs(single - double) < 1e-3
