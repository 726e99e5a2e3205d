"""The base of all training objectives.

State lives in buffers, no Python branch looks at a tensor's value, and schedules depend on counts only, so that a step can be captured
or compiled. The training loop knows this interface and no method by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..autoencoder import Posterior
from ..latent.precision import GammaPosterior
from ..networks.build import NetworkAutoencoder

__all__ = ["NoOptions", "Objective", "OwnCount", "Setup", "WholeBatch", "option", "reconstruction_error"]


def option(default: Any, help_text: str, low: float | None = None, high: float | None = None) -> Any:
    """A field of a method's options with its meaning and the range it may have, both ends included."""
    return field(default=default, metadata={"help": help_text, "low": low, "high": high})


@dataclass(frozen=True)
class NoOptions:
    """For methods without options of their own."""


@dataclass(frozen=True)
class Setup:
    """What a run tells its objective.

    Attributes:
        latent_dim: L.
        outputs: D, all entries of one sample.
        training_samples: samples that gradient steps are made from.
        data_variance: mean variance of the data per output.
        mse_floor: the squared error per output below which a difference is not visible.
        settings: resolved general settings by name, such as `beta` and `likelihood`.
        options: the method's own, an instance of its `Options`.
    """

    latent_dim: int
    outputs: int
    training_samples: int
    data_variance: float
    mse_floor: float
    settings: Mapping[str, Any]
    options: Any = None


@dataclass(frozen=True)
class OwnCount:
    """A method's own notion of active axes, beside the common relevance score.

    Attributes:
        notion: what is counted, such as "open gates".
        axes: which axes those are, ascending.
        constraint_met: whether the method reached what its notion presupposes; None where it has no such condition.
        reason: why not, or "".
    """

    notion: str
    axes: list[int]
    constraint_met: bool | None = None
    reason: str = ""


class WholeBatch(Protocol):
    """The batch of a step, of which x may be the part that one of several processes has.

    A loss that is a mean over samples needs nothing of this: gradients are put together as the mean over all parts. What is no mean over
    samples, or is remembered from step to step, is taken over the whole batch here; it is then the same for any number of processes.
    """

    def mean(self, part: Tensor) -> Tensor:
        """The mean over the batch from the mean over x; differentiable."""
        ...

    def rows(self, part: Tensor) -> Tensor:
        """The rows (B, ...) of the batch from those of x; differentiable."""
        ...


class _GivenBatch:
    """x is all of it."""

    def mean(self, part: Tensor) -> Tensor:
        return part

    def rows(self, part: Tensor) -> Tensor:
        return part


class Objective(nn.Module):
    """A training objective with its state. Further networks it needs are its submodules.

    Attributes:
        summary_line: what the method is, in half a line.
        paper: where it comes from.
        prefix: first part of the names of its options.
        Options: dataclass of its own options, each made by `option`.
        takes: general settings that not every method has and this one does.
        calibrates: whether β may be "auto".
        table: values of settings and options by data set ("" for all others), such as those of supp. Table 6.
        stochastic: whether the encoder has log variances.
        holds_out_codes: whether a part of the training data (X_α) is held out of the gradient steps each epoch to estimate a prior.
        plateau: whether the validation loss says how far training has come: the learning rates are halved when it stands still.
        further_batches: a step is given so many random batches behind its own.
        fewest_samples: what a batch must have, of training and of validation data.
        second_derivatives: whether the loss holds derivatives of the network, so that it is differentiated twice.
        batch: what the losses and steps of a method see of a batch beside the x that is given to them.
        sampler: how new codes are drawn, see `latent/sampling.py`.
    """

    summary_line: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    prefix: ClassVar[str] = ""
    Options: ClassVar[type] = NoOptions
    takes: ClassVar[frozenset[str]] = frozenset()
    calibrates: ClassVar[bool] = False
    table: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    stochastic: ClassVar[bool] = True
    holds_out_codes: ClassVar[bool] = False
    plateau: ClassVar[bool] = True
    further_batches: ClassVar[int] = 0
    sampler: ClassVar[str] = "prior"
    second_derivatives: bool = False
    fewest_samples: int = 1
    batch: WholeBatch = _GivenBatch()

    @classmethod
    def made_for(cls, setup: Setup) -> Objective:
        """The objective of a run."""
        raise NotImplementedError

    @classmethod
    def values_for(cls, data_name: str) -> Mapping[str, Any]:
        """Its settings and options for a data set, by name."""
        return cls.table.get(data_name, cls.table.get("", {}))

    def prepare(self, model: NetworkAutoencoder) -> None:
        """Change the network before the first step, e.g. constrain its weights."""

    def finished(self, model: NetworkAutoencoder) -> NetworkAutoencoder:
        """The network that is scored and saved: itself, or a copy with what this objective adds folded in."""
        return model

    def own_count(self) -> OwnCount | None:
        """The method's own active axes, where it has such a notion."""
        return None

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

    def likelihood_beta(self, validation: Mapping[str, float]) -> float | None:
        """β of the Gaussian likelihood that the loss is a bound of, of variance β/2 per output; None where it is none.

        Arguments:
            validation: terms of the loss on the validation data.
        """
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
    if likelihood == "bernoulli":
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(raw, x, reduction="sum") / len(x)
        return cross_entropy, nn.functional.mse_loss(reconstruction.detach(), x)
    total = nn.functional.mse_loss(reconstruction, x, reduction="sum") / len(x)
    return total, total.detach() * (len(x) / x.numel())
