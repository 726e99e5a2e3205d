"""Streaming moments: merging is free of order and batch size."""

import torch

from ardtool.latent.statistics import CodeStatistics


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
