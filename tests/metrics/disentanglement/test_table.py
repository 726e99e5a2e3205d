"""How metrics draw: grids by the protocol, tables without showing a classifier its own samples."""

from __future__ import annotations

import pytest
import torch

from ardtool.errors import DataError
from ardtool.metrics.disentanglement import table as module
from ardtool.metrics.disentanglement.encoded import EncodedOnce
from ardtool.metrics.disentanglement.mig import mig
from ardtool.metrics.disentanglement.modularity import modularity
from ardtool.metrics.disentanglement.sap import sap
from ardtool.metrics.disentanglement.table import FactorTable


def zeros(n: int) -> torch.Tensor:
    return torch.zeros(n, 1)


def frequencies_are_equal(counts: torch.Tensor) -> bool:
    """Pearson's χ² of counts of equally likely outcomes lies within five of its standard deviations."""
    mean, freedom = counts.double().mean(), counts.numel() - 1
    return bool(((counts - mean).square() / mean).sum() < freedom + 5 * (2 * freedom) ** 0.5)


def test_a_grid_counts_with_the_last_factor_fastest_and_leaves_constant_factors_out():
    table = FactorTable.of_grid((1, 2, 3, 1), torch.arange(6)[:, None], ("colour", "shape", "size", "light"))
    assert table.names == ("shape", "size") and table.complete and len(table) == 6
    assert table.factors.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert table.codes_of(torch.tensor([4])).tolist() == [[4.0]]


def test_observations_of_a_grid_are_uniform(seeded):
    table = FactorTable.of_grid((3, 4), zeros(12))
    first, second = table.draw(8000, 4000, generator=seeded())
    assert first.shape == (8000,) and second.shape == (4000,)
    assert frequencies_are_equal(torch.bincount(first, minlength=12))


@pytest.mark.parametrize("k", [0, 1, 2])
def test_groups_of_a_grid_share_one_factor_and_nothing_else(seeded, k):
    table = FactorTable.of_grid((3, 4, 5), zeros(60))
    rows = table.draw_sharing(torch.full((3000,), k), 4, generator=seeded())
    factors = table.factors[rows]
    assert (factors[:, :, k] == factors[:, :1, k]).all()
    for column in range(4):
        assert frequencies_are_equal(torch.bincount(rows[:, column], minlength=60))
    pairs = torch.bincount(rows[:, 0] * 60 + rows[:, 3], minlength=3600)
    same = table.factors[:, None, k] == table.factors[None, :, k]
    assert frequencies_are_equal(pairs[same.flatten()])


def test_every_group_shares_its_own_factor(seeded):
    table = FactorTable.of_grid((7, 11, 13), zeros(1001))
    factor = torch.randint(3, (500,), generator=seeded(1))
    shared = table.factors[table.draw_sharing(factor, 64, generator=seeded())]
    held = (shared == shared[:, :1]).all(dim=1)
    assert torch.equal(held, torch.nn.functional.one_hot(factor, 3).bool())


def test_a_table_shares_by_value_and_leaves_single_values_out(seeded):
    factors = torch.tensor([[0, 0], [5, 0], [9, 0], [9, 1], [9, 1], [5, 1]])
    table = FactorTable.of_samples(factors, zeros(6))
    rows = table.draw_sharing(torch.zeros(4000, dtype=torch.int64), 2, generator=seeded())
    assert (table.factors[rows[:, 0], 0] == table.factors[rows[:, 1], 0]).all()
    assert frequencies_are_equal(torch.bincount(rows[:, 0], minlength=6)[1:])
    assert 0 not in rows


def test_a_table_gives_each_row_once_and_sets_shrink_together(seeded):
    factors = torch.randint(3, (300, 2), generator=seeded(1))
    table = FactorTable.of_samples(factors, zeros(300))
    first, second = table.draw(10_000, 5_000, generator=seeded())
    assert len(first) == 200 and len(second) == 100
    assert torch.equal(torch.cat([first, second]).sort().values, torch.arange(300))
    few, fewer = table.draw(20, 10, generator=seeded())
    assert len(few) == 20 and len(torch.cat([few, fewer]).unique()) == 30


