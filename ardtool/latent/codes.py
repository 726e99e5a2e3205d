"""What is known about a model's codes without its data: moments, the learned prior, and a reference batch.

This is all that relevance, pruning, sampling and traversal need beside the decoder, so it travels in the model file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Posterior
from .gaussian import kl_to_gaussian
from .precision import GammaPosterior
from .statistics import CodeStatistics

__all__ = ["REFERENCE_ROWS", "CodesFrom", "LatentCodes", "encode_batches"]

REFERENCE_ROWS = 1000
CodesFrom = Literal["model", "data", "latents", "prior"]


@dataclass(frozen=True)
class LatentCodes:
    """The codes of a model, summarised.

    Attributes:
        statistics: moments of the sampled codes.
        reference: posteriors of up to 1,000 samples; decoders are differentiated and checked there.
        prior: the ARD prior, or None for models with a fixed prior or none.
        source: where the codes come from.
    """

    statistics: CodeStatistics
    reference: Posterior
    prior: GammaPosterior | None = None
    source: CodesFrom = "model"

    @property
    def latent_dim(self) -> int:
        return len(self.statistics.mean)

    @property
    def axis_variance(self) -> Tensor:
        """The variance that enters the score, shape (L,): σ̂² for an ARD prior, else the variance of sampled codes about their mean."""
        return self.prior.variance if self.prior is not None else self.statistics.variance

    @property
    def variance_kind(self) -> str:
        """`second_moment` (σ̂² of the ARD prior) or `centred`."""
        return "second_moment" if self.prior is not None else "centred"

    @property
    def variance_count(self) -> float:
        """How many codes the axis variances were estimated from."""
        return self.prior.degrees_of_freedom if self.prior is not None else float(self.statistics.count)

    def kl_per_axis(self) -> Tensor | None:
        """Mean KL of the reference posteriors from the prior in nats, shape (L,); None for deterministic encoders.

        The prior is N(0, σ̂²) for ARD models, N(0, I) for all others.
        """
        log_variance = self.reference.log_variance
        if log_variance is None:
            return None
        variance = self.prior.variance if self.prior is not None else torch.ones(self.latent_dim, dtype=torch.float64)
        return kl_to_gaussian(self.reference.mean.double(), log_variance.double(), variance).mean(dim=0)

    def axes(self, index: list[int]) -> LatentCodes:
        """The same for some of the axes, in the order of `index`."""
        prior = None if self.prior is None else self.prior.axes(index)
        return LatentCodes(self.statistics.axes(index), self.reference.axes(index), prior, self.source)


@torch.no_grad()
def encode_batches(model: Autoencoder, batches: Iterable[Tensor]) -> Posterior:
    """Posteriors of all batches, on the CPU; the caller has put the model into inference mode."""
    means, log_variances, contexts = [], [], []
    for batch in batches:
        posterior = model.encode(batch)
        means.append(posterior.mean.float().cpu())
        if posterior.log_variance is not None:
            log_variances.append(posterior.log_variance.float().cpu())
        if posterior.context is not None:
            contexts.append(posterior.context.cpu())
    return Posterior(
        torch.cat(means),
        torch.cat(log_variances) if log_variances else None,
        torch.cat(contexts) if contexts else None,
    )
