"""The base of all training objectives.

State lives in buffers, no Python branch looks at a tensor's value, and schedules depend on counts only, so that a step can be captured
or compiled. The training loop knows this interface and no method by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..autoencoder import Posterior
from ..latent.precision import GammaPosterior
from ..networks.build import NetworkAutoencoder

__all__ = ["Objective", "reconstruction_error"]


class Objective(nn.Module):
    """A training objective with its state.

    Attributes:
        holds_out_codes: whether a part of the training data (X_α) is held out of the gradient steps each epoch to estimate a prior.
    """

    holds_out_codes = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], *, data_variance: float, mse_floor: float) -> Objective:
        """The objective of a run.

        Arguments:
            settings: resolved training settings by name.
            data_variance: mean variance of the data per output.
            mse_floor: the squared error per output below which a difference is not visible.
        """
        raise NotImplementedError

    def losses(self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The terms of the loss by name for samples x with shape (B, *input_shape), each a scalar; `loss` is what is minimised.

        `mse` is the mean squared error per output and is present in every objective.
        """
        raise NotImplementedError

    def step(
        self, model: NetworkAutoencoder, x: Tensor, generator: torch.Generator, optimisers: list[torch.optim.Optimizer]
    ) -> dict[str, Tensor]:
        """One update of the parameters; returns the detached terms of the loss before it."""
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        terms = self.losses(model, x, generator)
        terms["loss"].backward()
        for optimiser in optimisers:
            optimiser.step()
        return {name: value.detach() for name, value in terms.items()}

    def optimisers(self, model: NetworkAutoencoder, lr: float, **options: Any) -> list[torch.optim.Optimizer]:
        """The optimisers of all trainable parameters: one Adam unless a method needs more."""
        return [torch.optim.Adam(model.parameters(), lr=lr, **options)]

    def update_prior(self, posterior: Posterior, generator: torch.Generator) -> None:
        """Learn the prior from the posteriors of X_α."""

    def is_stationary(self, progress: float) -> bool:
        """Whether the objective no longer changes at this share of the epochs; the learning rate is halved only then."""
        return True

    def end_epoch(self, validation: dict[str, float], progress: float) -> None:
        """Adapt to the validation terms; progress is the share of epochs done, in (0, 1]."""

    def prior(self) -> GammaPosterior | None:
        """The learned prior, or None."""
        return None

    def summary(self) -> dict[str, float]:
        """Numbers that change over training and belong into the log, by name."""
        return {}


def reconstruction_error(model: NetworkAutoencoder, z: Tensor, x: Tensor, likelihood: str) -> tuple[Tensor, Tensor]:
    """Reconstruction term summed over outputs and averaged over the batch, and the mean squared error per output; both scalars.

    `gaussian`: Σ (x − x̂)², no ½ and no 1/σ², so that with a weight β on the KL the likelihood has the variance β/2 per output.
    `bernoulli`: Σ cross-entropy on logits, in nats.
    """
    raw = model.decode_raw(z)
    reconstruction = model.activate(raw)
    squared = (reconstruction - x).square()
    if likelihood == "bernoulli":
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(raw, x, reduction="sum") / len(x)
        return cross_entropy, squared.detach().mean()
    total = squared.sum() / len(x)
    return total, total.detach() * (len(x) / squared.numel())
