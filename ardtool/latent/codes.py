"""What is known about a model's codes without its data: moments, the learned prior, and a reference batch.

This is all that relevance, pruning, sampling and traversal need beside the decoder, so it travels in the model file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from .axes import LatentAxes
from .chunks import encoded, in_pieces
from .gaussian import kl_to_gaussian
from .mixture import Mixture
from .precision import GammaPosterior
from .statistics import CodeStatistics

__all__ = ["REFERENCE_ROWS", "AxisMoments", "CodesFrom", "LatentCodes", "encode_batches"]

REFERENCE_ROWS = 1000
CodesFrom = Literal["model", "data", "latents", "prior"]


@dataclass(frozen=True)
class AxisMoments:
    """What the codes say about A axes.

    Attributes:
        variance: that enters the score with shape (A,), float64: of an axis of several elements the mean over them.
        variance_count: how many independent codes the variances are as sure as, with shape (A,).
        total: variance of sampled codes about their mean with shape (A,).
        mean_variance: variance of posterior means with shape (A,).
        kl: from the prior in nats with shape (A,), summed over the elements of an axis; None for deterministic encoders.
        size: elements of an axis.
    """

    variance: Tensor
    variance_count: Tensor
    total: Tensor
    mean_variance: Tensor
    kl: Tensor | None
    size: int = 1


@dataclass(frozen=True)
class LatentCodes:
    """The codes of a model, summarised; L numbers each, a map flattened.

    Attributes:
        statistics: moments of the sampled codes.
        reference: posteriors of some samples, 1,000 in a model file; decoders are differentiated and checked there.
        prior: the ARD prior, or None for models with a fixed prior or none.
        source: where the codes come from.
        centred: score by the variance about the mean although there is a prior.
        mixture: the mixture that new codes are drawn from, or None where none was fitted.
    """

    statistics: CodeStatistics
    reference: Posterior
    prior: GammaPosterior | None = None
    source: CodesFrom = "model"
    centred: bool = False
    mixture: Mixture | None = None

    @property
    def latent_dim(self) -> int:
        return len(self.statistics.mean)

    @property
    def axis_variance(self) -> Tensor:
        """The variance that enters the score, shape (L,): σ̂² for an ARD prior, else the variance of sampled codes about their mean."""
        return self.statistics.variance if self.prior is None or self.centred else self.prior.variance

    @property
    def variance_kind(self) -> str:
        """`second_moment` (σ̂² of the ARD prior) or `centred`."""
        return "centred" if self.prior is None or self.centred else "second_moment"

    @property
    def variance_count(self) -> float:
        """How many codes the axis variances were estimated from."""
        return float(self.statistics.count) if self.prior is None or self.centred else self.prior.degrees_of_freedom

    def kl_per_axis(self) -> Tensor | None:
        """Mean KL of the reference posteriors from the prior in nats, shape (L,); None for deterministic encoders.

        The prior is N(0, σ̂²) for ARD models, N(0, I) for all others.
        """
        log_variance = self.reference.log_variance
        if log_variance is None:
            return None
        variance = self.prior.variance if self.prior is not None else torch.ones(self.latent_dim, dtype=torch.float64)
        return kl_to_gaussian(self.reference.mean.double(), log_variance.double(), variance).mean(dim=0)

    def moments(self, axes: LatentAxes | None = None) -> AxisMoments:
        """The moments of every axis; None: every element is an axis."""
        axes = axes or LatentAxes((self.latent_dim,))
        kl = self.kl_per_axis()
        return AxisMoments(
            variance=axes.mean(self.axis_variance.double().cpu()),
            variance_count=self._counts(axes),
            total=axes.mean(self.statistics.variance.double()),
            mean_variance=axes.mean(self.reference.mean.double().var(dim=0, correction=0)),
            kl=None if kl is None else axes.sum(kl),
            size=axes.size,
        )

    def _counts(self, axes: LatentAxes) -> Tensor:
        """n for axes of one element. The mean variance of several is surer, up to as many times as there are independent ones: 2 / n of it
        is its relative squared standard error, which the reference codes' own mean squares show."""
        n = torch.full((axes.count,), self.variance_count, dtype=torch.float64)
        if not axes.is_grouped or len(self.reference) < 2:
            return n
        z = self.reference.sample(torch.Generator().manual_seed(0)).double()
        squares = axes.mean((z - z.mean(dim=0)).square())
        relative = squares.var(dim=0) / squares.mean(dim=0).square().clamp(min=torch.finfo(torch.float64).tiny)
        return (2 * n / relative.clamp(min=torch.finfo(torch.float64).tiny)).clamp(min=n, max=n * axes.size)

    def axes(self, index: list[int]) -> LatentCodes:
        """The same for some of the axes, in the order of `index`."""
        prior = None if self.prior is None else self.prior.axes(index)
        mixture = None if self.mixture is None else self.mixture.axes(index)
        return LatentCodes(self.statistics.axes(index), self.reference.axes(index), prior, self.source, self.centred, mixture)


@torch.no_grad()
def encode_batches(model: Autoencoder, count: int, size: int, take: Callable[[slice], Tensor]) -> Posterior:
    """Posteriors of some samples on the CPU, in batches; the caller has put the model into inference mode.

    Arguments:
        count: N, the number of samples, ≥ 1.
        size: of a batch; it is halved where memory runs out.
        take: from a slice of range(N) to these samples, on the model's device.

    Raises:
        ArdtoolError: memory runs out on a single sample.
    """

    def encode(part: slice) -> Posterior:
        posterior = encoded(model, take(part))
        log_variance = None if posterior.log_variance is None else posterior.log_variance.float().cpu()
        return Posterior(posterior.mean.float().cpu(), log_variance, None if posterior.context is None else posterior.context.cpu())

    parts = [found for _, found in in_pieces(count, size, encode)]
    log_variances = [part.log_variance for part in parts if part.log_variance is not None]
    contexts = [part.context for part in parts if part.context is not None]
    return Posterior(
        torch.cat([part.mean for part in parts]),
        torch.cat(log_variances) if log_variances else None,
        torch.cat(contexts) if contexts else None,
    )
