r"""Shorter codes and the way back: some elements with the others held still, or coordinates along some directions.

    elements     c = z_K              z̃_K = c, z̃_R = m_R      K kept, R dropped elements, m the aggregate mean
    directions   c = B (z − z₀)       z̃ = z₀ + U c            U (L, K) directions, B (K, L) readout with B U = I, z₀ the centre

A posterior N(μ, diag σ²) becomes N(μ_K, diag σ_K²), or N(B (μ − z₀), diag(B diag(σ²) Bᵀ)): covariances that a rotation brings in are
left out.

Both are modules, so that they travel with a model in its state dict and to its device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..autoencoder import Posterior

__all__ = ["DirectionReduction", "ElementReduction", "Reduction", "full_codes"]


def full_codes(kept_codes: Tensor, kept: Sequence[int] | Tensor, mean: Tensor) -> Tensor:
    """Codes on all L elements with shape (N, L): kept ones from `kept_codes` (N, K), dropped ones at their mean (L,)."""
    index = torch.as_tensor(kept, dtype=torch.int64, device=kept_codes.device)
    return mean.to(kept_codes).expand(kept_codes.shape[0], -1).index_copy(1, index, kept_codes)


class ElementReduction(nn.Module):
    """Some elements of the code.

    Arguments:
        elements: K indices in the order in which the short code has them.
        mean: of all elements with shape (L,), at which dropped ones are held.
    """

    def __init__(self, elements: Sequence[int], mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone(memory_format=torch.contiguous_format))
        self.register_buffer("elements", torch.as_tensor(elements, dtype=torch.int64), persistent=False)

    @property
    def size(self) -> int:
        """K, the numbers in a short code."""
        return len(self.get_buffer("elements"))

    def shorten(self, z: Tensor) -> Tensor:
        """Short codes (N, K) of codes (N, L)."""
        return z[:, self.get_buffer("elements")]

    def hold(self, c: Tensor) -> Tensor:
        """Codes (N, L) of short codes (N, K)."""
        return full_codes(c, self.get_buffer("elements"), self.get_buffer("mean"))

    def posterior(self, full: Posterior) -> Posterior:
        """Posteriors of short codes."""
        log_variance = None if full.log_variance is None else self.shorten(full.log_variance)
        return replace(full, mean=self.shorten(full.mean), log_variance=log_variance)


class DirectionReduction(nn.Module):
    """Coordinates along some directions.

    Arguments:
        directions: U with shape (L, K).
        readout: B with shape (K, L).
        centre: z₀ with shape (L,).
    """

    def __init__(self, directions: Tensor, readout: Tensor, centre: Tensor) -> None:
        super().__init__()
        self.register_buffer("directions", directions.clone(memory_format=torch.contiguous_format))
        self.register_buffer("readout", readout.clone(memory_format=torch.contiguous_format))
        self.register_buffer("centre", centre.clone(memory_format=torch.contiguous_format))

    @property
    def size(self) -> int:
        """K, the numbers in a short code."""
        return len(self.get_buffer("readout"))

    def shorten(self, z: Tensor) -> Tensor:
        """Short codes (N, K) of codes (N, L)."""
        return (z - self.get_buffer("centre").to(z)) @ self.get_buffer("readout").to(z).T

    def hold(self, c: Tensor) -> Tensor:
        """Codes (N, L) of short codes (N, K)."""
        return self.get_buffer("centre").to(c) + c @ self.get_buffer("directions").to(c).T

    def posterior(self, full: Posterior) -> Posterior:
        """Posteriors of short codes, without covariances."""
        log_variance = full.log_variance
        if log_variance is not None:
            variance = log_variance.exp() @ self.get_buffer("readout").to(log_variance).square().T
            log_variance = variance.clamp(min=torch.finfo(variance.dtype).tiny).log()
        return replace(full, mean=self.shorten(full.mean), log_variance=log_variance)


Reduction = ElementReduction | DirectionReduction
