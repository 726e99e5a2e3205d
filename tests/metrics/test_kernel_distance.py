"""The kernel distance: its definition, torch-fidelity, no bias, and its error bar."""

import math

import pytest
import torch

from ardtool.errors import DataError
from ardtool.metrics.kernel_distance import kernel_distance


def draw(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64)


def test_the_definition(generator):
    x, y = draw(7, 3), draw(7, 3) + 1

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return (float(a @ b) / 3 + 1) ** 3

    within = sum(k(side[i], side[j]) for side in (x, y) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    between = sum(k(a, b) for a in x for b in y) / 49
    found = kernel_distance(generated=x, reference=y, generator=generator)
    assert found.value == pytest.approx(within - 2 * between, rel=1e-12)
    assert (found.subsets, found.subset_size, found.deviation) == (1, 7, 0)


def test_two_points(generator):
    """All samples at a, all others at b: k(a, a) + k(b, b) − 2 k(a, b), whatever is drawn, and nothing uncertain."""
    found = kernel_distance(generated=torch.full((50, 1), 2.0), reference=torch.full((30, 1), 3.0), generator=generator, subset_size=10)
    assert found.value == pytest.approx(5**3 + 10**3 - 2 * 7**3, rel=1e-12)
    assert found.stderr == pytest.approx(0, abs=1e-9) and (found.subsets, found.subset_size) == (100, 10)


def test_torch_fidelity_agrees(generator):
    """On subsets that hold everything, as its draws are its own."""
    kid = pytest.importorskip("torch_fidelity.metric_kid", reason="torch-fidelity is not installed")
    x, y = draw(200, 32).relu(), draw(200, 32).mul(1.1).relu()
    theirs = kid.kid_features_to_metric(x, y, kid_subsets=3, kid_subset_size=200, verbose=False)
    ours = kernel_distance(generated=x, reference=y, generator=generator)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


def test_subsets_average_to_the_whole(generator):
    x, y = draw(400, 8), draw(300, 8) + 0.5
    whole = kernel_distance(generated=x[:300], reference=y, generator=generator)
    found = kernel_distance(generated=x[:300], reference=y, generator=generator, subsets=400, subset_size=50)
    assert (found.subsets, found.subset_size) == (400, 50)
    assert abs(found.value - whole.value) < 4 * found.deviation / math.sqrt(400)
    single = kernel_distance(generated=x, reference=y, generator=generator, subsets=1)
    assert (single.subset_size, single.stderr) == (300, math.inf)


@pytest.mark.parametrize(
    ("scale", "n", "m", "size", "low", "high"),
    [(2.0, 200, 200, 200, 0.85, 1.25), (2.0, 300, 100, 50, 0.85, 1.35), (2.0, 1000, 1000, 100, 0.85, 1.25), (1.0, 100, 100, 100, 1.1, 1.8)],
)
def test_unbiased_and_the_standard_error_is_the_spread_of_new_samples(generator, scale, n, m, size, low, high):
    """Up to 1.5 times too large where they are equal, and for small subsets, in which h is a mean over few.

    E MMD² between N(0, s² I) and N(0, I): with t = xᵀy/D, E (t + 1)³ = 1 + 3 E t² = 1 + 3 s² s'² / D.
    """
    found = [
        kernel_distance(generated=scale * draw(n, 4), reference=draw(m, 4), generator=generator, subsets=20, subset_size=size)
        for _ in range(200)
    ]
    values = torch.tensor([each.value for each in found])
    expected = 3 / 4 * (scale**2 - 1) ** 2
    assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(200)
    assert low < sum(each.stderr for each in found) / len(found) / values.std() < high


def test_float32_features_are_enough(generator):
    x, y = draw(300, 20) + 2, draw(300, 20) + 2.2
    double = kernel_distance(generated=x, reference=y, generator=generator)
    assert kernel_distance(generated=x.float(), reference=y.float(), generator=generator).value == pytest.approx(double.value, rel=1e-5)


def test_what_cannot_be_compared(generator):
    with pytest.raises(DataError, match="at least two samples on each side, found 1"):
        kernel_distance(generated=draw(1, 3), reference=draw(10, 3), generator=generator)
    with pytest.raises(DataError, match="The generated features of 1 of 2 samples hold NaN"):
        kernel_distance(generated=torch.tensor([[0.0], [math.nan]]), reference=draw(10, 1), generator=generator)
