"""Nearest neighbours: known verdicts, ties, chunks, prdc."""

import math

import pytest
import torch

from ardtool.errors import DataError
from ardtool.latent.chunks import AllocatedBytes
from ardtool.metrics.manifold import expected_coverage, neighbour_metrics
from ardtool.metrics.neighbours import nearest_distances


def draw(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64)


def lattice(n: int) -> torch.Tensor:
    """Points of a small grid, many of them twice: nearly all distances are ties, and copies are at distance 0."""
    return torch.randint(0, 5, (n, 3)).double()


def by_definition(generated: torch.Tensor, reference: torch.Tensor, k: int) -> list[float]:
    """Precision, recall, density and coverage of points with integer coordinates, in exact arithmetic."""
    between = (reference[:, None] - generated).square().sum(2)
    radii = []
    for side in (reference, generated):
        own = (side[:, None] - side).square().sum(2).fill_diagonal_(torch.inf)
        radii.append(own.sort(dim=1).values[:, k - 1])
    within = between < radii[0][:, None]
    rows = [(between <= radii[0][:, None]).any(0), (between <= radii[1]).any(1), within.sum(0).double() / k, within.any(1)]
    return [float(row.double().mean()) for row in rows]


def four(found) -> list[float]:
    return [found.precision, found.recall, found.density, found.coverage]


def test_a_copy_of_the_reference():
    """A copy lies in its own ball. Strictly inside are itself and k − 1 neighbours, where no two distances are equal."""
    x = draw(60, 4)
    found = neighbour_metrics(generated=x.clone(), reference=x)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == pytest.approx(1, rel=1e-15)
    assert found.precision_stderr == found.recall_stderr == found.coverage_stderr == 0


def test_far_apart():
    found = neighbour_metrics(generated=draw(50, 4) + 1000, reference=draw(60, 4))
    assert four(found) == [0, 0, 0, 0]


def test_half_of_the_clusters():
    """Precise, and half of the reference is out of reach; swapped, the other way."""
    one, two = draw(200, 3), draw(200, 3) + 100
    both = torch.cat([one, two])
    found = neighbour_metrics(generated=one.clone(), reference=both)
    assert (found.precision, found.recall, found.coverage) == (1, 0.5, 0.5)
    swapped = neighbour_metrics(generated=both, reference=one.clone())
    assert (swapped.precision, swapped.recall, swapped.coverage) == (0.5, 1, 1)
    new = neighbour_metrics(generated=draw(400, 3), reference=both)
    assert new.precision > 0.85 and 0.45 < new.recall <= 0.5 and 0.45 < new.coverage <= 0.5


def test_an_outlier_inflates_precision_but_not_density():
    x, far = draw(200, 2), torch.tensor([[50.0, 0.0]], dtype=torch.float64)
    noise = draw(200, 2) * 5
    clean, inflated = (neighbour_metrics(generated=noise, reference=side) for side in (x, torch.cat([x, far])))
    assert inflated.precision > 1.5 * clean.precision
    assert inflated.density - clean.density <= 1 / 5


@pytest.mark.parametrize("k", [1, 3, 5])
def test_ties_and_copies_are_exact(k):
    """≤ for precision and recall, < for density and coverage; the sample itself is no neighbour, its copies are."""
    x, y = lattice(70), lattice(90)
    for shift, scale in ((0.0, 1.0), (1000.0, 0.1)):
        generated, reference = y * scale + shift, x * scale + shift
        found = neighbour_metrics(generated=generated, reference=reference, manifold_neighbours=k, density_neighbours=k)
        assert four(found) == pytest.approx(by_definition(y, x, k), rel=1e-15)
    copies = draw(20, 3).repeat(2, 1)
    assert nearest_distances(copies, 1).square().max() < 1e-12
    assert nearest_distances(copies, 2).square()[:, 1].min() > 1e-6


