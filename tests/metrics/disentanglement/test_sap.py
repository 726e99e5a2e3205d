"""SAP: a factor of two values, perfect, doubled, single and small axes, and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from ardtool.metrics.disentanglement.sap import sap
from ardtool.metrics.disentanglement.table import FactorTable

FEW = {"train_samples": 2000, "test_samples": 1000}


def test_a_sign_beside_noise_gives_a_half(seeded):
    """The best axis is always right, the second best at chance; the same holds for the other factor."""
    codes = torch.randn(20_000, 4, generator=seeded(1))
    found = sap(FactorTable.of_samples(codes[:, :2] > 0, codes), generator=seeded())
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert found.accuracies.diagonal().tolist() == pytest.approx([1, 1], abs=0.01)


def test_a_perfect_code_is_not_perfect_where_values_lie_between_others(perfect, seeded):
    """Against all others, a boundary on one axis finds the outer values; of 3 values the inner one is left for the rest."""
    found = sap(perfect(3, 6, 32), generator=seeded())
    assert found.accuracies.diagonal().tolist() == pytest.approx([1, 0.66, 0.06], abs=0.02)
    assert found.value == pytest.approx(float(found.gaps.mean()))


def test_doubled_axes_leave_no_gap(values, seeded):
    known = values(3, 4, 5)
    assert sap(FactorTable.of_grid((3, 4, 5), torch.cat([known, known], dim=1)), generator=seeded(), **FEW).value == 0


def test_a_single_axis_is_compared_with_a_dead_one(values, seeded):
    known = values(3, 4)
    single = sap(FactorTable.of_grid((3, 4), known[:, :1]), generator=seeded(), **FEW)
    beside = sap(FactorTable.of_grid((3, 4), torch.cat([known[:, :1], torch.zeros(12, 1)], dim=1)), generator=seeded(), **FEW)
    assert torch.equal(single.gaps, beside.gaps)
    assert single.accuracies.shape == (1, 2)
    assert float(single.gaps[0]) == pytest.approx(2 / 3, abs=0.05)


def test_codes_that_say_nothing_give_0(perfect, seeded):
    for table in (perfect(3, 4).on([]), FactorTable.of_grid((3, 4), torch.full((12, 2), 0.3))):
        assert sap(table, generator=seeded(), **FEW).value == 0
        assert sap(table, generator=seeded(), standardise=True, **FEW).value == 0


def test_scale_and_offset_matter_unless_axes_are_standardised(mixed, seeded):
    codes = mixed.codes_of(torch.arange(len(mixed))).double()
    small = FactorTable.of_samples(mixed.factors, codes * 2**-10)
    assert sap(small, generator=seeded(), **FEW).value != sap(mixed, generator=seeded(), **FEW).value
    standardised = [sap(table, generator=seeded(), standardise=True, **FEW) for table in (mixed, small)]
    assert standardised[0].value == standardised[1].value
    assert standardised[0].standardised


def test_agrees_with_loops_and_with_the_dual_form(mixed, seeded):
    found = sap(mixed, generator=seeded(), **FEW)
    train, test = mixed.draw(2000, 1000, generator=seeded())
    x, x_test = mixed.codes_of(train).double().numpy(), mixed.codes_of(test).double().numpy()
    y, y_test = mixed.factors[train].numpy(), mixed.factors[test].numpy()
    gaps = []
    for k in range(3):
        accuracies = []
        for axis in range(5):
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=True, max_iter=100_000, random_state=0)
            machine.fit(x[:, axis].reshape(-1, 1), y[:, k])
            accuracies.append(np.mean(machine.predict(x_test[:, axis].reshape(-1, 1)) == y_test[:, k]))
        accuracies.sort()
        gaps.append(accuracies[-1] - accuracies[-2])
    assert found.value == pytest.approx(np.mean(gaps), abs=0.003)  # two samples a classifier, at the border
    assert 0.1 < found.value < 0.9
