"""The Fréchet distance: closed forms, three ways to the trace, other libraries, its error bar and its bias."""

import math

import pytest
import torch

from ardtool.errors import DataError
from ardtool.metrics import features as features_module
from ardtool.metrics.frechet import (
    GaussianStatistics,
    frechet,
    frechet_at_infinity,
    frechet_distance,
    frechet_distance_of_few,
    gaussian_bias,
    influence,
    split_half_bias,
    trace_of_root,
)


def draw(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64)


def correlated(n: int, d: int, seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=g, dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mixing + torch.randn(d, generator=g, dtype=torch.float64)


def exact(mean: torch.Tensor, covariance: torch.Tensor) -> GaussianStatistics:
    return GaussianStatistics.from_moments(1000, mean, covariance)


def rotation(d: int) -> torch.Tensor:
    return torch.linalg.qr(draw(d, d)).Q


ZERO, EYE = torch.zeros(5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)


def test_statistics_are_those_of_torch_in_parts_of_any_size(monkeypatch):
    x = draw(101, 6) * 100 + 1e4
    whole = GaussianStatistics.of(x)
    torch.testing.assert_close(whole.covariance, torch.cov(x.T))
    for rows in (1, 7):
        monkeypatch.setattr(features_module, "PART_BYTES", rows * 6 * 8)
        found = GaussianStatistics.of(x)
        assert found.count == 101
        torch.testing.assert_close(found.mean, x.mean(0))
        torch.testing.assert_close(found.scatter, whole.scatter)


def test_merging_is_free_of_order():
    x = draw(50, 4)
    parts = [GaussianStatistics.of(part) for part in x.split(9)]
    for order in (parts, parts[::-1]):
        merged = order[0]
        for part in order[1:]:
            merged = merged.merged(part)
        torch.testing.assert_close(merged.covariance, torch.cov(x.T))
        assert merged.count == 50


def test_equal_sets_are_at_distance_zero():
    statistics = GaussianStatistics.of(correlated(200, 20, seed=0))
    assert abs(frechet_distance(statistics, statistics)) < 1e-10 * statistics.covariance.trace()


def test_a_shift_of_the_mean_counts_squared():
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0], dtype=torch.float64)
    covariance = torch.cov(correlated(50, 5, seed=1).T)
    assert frechet_distance(exact(ZERO, covariance), exact(shift, covariance)) == pytest.approx(14.25, rel=1e-10)


def test_isotropic_gaussians():
    """d (s₁ − s₂)²."""
    assert frechet_distance(exact(ZERO, 9 * EYE), exact(ZERO, 4 * EYE)) == pytest.approx(5.0, rel=1e-12)


def test_commuting_covariances():
    """Σ (√λ − √κ)², in any common eigenbasis, one eigenvalue zero."""
    one, two = torch.tensor([[4.0, 1.0, 9.0, 0.0, 1.0], [1.0, 1.0, 4.0, 16.0, 25.0]], dtype=torch.float64)
    for q in (EYE, rotation(5)):
        found = frechet_distance(exact(ZERO, q @ one.diag() @ q.T), exact(ZERO, q @ two.diag() @ q.T))
        assert found == pytest.approx(1 + 0 + 1 + 16 + 16, rel=1e-7)


def test_symmetric_and_free_of_rotation():
    x, y, q = correlated(300, 8, seed=2), correlated(200, 8, seed=3), rotation(8)
    found = frechet_distance(GaussianStatistics.of(x), GaussianStatistics.of(y))
    assert frechet_distance(GaussianStatistics.of(y), GaussianStatistics.of(x)) == pytest.approx(found, rel=1e-10)
    assert frechet_distance(GaussianStatistics.of(x @ q), GaussianStatistics.of(y @ q)) == pytest.approx(found, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(30, 40), (30, 200), (200, 300)])
def test_three_ways_to_the_trace_agree(n, m):
    """Singular covariances too: 80 features."""
    linalg = pytest.importorskip("scipy.linalg", reason="the matrix square root is SciPy's")
    x, y = correlated(n, 80, seed=4), correlated(m, 80, seed=5)
    one, two = GaussianStatistics.of(x), GaussianStatistics.of(y)
    product = (one.covariance @ two.covariance).numpy()
    matrix_root = float(linalg.sqrtm(product).trace().real)
    assert trace_of_root(one.covariance, two.covariance) == pytest.approx(matrix_root, rel=1e-6)
    assert frechet_distance_of_few(x, y) == pytest.approx(frechet_distance(one, two), rel=1e-6)


