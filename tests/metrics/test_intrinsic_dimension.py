"""Intrinsic dimension: exact on constructed distances, right on clouds whose dimension is known."""

import math

import pytest
import torch

from ardtool.errors import ConfigError, DataError
from ardtool.metrics.intrinsic_dimension import (
    calibration,
    intrinsic_dimension,
    levina_bickel,
    mackay_ghahramani,
    over_subsets,
    two_nn_fit,
    two_nn_mle,
)

F64 = torch.float64


def embedded(points: torch.Tensor, outputs: int = 7) -> torch.Tensor:
    """The points turned into a space of more dimensions."""
    turn = torch.linalg.qr(torch.randn(outputs, points.shape[1], dtype=F64))[0]
    return points @ turn.T


def line(count: int) -> torch.Tensor:
    return torch.rand(count, 1, dtype=F64)


def plane(count: int) -> torch.Tensor:
    return torch.rand(count, 2, dtype=F64)


def sphere(count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, dtype=F64), dim=1)


# --- formulas ---


@pytest.mark.parametrize("dimension", [1.0, 3.7])
def test_the_fit_recovers_exact_quantiles(dimension):
    """μ at the quantiles i/N of 1 − m^{−d}: the points lie on the line."""
    below = torch.arange(1, 101, dtype=F64) / 100
    ratio = (1 - below.clamp(max=0.999)) ** (-1 / dimension)
    assert two_nn_fit(torch.stack([torch.ones(100, dtype=F64), ratio], dim=1)) == pytest.approx(dimension)
    wild = ratio.clone()
    wild[90:] *= 1e6  # the largest tenth is discarded
    assert two_nn_fit(torch.stack([torch.ones(100, dtype=F64), wild], dim=1)) == pytest.approx(dimension)


def test_maximum_likelihood_of_ratios():
    distances = torch.tensor([[1.0, math.e], [2.0, 2 * math.e**2], [3.0, 3 * math.e]], dtype=F64)
    assert two_nn_mle(distances) == pytest.approx(2 / 4)


def test_both_averages_of_levina_and_bickel():
    """Σ log (T_3 / T_j) of 1 and 4: m = 2 and ½; their mean is 1.25, the inverse of the mean inverse 0.8."""
    distances = torch.tensor([[1.0, math.e, math.e, 9.0], [1.0, 1.0, math.e**2, 9.0]], dtype=F64)
    assert levina_bickel(distances, 3) == pytest.approx(1.25)
    assert mackay_ghahramani(distances, 3) == pytest.approx(0.8)


def test_equally_far_neighbours_have_no_dimension():
    distances = torch.ones(4, 3, dtype=F64)
    estimates = two_nn_fit(distances), two_nn_mle(distances), levina_bickel(distances, 3), mackay_ghahramani(distances, 3)
    assert estimates == (math.inf,) * 4


# --- clouds ---


@pytest.mark.parametrize(("cloud", "dimension"), [(line, 1), (plane, 2), (sphere, 2)])
def test_line_plane_and_sphere(cloud, dimension):
    found = intrinsic_dimension(embedded(cloud(2000)))
    assert found.count == 2000 and found.duplicates == 0
    for name, value in found.estimates.items():
        k = int(name.rsplit("_", 1)[1]) if name.startswith("levina") else math.inf
        known_bias = 1 if k == math.inf else (k - 1) / (k - 2)
        assert abs(value / known_bias - dimension) < 0.15, name


def test_estimates_are_free_of_scale_rotation_shift_and_order():
    points = torch.randn(300, 4, dtype=F64)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=F64))[0]
    expected = intrinsic_dimension(points).estimates
    for other in (points * 1e-3, points @ turn, points + 20, points.flip(0), embedded(points, 9)):
        assert intrinsic_dimension(other).estimates == pytest.approx(expected, rel=1e-9)


def test_noise_counts_where_neighbours_are_as_near_as_it_is_large():
    """A line of 2,000 points with spacing 5e-4 and noise of 2e-3 in seven directions."""
    clean = embedded(line(2000))
    noisy = clean + 2e-3 * torch.randn_like(clean)
    before, after = intrinsic_dimension(clean).estimates, intrinsic_dimension(noisy).estimates
    assert after["mackay_ghahramani_5"] > before["mackay_ghahramani_5"] + 1
    assert after["twonn_mle"] > after["mackay_ghahramani_5"] > after["mackay_ghahramani_20"]


