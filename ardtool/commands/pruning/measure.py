r"""What pruning costs, measured in the full decoder by holding still what would be dropped.

    output_change(k) = mean_{n,d} (f(z̃ₙ) − f(zₙ))²_d          zₙ the reference codes, z̃ₙ with all but k axes or directions held
    mse(k)           = mean_{n,d} (f(z̃ₙ) − xₙ)²_d             xₙ the data, zₙ their posterior means
    spread           = mean_{n,d} (f(zₙ)_d − mean_m f(zₘ)_d)²   the yardstick of relative limits of the output change

Everything goes in batches of at most 500 codes, fewer where a decoder's intermediate values are large; sums are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ...autoencoder import Autoencoder, Posterior
from ...data.dataset import DataSet
from ...latent.chunks import in_pieces
from ...latent.jacobian import inference_mode
from ...metrics.reconstruction import Decode, mean_of_parts, squared_errors
from ..memory import decoding_rows
from .choice import CurvePoint
from .spaces import KeptSpace

__all__ = ["Meter", "over_batches", "reconstruction_errors", "timing_rows"]

TIMED_ROWS = 64
T = TypeVar("T")


@dataclass(frozen=True)
class Meter:
    """Measures the cost of spaces on the full model.

    Attributes:
        model: on flat codes.
        reference: posteriors of the reference batch.
        data: to measure reconstruction errors on, with the posteriors of all samples; None for no such errors.
    """

    model: Autoencoder
    reference: Posterior
    data: tuple[DataSet, Posterior] | None
    device: torch.device

    def points(self, spaces: Sequence[tuple[int, KeptSpace]]) -> list[CurvePoint]:
        """One point for each k and its space."""
        decoders = [self._held(space) for _, space in spaces]
        changes = self._output_changes(decoders)
        errors = [None] * len(spaces)
        if self.data is not None:
            errors = reconstruction_errors(self.model, *self.data, decoders, self.device)
        return [CurvePoint(k, error, change) for (k, _), error, change in zip(spaces, errors, changes, strict=True)]

    def full_mse(self) -> float:
        """Mean squared error per output of reconstructions with all axes free."""
        assert self.data is not None, "errors are measured on data"
        return reconstruction_errors(self.model, *self.data, [self.model.decode], self.device)[0]

    def output_spread(self) -> float:
        """Mean squared deviation of the full decoder's outputs on the reference codes from their mean, ≥ 0."""
        with inference_mode(self.model):
            one = self.reference.rows(slice(0, 1))  # deviations from one output keep the digits of small spreads
            first = next(over_batches(self.model, one, self.device, lambda z, context, _: self.model.decode(z, context).double()))

            def sums(z: Tensor, context: Tensor | None, _: Tensor) -> tuple[Tensor, float]:
                deviation = self.model.decode(z, context).double() - first
                return deviation.sum(dim=0), float(deviation.square().sum())

            total, squares = torch.zeros_like(first[0]), 0.0  # added up as they come: a decoder may have millions of outputs
            for deviation, square in over_batches(self.model, self.reference, self.device, sums):
                total += deviation
                squares += square
        mean = total / len(self.reference)
        return max(0.0, squares / (len(self.reference) * mean.numel()) - float(mean.square().mean()))

    def output_change(self, space: KeptSpace) -> float:
        """Mean squared difference per output between the full decoder and itself with all held still that a space drops."""
        return self._output_changes([self._held(space)])[0]

    def _held(self, space: KeptSpace) -> Decode:
        return lambda z, context: self.model.decode(space.hold(z), context)

    def _output_changes(self, decoders: Sequence[Decode]) -> list[float]:
        def changes(z: Tensor, context: Tensor | None, _: Tensor) -> tuple[list[float], int]:
            full = self.model.decode(z, context)
            return squared_errors(decoders, z, context, full), full.numel()

        with inference_mode(self.model):
            return mean_of_parts(over_batches(self.model, self.reference, self.device, changes))


def reconstruction_errors(
    model: Autoencoder,
    data: DataSet,
    posterior: Posterior,
    decoders: Sequence[Decode],
    device: torch.device,
    index: Tensor | None = None,
) -> list[float]:
    """Mean squared errors per output of the reconstructions by some decoders from posterior means.

    Arguments:
        model: the one behind the decoders.
        posterior: of the samples, in their order.
        index: which samples of the data; None for all.
    """

    def errors(z: Tensor, context: Tensor | None, rows: Tensor) -> tuple[list[float], int]:
        x = data.batch(rows if index is None else index[rows], device)
        return squared_errors(decoders, z, context, x), x.numel()

    with inference_mode(model):
        return mean_of_parts(over_batches(model, posterior, device, errors))


def over_batches(
    model: Autoencoder, codes: Posterior, device: torch.device | str, work: Callable[[Tensor, Tensor | None, Tensor], T]
) -> Iterator[T]:
    """`work(posterior means, contexts, row numbers)` on as many samples at a time as fit into memory; use it in `inference_mode`."""

    def done(part: slice) -> T:
        context = None if codes.context is None else codes.context[part].to(device)
        return work(codes.mean[part].to(device), context, torch.arange(part.start, part.stop))

    return (found for _, found in in_pieces(len(codes), _rows(model, codes, device), done))


def timing_rows(model: Autoencoder, codes: Posterior, device: torch.device | str) -> int:
    """How many codes to decode at a time to measure the time of one."""
    with inference_mode(model):
        return min(TIMED_ROWS, _rows(model, codes, device))


def _rows(model: Autoencoder, codes: Posterior, device: torch.device | str) -> int:
    first = codes.rows(slice(0, 1))
    return decoding_rows(model, first.mean.to(device), None if first.context is None else first.context.to(device))
