"""Streaming moments: merging is free of order and batch size."""

import pytest
import torch

from ardtool.latent.statistics import MOST_COVARIANCES, CodeStatistics


def test_matches_torch():
    z = torch.randn(300, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64) + 5
    statistics = CodeStatistics.of(z)
    torch.testing.assert_close(statistics.mean, z.mean(0))
    torch.testing.assert_close(statistics.covariance, torch.cov(z.T, correction=0))
    torch.testing.assert_close(statistics.second_moment, z.square().mean(0))


def test_merge_is_free_of_order_and_batch_size():
    z = torch.randn(101, 3, dtype=torch.float64) * 100 + 1e4
    whole = CodeStatistics.of(z)
    parts = [CodeStatistics.of(part) for part in z.split(7)]
    for order in (parts, parts[::-1]):
        merged = order[0]
        for part in order[1:]:
            merged = merged.merged(part)
        assert merged.count == 101
        torch.testing.assert_close(merged.mean, whole.mean)
        torch.testing.assert_close(merged.scatter, whole.scatter)


def test_storage_round_trip_and_selection():
    statistics = CodeStatistics.of(torch.randn(50, 4))
    again = CodeStatistics.from_moments(statistics.count, statistics.mean, statistics.covariance)
    torch.testing.assert_close(again.scatter, statistics.scatter)
    assert torch.equal(statistics.axes([2, 0]).covariance, statistics.covariance[[2, 0]][:, [2, 0]])


def test_above_1024_elements_only_the_diagonal_is_kept():
    z = torch.randn(40, MOST_COVARIANCES + 1, dtype=torch.float64) * 3 + 5
    assert not CodeStatistics.of(z[:, :-1]).is_diagonal
    statistics = CodeStatistics.of(z)
    assert statistics.is_diagonal and statistics.scatter.shape == (1025,)
    torch.testing.assert_close(statistics.variance, z.var(0, correction=0))
    torch.testing.assert_close(statistics.covariance, statistics.variance)
    torch.testing.assert_close(statistics.second_moment, z.square().mean(0))
    again = CodeStatistics.from_moments(statistics.count, statistics.mean, statistics.covariance)
    assert again.is_diagonal
    torch.testing.assert_close(again.scatter, statistics.scatter)
    some = statistics.axes([1024, 3])
    assert some.is_diagonal
    torch.testing.assert_close(some.variance, z[:, [1024, 3]].var(0, correction=0))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_diagonals_merge_as_matrices_do(size):
    """Far from zero, where sums of squares would lose all digits; float32 codes, batches down to a single code."""
    z = (torch.randn(101, 1100, dtype=torch.float64) * 0.1 + 1e4).float()
    whole, merged = CodeStatistics.of(z), None
    for part in z.split(size):
        one = CodeStatistics.of(part)
        merged = one if merged is None else merged.merged(one)
    assert merged is not None and merged.count == 101
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.scatter, whole.scatter)
    torch.testing.assert_close(whole.variance, z.double().var(0, correction=0))
    torch.testing.assert_close(merged.axes(list(range(9))).scatter, CodeStatistics.of(z[:, :9]).scatter.diagonal())
