"""Reconstruction errors: PSNR, and the curve over kept axes, in closed form for linear decoders."""

import math
from itertools import pairwise

import pytest
import torch

from ardtool.latent.axes import LatentAxes
from ardtool.metrics.reconstruction import curve_counts, held_decoders, mean_and_stderr, mean_of_parts, psnr, squared_error, squared_errors

F64 = torch.float64


def test_squared_errors_are_sums_over_outputs():
    x = torch.zeros(2, 3, 4)
    assert squared_error(x + torch.tensor([1.0, 2.0])[:, None, None], x).tolist() == [12, 48]


def test_standard_error_of_a_mean():
    assert mean_and_stderr(torch.tensor([1.0, 3.0])) == (2.0, pytest.approx(1))
    assert mean_and_stderr(torch.tensor([5.0])) == (5.0, math.inf)


@pytest.mark.parametrize("data_range", [1.0, 2.0, 255.0])
def test_psnr_of_a_constant_error(data_range):
    """An error of a tenth of the range at every output is 20 dB, of a thousandth 60 dB."""
    errors = data_range * torch.tensor([1.0, 0.1, 1e-3], dtype=F64)
    torch.testing.assert_close(psnr(errors.square(), data_range), torch.tensor([0.0, 20.0, 60.0], dtype=F64))


def test_psnr_of_an_exact_reconstruction_is_finite():
    assert psnr(torch.tensor([0.0, 1e-10, 1e-12]), 1.0).tolist() == [100, pytest.approx(100, abs=1e-5), 100]


class Codes:
    """x = W z + a constant, whose decoder is exact: holding axis l at its mean costs Var(z_l) ‖w_l‖² / D on uncorrelated codes."""

    def __init__(self, axes: int = 5, samples: int = 200) -> None:
        z = torch.randn(samples, axes, dtype=F64)
        z = torch.linalg.qr(z - z.mean(dim=0))[0] * samples**0.5  # uncorrelated, variance 1
        self.z = z * torch.linspace(0.2, 3, axes, dtype=F64) + 7
        self.W = torch.randn(9, axes, dtype=F64)
        self.x = self.decode(self.z, None)
        self.cost = self.z.var(dim=0, correction=0) * self.W.square().sum(dim=0) / 9

    def decode(self, z, context):
        return z @ self.W.T - 2

    def batches(self, size):
        return ((self.z[rows], None, self.x[rows]) for rows in torch.arange(len(self.z)).split(size))


def mean_squared_errors(batches, decoders):
    return mean_of_parts((squared_errors(decoders, z, context, x), x.numel()) for z, context, x in batches)


def mse_curve(decode, batches, *held):
    return mean_squared_errors(batches, held_decoders(decode, *held))


@pytest.mark.parametrize("size", [1, 64, 200])
def test_the_curve_of_a_linear_decoder(size):
    codes = Codes()
    order = [3, 0, 4, 1, 2]
    found = mse_curve(codes.decode, codes.batches(size), order, codes.z.mean(dim=0), [0, 1, 2, 4, 5])
    torch.testing.assert_close(found, [float(codes.cost[order[k:]].sum()) for k in (0, 1, 2, 4, 5)], atol=1e-12, rtol=1e-9)


def test_by_descending_relevance_no_other_order_is_lower():
    codes = Codes()
    best = codes.cost.argsort(descending=True).tolist()
    curve, other = (mse_curve(codes.decode, codes.batches(50), order, codes.z.mean(dim=0), range(6)) for order in (best, [4, 2, 0, 1, 3]))
    assert all(a <= b + 1e-12 for a, b in zip(curve, other, strict=True)) and curve != other
    assert curve == sorted(curve, reverse=True)


def test_the_elements_of_a_channel_are_held_together():
    codes = Codes(6)
    found = mse_curve(codes.decode, codes.batches(50), [1, 0, 2], codes.z.mean(dim=0), [1], LatentAxes((3, 1, 2)))
    assert found[0] == pytest.approx(float(codes.cost[[0, 1, 4, 5]].sum()))


def test_contexts_reach_the_decoder():
    x, context = torch.randn(10, 3), torch.randn(10, 3)
    batches = [(torch.zeros(4, 1), context[:4], x[:4]), (torch.zeros(6, 1), context[4:], x[4:])]
    found = mean_squared_errors(batches, [lambda z, context: context, lambda z, context: 0 * context])
    assert found == pytest.approx([float((x - context).square().mean()), float(x.square().mean())])


def test_numbers_of_axes_on_a_curve():
    assert curve_counts(1) == [1] and curve_counts(64) == list(range(1, 65))
    grid = curve_counts(4096)
    assert grid[0] == 1 and grid[-1] == 4096 and len(grid) == 16
    ratios = [b / a for a, b in pairwise(grid[4:])]
    assert max(ratios) / min(ratios) < 1.1  # even steps of log k, beyond where they are rounded
    assert curve_counts(4096, include=[77, 4096]) == sorted([*grid, 77])