def test_passive_axes_are_the_gap_between_means_and_sampled_codes():
    """Three axes that follow the data, three at the prior."""
    mean = torch.cat([torch.randn(1500, 3), torch.full((1500, 3), 0.2)], dim=1)
    sampled = mean + torch.tensor([0.01] * 3 + [1.0] * 3) * torch.randn_like(mean)
    of_means, of_codes = (intrinsic_dimension(points).estimates["mackay_ghahramani_10"] for points in (mean, sampled))
    assert abs(of_means - 3) < 0.3 and of_codes > 4.8


def test_images_of_bytes_and_low_precision_are_taken():
    images = torch.randint(0, 256, (60, 1, 3, 3), dtype=torch.uint8)
    assert intrinsic_dimension(images).estimates == pytest.approx(intrinsic_dimension(images.double() / 255).estimates, rel=1e-4)
    half = torch.randn(60, 5).half()
    assert intrinsic_dimension(half).estimates == intrinsic_dimension(half.float()).estimates


def test_duplicates_are_counted_and_change_nothing():
    points = torch.randn(100, 3)
    expected = intrinsic_dimension(points)
    found = intrinsic_dimension(torch.cat([points, points[:30], points[:10]]))
    assert (found.count, found.duplicates) == (100, 40)
    assert found.estimates == pytest.approx(expected.estimates)


def test_blocks_change_nothing():
    points = torch.randn(200, 5)
    assert intrinsic_dimension(points, memory=10_000).estimates == pytest.approx(intrinsic_dimension(points).estimates, rel=1e-6)


# --- error bars and calibration ---


def test_subsets_are_disjoint_and_their_error_is_that_of_a_mean(generator):
    seen = []

    def estimator(points):
        seen.append(points)
        return {"mean": float(points.mean()), "one": 1.0}

    points = torch.arange(23.0)[:, None]
    found = over_subsets(points, estimator, generator=generator, subsets=4)
    rows = torch.cat(seen)[:, 0]
    assert [len(part) for part in seen] == [5] * 4 and len(rows.unique()) == 20
    means = torch.stack([part.mean() for part in seen]).double()
    assert found["mean"] == (pytest.approx(float(means.mean())), pytest.approx(float(means.std()) / 2))
    assert found["one"] == (1, 0)


def test_error_bars_of_two_nn(generator):
    """Of the mean of 20 subsets of 100 points 2 / √2000 were ratios independent; mutual neighbours share a distance, so rather more."""
    _, error = over_subsets(plane(2000), lambda some: intrinsic_dimension(some).estimates, generator=generator, subsets=20)["twonn_mle"]
    assert 0.6 < error / (2 / 2000**0.5) < 2


def test_seeds_repeat():
    def run(seed):
        return over_subsets(
            plane_points, lambda some: intrinsic_dimension(some).estimates, generator=torch.Generator().manual_seed(seed), subsets=2
        )

    plane_points = plane(200)
    assert run(0) == run(0) != run(1)


def test_calibration_shows_that_many_dimensions_are_underestimated(generator):
    low, high = (calibration(d, 2000, generator=generator).estimates["mackay_ghahramani_20"] for d in (2, 20))
    assert abs(low - 2) < 0.1 and 10 < high < 17
    normal = calibration(2, 2000, generator=generator, law="gaussian").estimates["mackay_ghahramani_5"]
    assert abs(normal - 2) < 0.15


def test_what_cannot_be_estimated(generator):
    with pytest.raises(ConfigError, match="Dimensions from 2 neighbours are not defined; expected at least 3"):
        intrinsic_dimension(torch.randn(10, 2), neighbours=(2, 5))
    with pytest.raises(DataError, match="10 points have no 20 neighbours each; expected more than 20 points"):
        intrinsic_dimension(torch.randn(10, 2))
    with pytest.raises(ConfigError, match="A standard error needs at least 2 subsets, not 1"):
        over_subsets(torch.randn(10, 2), lambda points: {}, generator=generator, subsets=1)
    with pytest.raises(DataError, match="3 points cannot be split into 5 subsets"):
        over_subsets(torch.randn(3, 2), lambda points: {}, generator=generator)