@pytest.mark.parametrize("memory", [1, 20_000, 200_000])
@pytest.mark.parametrize("points", [lattice, lambda n: torch.randn(n, 3) + 100])
def test_chunks_change_nothing(memory, points):
    x, y = points(50), points(41)
    whole = neighbour_metrics(generated=y, reference=x, memory=2**40)
    assert neighbour_metrics(generated=y, reference=x, memory=memory) == whole
    torch.testing.assert_close(nearest_distances(x, 4, memory=memory), nearest_distances(x, 4, memory=2**40))


def test_no_chunk_is_larger_than_the_memory_it_may_take():
    """1,500 × 1,600 distances would be 19 MB."""

    class Largest(AllocatedBytes):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            before = self.total
            out = super().__torch_dispatch__(func, types, args, kwargs)
            self.largest = max(self.largest, self.total - before)
            return out

    x, y = torch.randn(1500, 8), torch.randn(1600, 8)
    with Largest() as allocated:
        neighbour_metrics(generated=y, reference=x, memory=2**20)
    assert 2**17 < allocated.largest < 2**20


def test_distances_far_from_the_origin():
    """Float32 features 10,000 deviations away: their squares would leave no digit of a distance in float32."""
    x = torch.randn(100, 8) + 1e4
    direct = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    torch.testing.assert_close(nearest_distances(x, 3).square(), direct.square().sort(dim=1).values[:, :3], rtol=1e-9, atol=0)


def test_prdc_agrees(capsys):
    """It compares by < throughout, which no tie tells from ≤ here."""
    prdc = pytest.importorskip("prdc", reason="prdc is not installed")
    x, y = draw(300, 6), draw(250, 6) * 0.8 + 0.2
    for k in (3, 5):
        theirs = prdc.compute_prdc(real_features=x.numpy(), fake_features=y.numpy(), nearest_k=k)
        found = neighbour_metrics(generated=y, reference=x, manifold_neighbours=k, density_neighbours=k)
        assert four(found) == pytest.approx([theirs[name] for name in ("precision", "recall", "density", "coverage")], rel=1e-6)


def test_what_to_expect_of_coverage():
    """1 − 2^(−k) for many samples: 0.969 for k = 5, 0.875 for k = 3; with N = 2, M = 1, k = 1 it is 1 − 1/2."""
    assert expected_coverage(10**7, 10**7) == pytest.approx(1 - 2**-5, abs=1e-6)
    assert expected_coverage(10**7, 10**7, 3) == pytest.approx(1 - 2**-3, abs=1e-6)
    assert expected_coverage(2, 1, 1) == 0.5


@pytest.mark.parametrize(("n", "m"), [(300, 300), (400, 200)])
def test_equal_distributions_meet_the_expectation(n, m):
    found = [neighbour_metrics(generated=draw(m, 6), reference=draw(n, 6)) for _ in range(40)]
    for name, expected in (("density", 1), ("coverage", found[0].expected_coverage)):
        values = torch.tensor([getattr(each, name) for each in found], dtype=torch.float64)
        assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(len(found)), name


def test_standard_errors_take_the_other_side_as_given():
    """√(p (1 − p) / (M − 1)), and the spread of precision over new generated samples against one reference."""
    reference = draw(200, 3)
    found = [neighbour_metrics(generated=1.5 * draw(300, 3), reference=reference) for _ in range(60)]
    for each in found[:3]:
        assert each.precision_stderr == pytest.approx(math.sqrt(each.precision * (1 - each.precision) / 299))
        assert each.recall_stderr == pytest.approx(math.sqrt(each.recall * (1 - each.recall) / 199))
        assert each.coverage_stderr == pytest.approx(math.sqrt(each.coverage * (1 - each.coverage) / 199))
    for name in ("precision", "density"):
        spread = torch.tensor([getattr(each, name) for each in found], dtype=torch.float64).std().item()
        assert 0.7 < sum(getattr(each, f"{name}_stderr") for each in found) / len(found) / spread < 1.4, name


def test_too_few_samples():
    with pytest.raises(DataError, match="5 points have no 5 neighbours each"):
        neighbour_metrics(generated=draw(10, 2), reference=draw(5, 2))
    with pytest.raises(DataError, match="3 points have no 3 neighbours each"):
        neighbour_metrics(generated=draw(3, 2), reference=draw(10, 2))
