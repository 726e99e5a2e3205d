r"""Separated attribute predictability (SAP): how much better the best axis alone tells a factor than the second best.

    S_lk       accuracy on test samples of a linear support vector machine that sees axis l alone and tells the values of factor k
    value      mean_k (S_(1)k − S_(2)k), from 0 to 1, higher is better

The machines have C = 0.01, classes weighted by 1/frequency, and one boundary for each value against all others. One axis then cannot tell
values that lie between others: a perfect code has S = 1 for a factor of 3 values, about 0.66 for 6 and 0.06 for 32, so the value of a
perfect code is far below 1. The scale of the axes matters too: C penalises slopes, and an axis with a small standard deviation needs steep
ones. `standardise` measures with axes in standard deviations, for models with a free scale. A single axis is compared with one that is
always 0. The boundary is found in the primal form, which has the same optimum as the dual form of the source and no randomness.

Source: Kumar, Sattigeri, Balakrishnan, "Variational inference of disentangled latent concepts from unlabeled observations", 2018;
classifiers and constants of Locatello et al. 2019.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from .classifying import TrainAndTest
from .table import FactorTable

__all__ = ["Sap", "sap"]

PENALTY = 0.01  # C


@dataclass(frozen=True)
class Sap:
    """Separated attribute predictability.

    Attributes:
        value: from 0 to 1, higher is better.
        gaps: of every factor with shape (K,), float64.
        accuracies: S with shape (A, K), float64.
        standardised: whether axes were in standard deviations.
        train_samples, test_samples: how it was measured.
    """

    value: float
    gaps: Tensor
    accuracies: Tensor
    standardised: bool
    train_samples: int
    test_samples: int


def sap(
    table: FactorTable,
    *,
    generator: torch.Generator,
    train_samples: int = 10_000,
    test_samples: int = 5_000,
    standardise: bool = False,
) -> Sap:
    """Separated attribute predictability of a table of codes on A axes.

    Raises:
        DataError: a factor does not vary among the samples, or codes are not finite.
    """
    from sklearn.svm import LinearSVC

    data = TrainAndTest.draw(table, train_samples, test_samples, generator)
    scaled = data.standardised() if standardise else data

    def accuracy(pair: tuple[int, int]) -> float:
        axis, k = pair
        x, x_test = (np.zeros((len(codes), 1)) if axis == axes else codes[:, [axis]] for codes in (scaled.x, scaled.x_test))
        machine = LinearSVC(C=PENALTY, class_weight="balanced", dual=False).fit(x, data.y[:, k])  # pyright: ignore[reportArgumentType]
        return float(machine.score(x_test, data.y_test[:, k]))

    axes, factors = data.x.shape[1], data.y.shape[1]
    compared = max(2, axes)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = list(pool.map(accuracy, product(range(compared), range(factors))))
    accuracies = torch.tensor(found, dtype=torch.float64).view(compared, factors)
    best = accuracies.topk(2, dim=0).values
    gaps = best[0] - best[1]
    return Sap(float(gaps.mean()), gaps, accuracies[:axes], standardise, len(data.x), len(data.x_test))
