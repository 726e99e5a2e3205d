r"""Disentanglement, completeness and informativeness (DCI): what gradient boosted trees read each factor from.

    R_lk               importance of axis l to the classifier of factor k, ≥ 0
    D = Σ_l ρ_l (1 − H_K(R_l· / Σ_k R_lk)),   ρ_l = Σ_k R_lk / ΣR      does an axis serve one factor alone?
    C = Σ_k κ_k (1 − H_L(R_·k / Σ_l R_lk)),   κ_k = Σ_l R_lk / ΣR      is a factor read from one axis alone?
    I = mean over factors of the classifier's accuracy on test samples

H_B is the entropy with logarithms to base B. All three lie in [0, 1], higher is better. With one axis C = 1; where no classifier uses any
axis D = C = 0. The classifiers are scikit-learn's `GradientBoostingClassifier` with 100 trees per class of depth 3; another kind of
classifier gives other numbers. This takes minutes: 11,300 trees for dSprites.

Source: Eastwood and Williams, "A framework for the quantitative evaluation of disentangled representations", 2018; classifiers and
constants of Locatello et al. 2019.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .classifying import TrainAndTest
from .table import FactorTable

__all__ = ["Dci", "dci", "disentanglement_and_completeness"]

TINY = 1e-11


@dataclass(frozen=True)
class Dci:
    """Disentanglement, completeness and informativeness.

    Attributes:
        disentanglement, completeness, informativeness: D, C and I, from 0 to 1, higher is better.
        informativeness_train: accuracy on the samples that were fitted.
        importance: R with shape (A, K), float64.
        accuracies: on test samples by factor with shape (K,), float64.
        train_samples, test_samples, trees: how it was measured.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    informativeness_train: float
    importance: Tensor
    accuracies: Tensor
    train_samples: int
    test_samples: int
    trees: int


def dci(
    table: FactorTable,
    *,
    generator: torch.Generator,
    train_samples: int = 10_000,
    test_samples: int = 5_000,
    trees: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> Dci:
    """Disentanglement, completeness and informativeness of a table of codes on A axes.

    Factors are fitted in as many threads as torch uses; the numbers do not depend on it.

    Arguments:
        trees: for every class of every factor.
        progress: is told how many trees are done, and of how many; called in other threads, one at a time.

    Raises:
        DataError: a factor does not vary among the samples, or codes are not finite.
    """
    data = TrainAndTest.draw(table, train_samples, test_samples, generator)
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    models = _classifiers(data.x, data.y, trees, seed, progress)
    importance = torch.from_numpy(np.stack([model.feature_importances_ for model in models], axis=1)).abs()
    fitted = [float(model.score(data.x, factor)) for model, factor in zip(models, data.y.T, strict=True)]
    tested = [float(model.score(data.x_test, factor)) for model, factor in zip(models, data.y_test.T, strict=True)]
    d, c = disentanglement_and_completeness(importance)
    accuracies = torch.tensor(tested, dtype=torch.float64)
    return Dci(d, c, float(np.mean(tested)), float(np.mean(fitted)), importance, accuracies, len(data.x), len(data.x_test), trees)


def _classifiers(x: np.ndarray, y: np.ndarray, trees: int, seed: int, progress: Callable[[int, int], None] | None) -> list[Any]:
    """A fitted classifier for each factor: of N codes (N, A) and factors (N, K)."""
    from sklearn.ensemble import GradientBoostingClassifier

    classes = [len(np.unique(factor)) for factor in y.T]
    per_stage = [count if count > 2 else 1 for count in classes]
    lock, stop, done = threading.Lock(), threading.Event(), 0

    def fit(k: int) -> Any:
        def after_stage(*_: Any) -> bool:
            nonlocal done
            with lock:
                done += per_stage[k]
                if progress is not None:
                    progress(done, trees * sum(per_stage))
            return stop.is_set()

        return GradientBoostingClassifier(n_estimators=trees, random_state=seed).fit(x, y[:, k], monitor=after_stage)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        longest_first = sorted(range(len(classes)), key=lambda k: -classes[k])
        running = {k: pool.submit(fit, k) for k in longest_first}
        try:
            wait(running.values(), return_when=FIRST_EXCEPTION)
        finally:  # after an error or Ctrl-C a classifier may have minutes to go
            stop.set()
        return [running[k].result() for k in range(len(classes))]


def disentanglement_and_completeness(importance: Tensor) -> tuple[float, float]:
    """D and C of importances R ≥ 0 with shape (A, K), K ≥ 2."""
    if float(importance.sum()) == 0:
        return 0.0, 0.0
    return _concentration(importance), _concentration(importance.T) if len(importance) > 1 else 1.0


def _concentration(importance: Tensor) -> float:
    """1 − entropy of each row relative to its largest, weighted by the sum of the row."""
    rows = importance.double()
    shares = rows + TINY
    shares = shares / shares.sum(dim=1, keepdim=True)
    entropy = -(shares * shares.log()).sum(dim=1) / torch.tensor(float(rows.shape[1])).double().log()
    return float(((1 - entropy) * rows.sum(dim=1)).sum() / rows.sum())
