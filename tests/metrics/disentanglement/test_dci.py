"""DCI: closed forms of the importance matrix, classifiers of perfect, single and constant codes, and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier

from ardtool.metrics.disentanglement.dci import dci, disentanglement_and_completeness
from ardtool.metrics.disentanglement.table import FactorTable

FEW = {"train_samples": 600, "test_samples": 300, "trees": 8}
SIZES = (4, 3, 5)


@pytest.mark.parametrize(
    ("importance", "disentanglement", "completeness"),
    [
        ([[1, 0], [0, 1]], 1, 1),
        ([[1, 1], [1, 1]], 0, 0),
        ([[1, 1], [0, 0]], 0, 1),
        ([[1, 0], [1, 0]], 1, 0),
        ([[0, 0], [0, 0]], 0, 0),
        ([[0.3, 0.7]], 1 + 0.3 * np.log2(0.3) + 0.7 * np.log2(0.7), 1),
        ([[0, 0]], 0, 0),
        ([[3, 3], [0, 2]], 2 / 8, 3 / 8 + 5 / 8 * (1 + 0.6 * np.log2(0.6) + 0.4 * np.log2(0.4))),
        ([[1, 1, 0], [0, 0, 1]], 1 / 3 + 2 / 3 * (1 - np.log(2) / np.log(3)), 1),
    ],
)
def test_closed_forms(importance, disentanglement, completeness):
    found = disentanglement_and_completeness(torch.tensor(importance, dtype=torch.float64))
    assert found == pytest.approx((disentanglement, completeness), abs=1e-8)


def test_a_perfect_code_gives_1_also_in_another_order(perfect, seeded):
    table = perfect(*SIZES)
    found = dci(table, generator=seeded(), **FEW)
    assert (found.disentanglement, found.completeness) == pytest.approx((1, 1), abs=1e-3)
    assert found.informativeness == found.informativeness_train == 1
    torch.testing.assert_close(found.importance, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-3)
    turned = dci(table.on([2, 0, 1]), generator=seeded(), **FEW)
    torch.testing.assert_close(turned.importance, found.importance[[2, 0, 1]], rtol=0, atol=1e-3)


def test_a_single_axis_is_complete(perfect, seeded):
    found = dci(perfect(4, 3).on([0]), generator=seeded(), **FEW)
    assert found.completeness == 1
    assert found.accuracies[0] == 1 and found.accuracies[1] < 0.5


def test_codes_that_say_nothing_give_0(perfect, seeded):
    for table in (perfect(4, 3).on([]), FactorTable.of_grid((4, 3), torch.full((12, 2), 0.3))):
        found = dci(table, generator=seeded(), **FEW)
        assert (found.disentanglement, found.completeness) == (0, 0)
        assert found.informativeness < 0.5


def test_progress_and_threads_do_not_change_the_result(mixed, seeded):
    told: list[tuple[int, int]] = []
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = dci(mixed, generator=seeded(), **FEW)
        torch.set_num_threads(3)
        three = dci(mixed, generator=seeded(), progress=lambda done, total: told.append((done, total)), **FEW)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one.importance, three.importance) and torch.equal(one.accuracies, three.accuracies)
    total = 8 * (4 + 3 + 5)
    assert told == sorted(told) and told[-1] == (total, total)


def test_an_interruption_stops_all_classifiers(mixed, seeded):
    told: list[int] = []

    def interrupt(done: int, total: int) -> None:
        told.append(done)
        if len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dci(mixed, generator=seeded(), train_samples=600, trees=100_000, progress=interrupt)


def in_loops(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, seed: int) -> tuple[float, float, float]:
    """The protocol factor by factor and axis by axis."""
    axes, factors = x.shape[1], y.shape[1]
    importance, accuracies = np.zeros((axes, factors)), []
    for k in range(factors):
        model = GradientBoostingClassifier(n_estimators=8, random_state=seed).fit(x, y[:, k])
        importance[:, k] = np.abs(model.feature_importances_)
        accuracies.append(np.mean(model.predict(x_test) == y_test[:, k]))

    def certainty(weights: np.ndarray) -> float:
        shares = [weight / weights.sum() for weight in weights]
        return 1 + sum(share * np.log(share) for share in shares if share > 0) / np.log(len(shares))

    total = importance.sum()
    disentanglement = sum(certainty(row) * row.sum() / total for row in importance if row.sum() > 0)
    completeness = sum(certainty(column) * column.sum() / total for column in importance.T)
    return disentanglement, completeness, float(np.mean(accuracies))


def test_agrees_with_loops(mixed, seeded):
    found = dci(mixed, generator=seeded(), **FEW)
    generator = seeded()
    train, test = mixed.draw(600, 300, generator=generator)
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    x, x_test = mixed.codes_of(train).numpy(), mixed.codes_of(test).numpy()
    expected = in_loops(x, mixed.factors[train].numpy(), x_test, mixed.factors[test].numpy(), seed)
    assert (found.disentanglement, found.completeness, found.informativeness) == pytest.approx(expected, abs=1e-8)
    assert 0.2 < found.disentanglement < 0.95