def test_torch_fidelity_agrees():
    fidelity = pytest.importorskip("torch_fidelity.metric_fid", reason="torch-fidelity is not installed")
    x, y = correlated(600, 64, seed=6), correlated(500, 64, seed=7)
    theirs = fidelity.fid_statistics_to_metric(fidelity.fid_features_to_statistics(x), fidelity.fid_features_to_statistics(y), False)
    ours = frechet_distance(GaussianStatistics.of(x), GaussianStatistics.of(y))
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pytorch_fid_agrees():
    fid = pytest.importorskip("pytorch_fid.fid_score", reason="pytorch-fid is not installed")
    x, y = correlated(600, 64, seed=6), correlated(500, 64, seed=7)
    one, two = GaussianStatistics.of(x), GaussianStatistics.of(y)
    theirs = fid.calculate_frechet_distance(one.mean.numpy(), one.covariance.numpy(), two.mean.numpy(), two.covariance.numpy())
    assert frechet_distance(one, two) == pytest.approx(theirs, rel=1e-6)


def test_influence_is_the_derivative():
    """Of d² when a share ε of one side's weight goes to one sample, by central differences."""
    x, y = correlated(100, 4, seed=8), correlated(80, 4, seed=9)
    own, other = (GaussianStatistics.of(side) for side in (x, y))

    def moved(share: float, sample: torch.Tensor) -> float:
        deviation = sample - own.mean
        covariance = (1 - share) * own.covariance + share * (1 - share) * torch.outer(deviation, deviation)
        return frechet_distance(exact(own.mean + share * deviation, covariance), other)

    step = 1e-5
    phi = influence(x, own, other)
    average = phi.mean() * len(x) / (len(x) - 1)  # φ under the Gaussian itself: the divisor of its covariance is n − 1
    for sample, value in zip(x[:5], phi, strict=False):
        derivative = (moved(step, sample) - moved(-step, sample)) / (2 * step)
        assert derivative == pytest.approx(float(value - average), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("scale", "low", "high"), [(1.3, 0.85, 1.2), (1.0, 1.0, 1.6)])
def test_the_standard_error_is_the_spread_of_new_samples(generator, scale, low, high):
    """Right where the distributions differ, up to 1.5 times too large where they are equal; 200 repetitions know a spread to 5 %."""
    found = [frechet(generated=scale * draw(200, 6), reference=draw(250, 6), generator=generator) for _ in range(200)]
    spread = torch.tensor([each.value for each in found]).std().item()
    assert low < sum(each.stderr for each in found) / len(found) / spread < high


def test_the_bias_of_gaussian_features():
    """d(d + 1)/2n + 2d/n for S = I: 2.21 at n = 1,000 and 0.22 at n = 10,000, of which single samples deviate by 0.07 and 0.009."""
    eye = torch.eye(64, dtype=torch.float64)
    for n in (1000, 10_000):
        statistics = GaussianStatistics.from_moments(n, torch.zeros(64), eye)
        assert gaussian_bias(statistics, n) == pytest.approx(64 * 65 / (2 * (n - 1)) + 128 / n, rel=1e-12)
    found = torch.tensor([frechet_distance(*(GaussianStatistics.of(draw(1000, 64)) for _ in range(2))) for _ in range(10)])
    assert abs(found.mean() - 2.21) < 4 * 0.07 / math.sqrt(10)
    assert abs(frechet_distance(*(GaussianStatistics.of(draw(10_000, 64)) for _ in range(2))) - 0.22) < 4 * 0.009


def mean_and_error(values: list[float]) -> tuple[float, float]:
    of = torch.tensor(values, dtype=torch.float64)
    return float(of.mean()), float(of.std()) / math.sqrt(len(values))


def test_halves_of_the_reference_measure_the_bias(generator):
    """Also of unequal counts, and of features that are far from Gaussian, where the Gaussian formula says too little."""
    draws = [draw(2000, 10).abs().pow(1.5) for _ in range(60)]
    statistics = [(GaussianStatistics.of(x[:500]), GaussianStatistics.of(x)) for x in draws]
    expected, error = mean_and_error([frechet_distance(one[0], two[1]) for one, two in zip(statistics[::2], statistics[1::2], strict=True)])
    measured, own_error = mean_and_error([split_half_bias(x, 500, generator) for x in draws])
    assert abs(measured - expected) < 4 * math.hypot(error, own_error)
    assert gaussian_bias(statistics[0][1], 500) < 0.9 * expected


