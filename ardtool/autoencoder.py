"""The contract every model meets: `encode` gives a posterior over latent codes, `decode` maps codes to data.

Letters used throughout: N samples, L latent axes, D outputs (all entries of one reconstruction), C H W channels, height and width.

Latent codes may be vectors (L,) or maps (C, H, W). Everything behind the contract works on flat codes: `FlatLatents` flattens a map at
the border.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .errors import ArdtoolError

__all__ = ["Autoencoder", "FlatLatents", "ModulePair", "Posterior", "flat_latents"]


@dataclass(frozen=True)
class Posterior:
    """What an encoder says about N samples: q(z|x) = N(mean, exp(log_variance)), or a point where there is no variance.

    Attributes:
        mean: posterior means with shape (N, L), or (N, C, H, W) as a model with latent maps gives them.
        log_variance: log variances of the same shape, or None for deterministic encoders.
        context: what the decoder needs beside z (a batch label, a library size): a tensor with first dimension N, or None.
    """

    mean: Tensor
    log_variance: Tensor | None = None
    context: Tensor | None = None

    def __len__(self) -> int:
        return len(self.mean)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Codes z = mean + exp(log_variance / 2) * noise (paper Eq. 3), with shape (N, L); the mean where there is no variance."""
        if self.log_variance is None:
            return self.mean
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def rows(self, index: Tensor | slice) -> Posterior:
        """The posterior of some of the samples."""
        context = None if self.context is None else self.context[index]
        return Posterior(self.mean[index], None if self.log_variance is None else self.log_variance[index], context)

    def flat(self) -> Posterior:
        """The same with codes of shape (N, L)."""
        log_variance = None if self.log_variance is None else self.log_variance.flatten(1)
        return replace(self, mean=self.mean.flatten(1), log_variance=log_variance)

    def axes(self, index: list[int]) -> Posterior:
        """The posterior restricted to some latent axes."""
        log_variance = None if self.log_variance is None else self.log_variance[:, index]
        return replace(self, mean=self.mean[:, index], log_variance=log_variance)


@runtime_checkable
class Autoencoder(Protocol):
    """Whatever has `encode` and `decode`.

    Images are in [0, 1], channels first; a model with another range converts inside. A model that is to be pruned and loaded again is an
    `nn.Module` too and may have a `build_record`, the JSON record that its plugin's `build` takes.

    Attributes:
        input_shape: shape of one sample, (C, H, W) or (D,).
        latent_shape: shape of one code, (L,) or (C, H, W).
    """

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def latent_shape(self) -> tuple[int, ...]: ...

    def encode(self, x: Tensor) -> Posterior:
        """The posterior of samples x with shape (N, *input_shape)."""
        ...

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        """Reconstructions with shape (N, *input_shape) from codes z with shape (N, *latent_shape)."""
        ...


class FlatLatents(nn.Module):
    """A model with latent maps seen as one with latent vectors: codes are flattened behind the encoder and shaped before the decoder.

    Arguments:
        model: an autoencoder whose codes have `latent_shape` (C, H, W).

    Attributes:
        map_shape: shape of one code as the model has it.
        latent_shape: (L,) with L = C·H·W.
    """

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model
        self.map_shape = tuple(model.latent_shape)
        self.input_shape = tuple(model.input_shape)
        self.latent_shape = (prod(self.map_shape),)

    def encode(self, x: Tensor) -> Posterior:
        return self.model.encode(x).flat()

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.model.decode(z.unflatten(-1, self.map_shape), context)


def flat_latents(model: Autoencoder) -> Autoencoder:
    """The model itself where its codes are vectors, else its flat view."""
    return FlatLatents(model) if len(model.latent_shape) > 1 else model


def _shape(sizes: int | Sequence[int]) -> tuple[int, ...]:
    try:
        return (operator.index(sizes),)  # pyright: ignore[reportArgumentType] -- refused where it is no number
    except TypeError:
        return tuple(operator.index(size) for size in sizes)  # pyright: ignore[reportGeneralTypeIssues]


class ModulePair(nn.Module):
    """A user's own encoder and decoder as an `Autoencoder`.

    Arguments:
        encoder: maps (N, *input_shape) to means (N, L), to a pair (means, log variances), or to a `Posterior`.
        decoder: maps (N, L) to (N, *input_shape).
        input_shape: shape of one sample; D of vectors.
        latent_dim: L, or (C, H, W) where codes are maps.

    Attributes:
        build_record: what a plugin's `build` makes this pair from, a JSON value; None where the pair cannot be built again.
    """

    build_record: Any = None

    def __init__(
        self,
        encoder: Callable[[Tensor], Any],
        decoder: Callable[[Tensor], Tensor],
        input_shape: int | Sequence[int],
        latent_dim: int | Sequence[int],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.input_shape = _shape(input_shape)
        self.latent_shape = _shape(latent_dim)

    def encode(self, x: Tensor) -> Posterior:
        out = self.encoder(x)
        if isinstance(out, Posterior):
            return out
        if isinstance(out, tuple | list) and len(out) == 2:
            return Posterior(out[0], out[1])
        if isinstance(out, Tensor):
            return Posterior(out)
        raise ArdtoolError(
            f"The encoder returned a {type(out).__name__}; expected means, a pair (means, log variances) or a Posterior.",
            "Wrap the encoder in a function that returns one of these.",
        )

    def decode(self, z: Tensor, context: Any = None) -> Tensor:
        return self.decoder(z)
