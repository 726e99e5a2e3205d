r"""Modularity: does an axis know about one factor alone? Explicitness: can factors be read from the code at all?

    m_l = 1 − Σ_{k ≠ k*} I_lk² / (I_lk*² (K − 1)),   k* = argmax_k I_lk,   modularity = mean_l m_l
    explicitness = mean over factors and their values of the area under the ROC curve of a linear classifier on test samples

I is the mutual information of `mutual_information.py`. An axis without any information has m = 0. Dead axes with a trace of noise get
values that mean nothing, so measure active axes (`FactorTable.on`). The classifier is scikit-learn's default logistic regression
(multinomial, C = 1, 100 steps) on codes in standard deviations. The area of a value is 1/2 at chance, and 1 where its probability ranks all
its samples above all others; values without test samples are left out. Both lie in [0, 1], higher is better.

Source: Ridgeway and Mozer, "Learning deep disentangled embeddings with the f-statistic loss", 2018; classifiers and constants of Locatello
et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..mutual_information import mutual_information
from .classifying import TrainAndTest, fit_logistic
from .table import FactorTable

__all__ = ["Modularity", "modularity", "modularity_per_axis"]

ROUNDING = 1e-12  # nats


@dataclass(frozen=True)
class Modularity:
    """Modularity and explicitness.

    Attributes:
        value: modularity, from 0 to 1, higher is better.
        explicitness: on test samples, from 0 to 1, higher is better.
        explicitness_train: on the samples that were fitted.
        per_axis: m with shape (A,), float64.
        information: mutual information of axes and factors with shape (A, K), in nats.
        train_samples, test_samples: how it was measured; the information comes from the first.
    """

    value: float
    explicitness: float
    explicitness_train: float
    per_axis: Tensor
    information: Tensor
    train_samples: int
    test_samples: int


def modularity(table: FactorTable, *, generator: torch.Generator, train_samples: int = 10_000, test_samples: int = 5_000) -> Modularity:
    """Modularity and explicitness of a table of codes on A axes.

    Raises:
        DataError: a factor does not vary among the samples, or codes are not finite.
    """
    data = TrainAndTest.draw(table, train_samples, test_samples, generator)
    information = mutual_information(torch.from_numpy(data.x), torch.from_numpy(data.y))
    per_axis = modularity_per_axis(information)
    scaled = data.standardised()
    areas = [_areas(scaled, k) for k in range(data.y.shape[1])]
    train, test = np.mean(areas, axis=0).tolist()
    return Modularity(float(per_axis.mean()), test, train, per_axis, information, len(data.x), len(data.x_test))


def modularity_per_axis(information: Tensor) -> Tensor:
    """m with shape (A,), from 0 to 1, of mutual information in nats with shape (A, K), K ≥ 2."""
    squares = information.double().square()
    best = squares.amax(dim=1)
    others = (squares.sum(dim=1) - best) / (best * (information.shape[1] - 1))
    return torch.where(best > ROUNDING**2, 1 - others, 0.0)


def _areas(data: TrainAndTest, k: int) -> tuple[float, float]:
    """Mean area under the ROC curve over the values of factor k, on the samples that were fitted and on others."""
    regression = fit_logistic(data.x, data.y[:, k])
    found = ((data.x, data.y), (data.x_test, data.y_test))
    train, test = (_mean_area(y[:, k, None] == regression.classes_, regression.predict_proba(x)) for x, y in found)
    return train, test


def _mean_area(truth: np.ndarray, probability: np.ndarray) -> float:
    """Mean area over the values that some samples have, and some have not, of truth and probabilities with shape (N, V)."""
    from sklearn.metrics import roc_auc_score

    told = truth.any(axis=0) & ~truth.all(axis=0)
    return float(roc_auc_score(truth[:, told], probability[:, told])) if told.any() else 0.5