@pytest.mark.parametrize("shift", [0.1, 0.0])
def test_without_the_bias(generator, shift):
    """Shifted on each of 16 features: 0.16 or 0 in truth, and 0.085 more from 2,000 samples."""
    truth, plain, corrected = 16 * shift**2, [], []
    for _ in range(20):
        x, y = draw(2000, 16) + shift, draw(2000, 16)
        plain.append(frechet_distance(GaussianStatistics.of(x), GaussianStatistics.of(y)))
        corrected.append(frechet_at_infinity(generated=x, reference=y, generator=generator))
    mean, error = mean_and_error(corrected)
    assert abs(mean - truth) < 4 * error
    assert mean_and_error(plain)[0] - truth > 5 * error


def test_statistics_alone_are_enough_of_a_reference(generator):
    x, y = correlated(300, 5, seed=10), correlated(200, 5, seed=11)
    statistics = GaussianStatistics.of(y)
    whole, known = (frechet(generated=x, reference=side, generator=generator) for side in (y, statistics))
    assert known.value == whole.value
    assert 0 < known.stderr < whole.stderr
    assert known.bias == gaussian_bias(statistics, 300)


def test_few_samples_take_the_other_way(generator):
    x, y = correlated(30, 80, seed=12), correlated(40, 80, seed=13)
    found = frechet(generated=x, reference=y, generator=generator)
    assert found.value == frechet_distance_of_few(x, y)
    assert math.isfinite(found.stderr) and found.bias > 0


def test_a_generator_that_makes_one_thing(generator):
    """d² = ‖m₁ − m₂‖² + Tr S₂."""
    y = correlated(50, 5, seed=14)
    found = frechet(generated=torch.ones(20, 5), reference=y, generator=generator)
    assert found.value == pytest.approx(float((1 - y.mean(0)).square().sum() + y.var(0).sum()), rel=1e-10)
    assert math.isfinite(found.stderr)


def test_float32_features_are_enough():
    """Means of 50 deviations, as networks after a ReLU have them."""
    x, y = draw(3000, 40) + 50, draw(3000, 40) * 1.05 + 50.1
    double, single = (
        frechet_distance(*(GaussianStatistics.of(side.to(kind)) for side in (x, y))) for kind in (torch.float64, torch.float32)
    )
    assert single == pytest.approx(double, rel=1e-3)


def test_features_that_cannot_be_used(generator):
    broken = draw(10, 3)
    broken[4, 1], broken[7] = math.nan, math.inf
    with pytest.raises(DataError, match="The given features of 2 of 10 samples hold NaN or infinity; the first is row 4"):
        GaussianStatistics.of(broken)
    with pytest.raises(DataError, match="The reference features of 2 of 10 samples hold NaN"):
        frechet(generated=draw(10, 3), reference=broken, generator=generator)
    with pytest.raises(DataError, match=r"The given features are int64 of shape \(3, 3\); expected one row of floating-point"):
        GaussianStatistics.of(torch.zeros(3, 3, dtype=torch.long))
    with pytest.raises(DataError, match=r"The given features are float64 of shape \(0, 3\)"):
        GaussianStatistics.of(draw(0, 3))
    with pytest.raises(DataError, match="The generated features of 2 of 10 samples hold NaN"):
        frechet(generated=broken, reference=GaussianStatistics.of(draw(10, 3)), generator=generator)
    with pytest.raises(DataError, match="The generated samples have 4 features, the reference has 3"):
        frechet(generated=draw(10, 4), reference=draw(10, 3), generator=generator)
    with pytest.raises(DataError, match="The statistics are of 4 and of 3 features"):
        frechet(generated=draw(10, 4), reference=GaussianStatistics.of(draw(10, 3)), generator=generator)
    with pytest.raises(DataError, match="at least two samples, found 1"):
        frechet(generated=draw(1, 3), reference=draw(10, 3), generator=generator)
    with pytest.raises(DataError, match="at least four reference samples, found 3"):
        frechet(generated=draw(10, 3), reference=draw(3, 3), generator=generator)
