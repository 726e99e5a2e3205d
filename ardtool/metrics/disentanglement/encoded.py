"""Codes of N samples, each encoded when a metric first needs it and never again.

A grid of factors may have 737,280 images. MIG, DCI, SAP and modularity look at 15,000 of them, FactorVAE at most.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import DataError

__all__ = ["EncodedOnce"]


class EncodedOnce:
    """Codes with shape (N, L), float32, on the CPU.

    Arguments:
        count: N.
        encode: codes with shape (B, L) of samples with indices (B,), which are sorted and distinct. It is called once for all that a metric
            needs, so batches and progress are its own.
    """

    def __init__(self, count: int, encode: Callable[[Tensor], Tensor]) -> None:
        self._encode = encode
        self._known = torch.zeros(count, dtype=torch.bool)
        self._codes: Tensor | None = None

    @classmethod
    def of(cls, codes: Tensor) -> EncodedOnce:
        """Codes with shape (N, L) that are there already."""
        return cls(len(codes), lambda index: codes[index])

    def __len__(self) -> int:
        return len(self._known)

    @property
    def encoded(self) -> int:
        """How many samples have been encoded."""
        return int(self._known.sum())

    def require(self, index: Tensor) -> None:
        """Encode those of some samples, int64 of any shape, that are not encoded yet.

        Raises:
            DataError: codes that are not finite.
        """
        wanted = torch.zeros_like(self._known)
        wanted[index.flatten()] = True
        missing = (wanted & ~self._known).nonzero()[:, 0]
        if not len(missing):
            return
        found = self._encode(missing).detach().float().cpu()
        assert found.ndim == 2 and len(found) == len(missing), "one code a sample"
        broken = int((~found.isfinite()).any(dim=1).sum())
        if broken:
            raise DataError(
                f"The codes of {broken:,} of {len(missing):,} samples are not finite, so nothing can be measured on them.",
                "Check the model: its training may have diverged.",
            )
        if self._codes is None:
            self._codes = torch.empty(len(self), found.shape[1])
        self._codes[missing] = found
        self._known[missing] = True

    def __getitem__(self, index: Tensor) -> Tensor:
        """Codes with shape (*index.shape, L)."""
        self.require(index)
        assert self._codes is not None, "there is no code without a sample"
        return self._codes[index]
