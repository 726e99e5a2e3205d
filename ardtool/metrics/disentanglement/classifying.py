"""What the metrics with classifiers share: codes and factors to fit and to test, and scikit-learn's default logistic regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .table import FactorTable

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

__all__ = ["TrainAndTest", "divisors", "fit_logistic"]


@dataclass(frozen=True)
class TrainAndTest:
    """Observations to fit and to test.

    Attributes:
        x, x_test: codes with shape (N, A), float64.
        y, y_test: factors with shape (N, K), int64.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @classmethod
    def draw(cls, table: FactorTable, train: int, test: int, generator: torch.Generator) -> TrainAndTest:
        """So many of each from a table; fewer where it is small.

        Raises:
            DataError: a factor does not vary among the samples to fit, or codes are not finite.
        """
        rows, others = table.draw(train, test, generator=generator)
        table.prepare(rows, others)
        x, x_test = (table.codes_of(part).double().numpy() for part in (rows, others))
        return cls(x, table.factors[rows].numpy(), x_test, table.factors[others].numpy())

    def standardised(self) -> TrainAndTest:
        """The same with axes centred and in standard deviations of the samples to fit; one that does not vary there is only centred."""
        mean, std = self.x.mean(axis=0), divisors(torch.from_numpy(self.x)).numpy()
        return replace(self, x=(self.x - mean) / std, x_test=(self.x_test - mean) / std)


def divisors(codes: Tensor) -> Tensor:
    """Standard deviations of codes (N, A) with shape (A,), float64; 1 for an axis that does not vary."""
    std = codes.double().std(dim=0, correction=0)
    return torch.where(std > 0, std, 1.0)


def fit_logistic(x: np.ndarray, y: np.ndarray) -> LogisticRegression:
    """Multinomial logistic regression of classes (N,) on features (N, A) with L2 penalty, C = 1, and at most 100 steps of L-BFGS."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol ends there
        return LogisticRegression().fit(x, y)