def test_only_numbers_with_fractions_and_few_samples_per_value_are_binned(seeded):
    n = 1000
    uniform = torch.rand(n, generator=seeded())
    columns = (uniform, torch.arange(n).float(), torch.arange(n) % 40 / 40, torch.full((n,), 0.5))
    table = FactorTable.of_samples(torch.stack(columns, dim=1), zeros(n), ("x", "number", "angle", "constant"))
    assert table.names == ("x", "number", "angle") and table.binned == ("x",)
    assert torch.bincount(table.factors[:, 0]).tolist() == [100] * 10
    assert torch.equal(table.factors[uniform.argsort(), 0], torch.arange(n) // 100)
    assert int(table.factors[:, 1].max()) == 999 and int(table.factors[:, 2].max()) == 39


def test_equal_values_at_the_bottom_have_a_bin_of_their_own(seeded):
    values = torch.rand(1000, generator=seeded()).add(0.1)
    values[:300] = 0
    table = FactorTable.of_samples(torch.stack([values, torch.arange(1000) % 2], dim=1), zeros(1000))
    assert torch.bincount(table.factors[:, 0]).tolist() == [300] + [100] * 7


def test_axes_are_chosen_without_encoding_again(seeded):
    codes = EncodedOnce(12, lambda index: torch.stack([index, 2 * index, 3 * index], dim=1))
    table = FactorTable.of_grid((3, 4), codes)
    assert table.codes_of(torch.tensor([2])).tolist() == [[2.0, 4.0, 6.0]]
    assert table.on([2, 0]).codes_of(torch.tensor([2])).tolist() == [[6.0, 2.0]]
    table.on([]).prepare(torch.tensor([3, 4]))
    assert table.on([]).codes_of(torch.tensor([3, 4])).tolist() == [[0.0], [0.0]]
    assert codes.encoded == 1


def test_metrics_of_one_seed_look_at_the_same_samples(seeded, values):
    known = values(10, 10, 10, 10, 10)
    codes = EncodedOnce(100_000, lambda index: known[index])
    table = FactorTable.of_grid((10,) * 5, codes)
    for metric in (sap, mig, modularity):
        metric(table, generator=seeded())
        assert codes.encoded == len(table.draw(15_000, generator=seeded())[0].unique())


@pytest.mark.parametrize("numbers", [1, 7, 10**9])
def test_chunks_do_not_change_the_result(seeded, monkeypatch, mixed, numbers):
    rows = mixed.draw_sharing(torch.randint(3, (20,), generator=seeded()), 6, generator=seeded())
    expected = mixed.codes_of(rows).double().var(dim=1)
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", numbers)
    torch.testing.assert_close(mixed.per_group(rows, lambda codes: codes.var(dim=1)), expected)


def test_two_factors_must_vary():
    with pytest.raises(DataError) as error:
        FactorTable.of_grid((1, 5), zeros(5), ("colour", "shape"))
    assert error.value.message == "Disentanglement is measured on at least two factors that vary; found shape."
    with pytest.raises(DataError, match="vary; found none"):
        FactorTable.of_samples(torch.zeros(0, 2), zeros(0))


def test_every_sample_needs_a_code():
    with pytest.raises(DataError, match=r"There are 5 codes for 6 samples with factors\."):
        FactorTable.of_grid((2, 3), zeros(5))
    with pytest.raises(DataError, match=r"There are 3 codes for 4 samples with factors\."):
        FactorTable.of_samples(torch.zeros(4, 2), zeros(3))


def test_factors_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match=r"The factor 'factor 1' has values that are not finite\."):
        FactorTable.of_samples(torch.tensor([[0.0, 1.0], [1.0, torch.nan]]), zeros(2))


def test_a_factor_that_does_not_vary_among_the_drawn_is_named(seeded):
    factors = torch.zeros(1000, 2, dtype=torch.int64)
    factors[:, 0] = torch.arange(1000) % 2
    factors[3, 1] = 1
    with pytest.raises(DataError) as error:
        FactorTable.of_samples(factors, zeros(1000), ("shape", "scratch")).draw(10, 5, generator=seeded())
    assert error.value.message == "The factor 'scratch' has one value only in the 10 samples to fit; at least two are needed."


def test_a_factor_without_two_samples_of_a_value_is_named(seeded):
    factors = torch.stack([torch.arange(50), torch.arange(50) % 2], dim=1)
    table = FactorTable.of_samples(factors, zeros(50), ("number", "shape"))
    with pytest.raises(DataError) as error:
        table.draw_sharing(torch.tensor([1, 0]), 2, generator=seeded())
    assert error.value.message == "No two of the 50 samples have the same value of the factor 'number'."
