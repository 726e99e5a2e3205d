r"""β-VAE metric: can a factor be told from how far codes lie apart that share it?

    one vote   k uniform among K factors;  64 pairs (z, z'), each sharing its own value of factor k;  x_l = mean over pairs of |z_l − z'_l|
    value      accuracy on test votes of a multinomial logistic regression of k on x, from 0 to 1, higher is better

Chance is 1/K. The regression is scikit-learn's default (L2 penalty with C = 1, at most 100 steps of L-BFGS). Its penalty makes the value
depend on the scale of the axes: one with a small standard deviation counts for little. `standardised` is the same with every axis in
its own standard deviations, for models with a free scale.

Source: Higgins et al., "beta-VAE: learning basic visual concepts with a constrained variational framework", 2017; the constants of
Locatello et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .classifying import divisors, fit_logistic
from .table import FactorTable

__all__ = ["BetaVae", "beta_vae"]


@dataclass(frozen=True)
class BetaVae:
    """The β-VAE metric.

    Attributes:
        value: accuracy on test votes with axes as they are, from 0 to 1, higher is better.
        train_accuracy: on the training votes.
        converged: whether the regression ended before its last step.
        standardised, standardised_train_accuracy, standardised_converged: the same with axes in standard deviations.
        train_votes, test_votes, batch: how it was measured.
    """

    value: float
    train_accuracy: float
    converged: bool
    standardised: float
    standardised_train_accuracy: float
    standardised_converged: bool
    train_votes: int
    test_votes: int
    batch: int


def beta_vae(
    table: FactorTable, *, generator: torch.Generator, train_votes: int = 10_000, test_votes: int = 5_000, batch: int = 64
) -> BetaVae:
    """The β-VAE metric of a table of codes on A axes.

    Arguments:
        batch: pairs behind one vote.

    Raises:
        DataError: no two samples share a value of a factor, or codes are not finite.
    """
    factor = torch.randint(len(table.names), (train_votes + test_votes,), generator=generator)
    pairs = table.draw_sharing(factor.repeat_interleave(batch), 2, generator=generator).reshape(-1, batch, 2)
    table.prepare(pairs)
    distance = table.per_group(pairs, lambda codes: (codes[:, :, 0] - codes[:, :, 1]).abs().mean(dim=1))
    std = divisors(table.codes_of(pairs[:train_votes, 0, 0]))
    plain = _accuracies(distance, factor, train_votes)
    standardised = _accuracies(distance / std, factor, train_votes)
    return BetaVae(*plain, *standardised, train_votes, test_votes, batch)


def _accuracies(features: Tensor, factor: Tensor, train: int) -> tuple[float, float, bool]:
    """Accuracy on the votes that come after the first `train`, on those, and whether the regression converged."""
    x, y = features.numpy(), factor.numpy()
    regression = fit_logistic(x[:train], y[:train])
    converged = int(regression.n_iter_.max()) < regression.max_iter
    return float(regression.score(x[train:], y[train:])), float(regression.score(x[:train], y[:train])), converged
