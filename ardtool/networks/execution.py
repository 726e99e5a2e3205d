"""How a network computes while it is trained: in bfloat16 where asked, in float32 where it matters.

    encoder     all layers but the last under autocast; the last one, which gives means and log variances, in float32
    decoder     all layers under autocast; its output is float32 again
    BatchNorm   takes bfloat16 inputs, but its statistics and parameters stay float32
    all else    losses, KL, sampling, penalties, critics: float32, since they are outside of both networks

Autocast keeps no copies of cast weights (`cache_enabled=False`): a copy made before a step is captured would be used for ever after.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Execution"]


class Execution:
    """Runs the layers of an encoder and a decoder.

    Arguments:
        encoder: its last layer gives the code.
        decoder: see `networks/build.py`.
        dtype: of the layers under autocast; None for float32 throughout.
        compiled: run them by torch.compile in training mode, where all batches are of one size.
    """

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential, dtype: torch.dtype | None, *, compiled: bool = False) -> None:
        self._encoder, self._body, self._head, self._decoder = encoder, encoder[:-1], encoder[-1], decoder
        self._dtype, self.compiled = dtype, compiled

    def encode(self, x: Tensor) -> Tensor:
        """The encoder's output in float32."""
        with self._autocast(x):
            hidden = (self._compiled_layers[0] if self._runs_compiled else self._body)(x)
        return self._head(hidden.float())

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output in float32."""
        with self._autocast(z):
            return (self._compiled_layers[1] if self._runs_compiled else self._decoder)(z).float()

    def give_up_compiling(self) -> None:
        """Run the layers as they are from now on."""
        self.compiled = False

    @property
    def _runs_compiled(self) -> bool:
        return self.compiled and self._encoder.training

    @cached_property
    def _compiled_layers(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Encoder without its last layer, and decoder; made when they are first run, where a step is tried and may fail."""
        return torch.compile(self._body), torch.compile(self._decoder)

    def _autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=self._dtype, cache_enabled=False)
