"""What is left of a latent space: some of its axes, or some of its principal directions, everything else held still.

A pruned decoder maps short codes c to what the original maps z̃ to, where z̃ is z with all that was dropped held still:
`latent/reduction.py` has the formulas. Axes are held at the aggregate mean. Directions are those of `latent/principal.py`; their
coordinates have unit second moments about a centre, which is the aggregate mean, or 0 for models with an ARD prior: its variances are
second moments about zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...autoencoder import Posterior
from ...latent.axes import LatentAxes
from ...latent.codes import LatentCodes
from ...latent.precision import GammaPosterior
from ...latent.pruning import Pruning, prune_axes, prune_directions
from ...latent.reduction import DirectionReduction, ElementReduction
from ...latent.statistics import CodeStatistics
from ...storage.model_file import SavedModel
from ..estimation import Request, principal_basis
from ..relevance import score_model

__all__ = ["KeptAxes", "KeptDirections", "KeptSpace", "Ranking", "rank_axes", "rank_directions"]


class KeptAxes:
    """Some axes, in ascending order.

    Arguments:
        axes: what an axis is.
        kept: indices of those that stay.
        mean: aggregate mean of all elements with shape (L,), at which the others are held.
    """

    def __init__(self, axes: LatentAxes, kept: list[int], mean: Tensor) -> None:
        self.axes, self.kept, self.mean = axes, sorted(kept), mean
        self.elements = axes.elements_of(self.kept)
        self.reduction = ElementReduction(self.elements, mean.double())

    def shorten(self, z: Tensor) -> Tensor:
        """Codes of the pruned model with shape (N, K) from codes z (N, L)."""
        return self.reduction.shorten(z)

    def hold(self, z: Tensor) -> Tensor:
        """Codes z̃ with shape (N, L): z with everything held still that was dropped."""
        return self.reduction.hold(self.reduction.shorten(z))

    def codes(self, codes: LatentCodes) -> LatentCodes:
        """Moments, prior and reference batch of the pruned model."""
        return codes.axes(self.elements)

    def prune(self, model: Any, codes: Posterior, sample: Tensor | None) -> Pruning:
        """The pruned model; `prune_axes` has the arguments."""
        return prune_axes(model, self.axes, self.kept, self.mean, codes, sample)


class KeptDirections:
    """K directions with shape (L, K), their readout (K, L), and the centre (L,) at which everything else is held."""

    def __init__(self, directions: Tensor, readout: Tensor, centre: Tensor) -> None:
        self.kept = list(range(len(readout)))
        self.reduction = DirectionReduction(directions.double(), readout.double(), centre.double())

    def shorten(self, z: Tensor) -> Tensor:
        """Coordinates with shape (N, K) of codes z (N, L)."""
        return self.reduction.shorten(z)

    def hold(self, z: Tensor) -> Tensor:
        """Codes z̃ with shape (N, L): what the coordinates say of z."""
        return self.reduction.hold(self.reduction.shorten(z))

    def codes(self, codes: LatentCodes) -> LatentCodes:
        """Moments, prior and reference batch in coordinates: of the aggregate codes all covariances, of single posteriors none."""
        former, readout = codes.statistics, self.reduction.get_buffer("readout")
        mean = self.shorten(former.mean.double()[None])[0]
        if former.is_diagonal:  # too many covariances to be known: those of sampled reference codes
            covariance = CodeStatistics.of(self.shorten(codes.reference.sample(torch.Generator().manual_seed(0)).double())).covariance
        else:
            covariance = readout @ former.covariance @ readout.T
        prior = None
        if codes.prior is not None:  # coordinates have unit second moments about zero
            prior = GammaPosterior(codes.prior.a, torch.full((len(mean),), codes.prior.a, dtype=torch.float64))
        reference = self.reduction.posterior(codes.reference)
        found = codes.mixture
        mixture = None if found is None else found.mapped(self.shorten(found.means), readout)
        return LatentCodes(CodeStatistics.from_moments(former.count, mean, covariance), reference, prior, codes.source, mixture=mixture)

    def prune(self, model: Any, codes: Posterior, sample: Tensor | None) -> Pruning:
        """The pruned model; `prune_directions` has the arguments."""
        directions, readout, centre = (self.reduction.get_buffer(name) for name in ("directions", "readout", "centre"))
        return prune_directions(model, directions, readout, centre, codes, sample)


KeptSpace = KeptAxes | KeptDirections


@dataclass(frozen=True)
class Ranking:
    """Axes or directions by descending relevance.

    Attributes:
        count: how many there are; of directions 0 where the decoder ignores its code.
        active: how many are active at the threshold.
        first: the space of the k most relevant, 1 ≤ k ≤ count.
    """

    count: int
    active: int
    first: Callable[[int], KeptSpace]


def rank_axes(model: SavedModel, codes: LatentCodes, request: Request) -> Ranking:
    """The axes of a model by their scores."""
    result = score_model(model, codes, request)
    order, axes, mean = [axis.axis for axis in result.axes], model.latent_axes, codes.statistics.mean
    return Ranking(len(order), result.active, lambda k: KeptAxes(axes, order[:k], mean))


def rank_directions(model: SavedModel, codes: LatentCodes, request: Request) -> Ranking:
    """The principal directions of a model by their eigenvalues, as many as carry nearly all of the decoder's change."""
    generator = torch.Generator().manual_seed(request.seed)
    order = torch.randperm(len(codes.reference), generator=generator)
    found, centre = principal_basis(model.autoencoder, codes, request, generator, order)
    count = len(found.eigenvalues)
    return Ranking(
        count, min(found.count(request.threshold), count), lambda k: KeptDirections(found.directions[:, :k], found.readout[:k], centre)
    )
