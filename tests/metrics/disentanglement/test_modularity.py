"""Modularity and explicitness: closed forms, perfect, dead and doubled axes, and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ardtool.metrics.disentanglement.modularity import modularity, modularity_per_axis
from ardtool.metrics.disentanglement.table import FactorTable
from ardtool.metrics.mutual_information import mutual_information

FEW = {"train_samples": 1200, "test_samples": 600}
SIZES = (4, 3, 5)


@pytest.mark.parametrize(
    ("information", "per_axis"),
    [
        ([[2, 0, 0], [0, 1, 0], [0, 0, 3]], [1, 1, 1]),
        ([[1, 1], [2, 2]], [0, 0]),
        ([[1, 0.5], [0, 1]], [0.75, 1]),
        ([[0, 0], [0, 1e-3]], [0, 1]),
        ([[1e-17, 2e-17]], [0]),
        ([[1, 0.5, 0.5]], [1 - 0.5 / 2]),
    ],
)
def test_closed_forms(information, per_axis):
    assert modularity_per_axis(torch.tensor(information, dtype=torch.float64)).tolist() == pytest.approx(per_axis)


def test_a_perfect_code_gives_1(perfect, seeded):
    found = modularity(perfect(*SIZES), generator=seeded(), **FEW)
    assert found.value == pytest.approx(1, abs=1e-3)
    assert (found.explicitness, found.explicitness_train) == pytest.approx((1, 1), abs=1e-6)
    assert (found.train_samples, found.test_samples) == (1200, 600)


def test_codes_that_say_nothing(perfect, seeded):
    for table in (perfect(*SIZES).on([]), FactorTable.of_grid(SIZES, torch.full((60, 2), 0.3))):
        found = modularity(table, generator=seeded(), **FEW)
        assert found.value == 0 and found.explicitness == 0.5


def test_dead_and_doubled_axes(values, seeded):
    """A dead axis counts 0 in the mean over axes and nothing for the classifier; doubled axes cost nothing."""
    known = values(*SIZES)
    codes = torch.cat([known, known, torch.full((60, 2), 0.3)], dim=1)
    found = modularity(FactorTable.of_grid(SIZES, codes), generator=seeded(), **FEW)
    alone = modularity(FactorTable.of_grid(SIZES, known), generator=seeded(), **FEW)
    torch.testing.assert_close(found.per_axis, torch.cat([alone.per_axis, alone.per_axis, torch.zeros(2)]).double())
    assert found.explicitness == pytest.approx(1, abs=1e-6)


def test_an_axis_that_mixes_two_factors_lacks_modularity_and_their_sum_explicitness(values, seeded):
    known = values(4, 3, 4)
    codes = torch.stack([known[:, 0] + known[:, 2], known[:, 1]], dim=1)
    found = modularity(FactorTable.of_grid((4, 3, 4), codes), generator=seeded(), **FEW)
    assert found.per_axis.tolist() == pytest.approx([0.5, 1], abs=0.05)
    assert found.explicitness < 0.95


def test_scale_and_order_do_not_matter(mixed, seeded):
    codes = mixed.codes_of(torch.arange(len(mixed)))
    expected = modularity(mixed, generator=seeded(), **FEW)
    changed = FactorTable.of_samples(mixed.factors, (codes * torch.tensor([2.0, -4.0, 0.5, 1.0, -8.0]))[:, [3, 1, 4, 0, 2]])
    found = modularity(changed, generator=seeded(), **FEW)
    torch.testing.assert_close(found.value, expected.value, rtol=0.01, atol=0)
    torch.testing.assert_close(found.explicitness, expected.explicitness, rtol=1e-4, atol=0)
    assert modularity(mixed, generator=seeded(), **FEW).explicitness == expected.explicitness


def test_agrees_with_loops(mixed, seeded):
    """The area under the ROC curve is how often a sample of the value is ranked above another one; ties count half."""
    found = modularity(mixed, generator=seeded(), **FEW)
    train, test = mixed.draw(1200, 600, generator=seeded())
    x, x_test = mixed.codes_of(train).double().numpy(), mixed.codes_of(test).double().numpy()
    y, y_test = mixed.factors[train].numpy(), mixed.factors[test].numpy()
    information = mutual_information(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    axes = []
    for row in information:
        best = int(np.argmax(row))
        axes.append(1 - sum(row[k] ** 2 for k in range(3) if k != best) / (row[best] ** 2 * 2))
    factors = []
    for k in range(3):
        regression = LogisticRegression().fit((x - x.mean(0)) / x.std(0), y[:, k])
        probability = regression.predict_proba((x_test - x.mean(0)) / x.std(0))
        areas = []
        for value in range(probability.shape[1]):
            inside, outside = probability[y_test[:, k] == value, value], probability[y_test[:, k] != value, value]
            areas.append(np.mean([(one > outside).mean() + (one == outside).mean() / 2 for one in inside]))
        factors.append(np.mean(areas))
    assert found.value == pytest.approx(np.mean(axes), abs=1e-9)
    assert found.explicitness == pytest.approx(np.mean(factors), abs=1e-9)
    assert 0.5 < found.explicitness < 0.999
