"""Nearest neighbours in blocks are those of all distances at once."""

import pytest
import torch

from ardtool.errors import DataError
from ardtool.metrics.neighbours import distinct, nearest_distances

F64 = torch.float64


def all_at_once(points: torch.Tensor, k: int) -> torch.Tensor:
    distances = (points[:, None] - points).square().sum(dim=2).sqrt().fill_diagonal_(torch.inf)
    return distances.sort(dim=1).values[:, :k]


@pytest.mark.parametrize("memory", [100, 3000, 2**28])
@pytest.mark.parametrize("k", [1, 6, 39])
def test_blocks_change_nothing(memory, k):
    points = torch.randn(40, 3, dtype=F64) * 2 + 5
    torch.testing.assert_close(nearest_distances(points, k, memory=memory), all_at_once(points, k), rtol=1e-12, atol=0)


def test_the_points_are_left_as_they_are():
    points = torch.randn(20, 3, dtype=F64)
    before = points.clone()
    nearest_distances(points, 2)
    assert torch.equal(points, before)


def test_small_distances_far_from_the_origin():
    """‖a‖² + ‖b‖² − 2 aᵀb in float32 would leave no digit: spacing 1, coordinates of 1e5."""
    points = torch.arange(50.0)[:, None].expand(-1, 4) * 0.5 + 1e5
    found = nearest_distances(points, 2)
    assert torch.equal(found[1:-1], torch.ones(48, 2, dtype=F64))
    assert torch.equal(found[[0, -1]], torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=F64))


def test_distances_much_smaller_than_the_cloud():
    """Two clusters 1e6 apart: distances within are computed from differences."""
    inside = torch.rand(30, 2, dtype=F64)
    points = torch.cat([inside, inside + 1e6])
    torch.testing.assert_close(nearest_distances(points, 3)[:30], all_at_once(inside, 3), rtol=1e-9, atol=0)


def test_duplicates_are_removed_once():
    points = torch.tensor([[1.0, 2.0], [0.0, 5.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.5]])
    assert sorted(distinct(points).tolist()) == [[0.0, 5.0], [1.0, 2.0], [1.0, 2.5]]


@pytest.mark.parametrize(("count", "k"), [(3, 3), (0, 1)])
def test_too_few_points(count, k):
    with pytest.raises(DataError, match=f"{count} points have no {k} neighbours each; expected more than {k} points"):
        nearest_distances(torch.zeros(count, 2), k)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_coordinates_are_finite(bad):
    points = torch.randn(5, 2)
    points[3, 1] = bad
    with pytest.raises(DataError, match="Some coordinates are not finite"):
        nearest_distances(points, 2)
