"""PRD: histograms with known curves, the published protocol, and which number is which."""

import math

import numpy as np
import pytest
import torch

from ardtool.errors import DataError
from ardtool.metrics.precision_recall import PrecisionRecallCurve, cluster_shares, precision_recall, precision_recall_curve

HALVES, FIRST = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
GRID = 1e-4  # the optimum lies between two angles, 0.0016 apart: λ deviates by 0.002, precision by 0.001, F by 0.00006


def scores(generated: torch.Tensor, reference: torch.Tensor) -> tuple[float, float]:
    curve = precision_recall_curve(generated=generated, reference=reference)
    assert curve.precision.shape == curve.recall.shape == (1001,)
    return curve.best_f(1 / 8), curve.best_f(8)


def modes(which: range, each: int, seed: int) -> torch.Tensor:
    """Clusters of standard deviation 1, 20 apart, `each` samples from every one of `which`."""
    g = torch.Generator().manual_seed(seed)
    centres = 20 * torch.eye(10)[list(which)].repeat_interleave(each, dim=0)
    return centres + torch.randn(centres.shape, generator=g)


def test_equal_shares_are_perfect():
    assert scores(torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.2, 0.3, 0.5])) == pytest.approx((1, 1), abs=1e-10)


def test_nothing_in_common():
    assert scores(FIRST, 1 - FIRST) == (0, 0)


def test_half_of_what_is_generated_is_wrong():
    """Precision ½ at recall 1: F_8 = 65 · ½ / (64 · ½ + 1) = 32.5/33, F_{1/8} = 65 · ½ / (½ + 64) = 32.5/64.5; swapped, the other way."""
    assert scores(HALVES, FIRST) == pytest.approx((32.5 / 64.5, 32.5 / 33), abs=GRID)
    assert scores(FIRST, HALVES) == pytest.approx((32.5 / 33, 32.5 / 64.5), abs=GRID)


def test_f_weights_recall_above_one():
    """One point with precision ½ and recall 1: F_1 = 2/3, F_2 = 5/6."""
    curve = PrecisionRecallCurve(torch.tensor([0.5], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64))
    assert curve.best_f(1) == pytest.approx(2 / 3, rel=1e-9)
    assert curve.best_f(2) == pytest.approx(5 / 6, rel=1e-9)


def test_the_ends_of_the_curve():
    """The reference's share of clusters with a generated sample, and the generated samples' share of clusters of the reference."""
    curve = precision_recall_curve(generated=torch.tensor([0.6, 0.4, 0.0]), reference=torch.tensor([0.3, 0.0, 0.7]))
    assert curve.recall[0] == pytest.approx(0.3) and curve.precision[0] == pytest.approx(0, abs=1e-9)
    assert curve.precision[-1] == pytest.approx(0.6) and curve.recall[-1] == pytest.approx(0, abs=1e-9)
    assert curve.precision.diff().min() >= -1e-15 and curve.recall.diff().max() <= 1e-15


def test_a_generator_of_half_the_modes_is_precise_and_recalls_half():
    few, all_modes = modes(range(5), 100, seed=0), modes(range(10), 50, seed=1)
    found = precision_recall(generated=few, reference=all_modes, runs=3)
    assert found.precision > 0.95 and 0.4 < found.recall < 0.55
    swapped = precision_recall(generated=all_modes, reference=few, runs=3)
    assert swapped.recall > 0.95 and 0.4 < swapped.precision < 0.55


def test_one_distribution_gets_almost_one():
    found = precision_recall(generated=torch.randn(1000, 64), reference=torch.randn(1000, 64), runs=3)
    assert 0.96 < found.precision < 1 and 0.96 < found.recall < 1


def test_the_published_protocol():
    """Written from the paper in NumPy on the same clusters: histograms, angles, the average of the curves, the best F."""
    x, y = modes(range(7), 60, seed=2), modes(range(2, 9), 60, seed=3) + 0.5
    curves = []
    for run in range(4):
        p, q = (side.numpy() for side in cluster_shares(generated=x, reference=y, clusters=20, seed=8 + run))
        curve = []
        for theta in np.linspace(1e-10, np.pi / 2 - 1e-10, 1001):
            alpha = sum(min(np.tan(theta) * b, a) for a, b in zip(p, q, strict=True))
            curve.append((min(alpha, 1), min(alpha / np.tan(theta), 1)))
        curves.append(curve)

    def best(curve: np.ndarray, beta: float) -> float:
        return max((1 + beta**2) * a * b / (beta**2 * a + b + 1e-10) for a, b in curve)

    found = precision_recall(generated=x, reference=y, runs=4, seed=2)
    average = np.mean(curves, axis=0)
    assert found.precision == pytest.approx(best(average, 1 / 8), rel=1e-10)
    assert found.recall == pytest.approx(best(average, 8), rel=1e-10)
    singles = np.array([[best(np.array(curve), beta) for beta in (1 / 8, 8)] for curve in curves])
    assert (found.precision_deviation, found.recall_deviation) == pytest.approx(tuple(singles.std(axis=0, ddof=1)), rel=1e-8)
    assert found.precision != pytest.approx(singles[:, 0].mean(), rel=1e-6), "curves are averaged, not their scores"


def test_clusters_are_of_both_sides_together():
    """Ten modes, five on each side: no cluster holds samples of both, and all shares are counted."""
    of_generated, of_reference = cluster_shares(generated=modes(range(5), 40, 4), reference=modes(range(5, 10), 40, 5), clusters=10, seed=0)
    assert of_generated.shape == of_reference.shape == (10,)
    assert (of_generated * of_reference).sum() == 0
    assert of_generated.sum() == of_reference.sum() == 1


def test_a_single_run_has_no_deviation():
    found = precision_recall(generated=torch.randn(50, 2), reference=torch.randn(50, 2), runs=1)
    assert math.isnan(found.precision_deviation) and math.isnan(found.recall_deviation)


def test_what_cannot_be_compared():
    with pytest.raises(DataError, match=r"found 90 generated and 100 reference samples\. Hint: Take 90 of each"):
        precision_recall(generated=torch.randn(90, 3), reference=torch.randn(100, 3))
    with pytest.raises(DataError, match="18 samples cannot form 20 clusters"):
        precision_recall(generated=torch.randn(9, 3), reference=torch.randn(9, 3))
