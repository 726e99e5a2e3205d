r"""What pruning costs, measured in the full decoder by holding still what would be dropped.

    output_change(k) = mean_{n,d} (f(z̃ₙ) − f(zₙ))²_d          zₙ the reference codes, z̃ₙ with all but k axes or directions held
    mse(k)           = mean_{n,d} (f(z̃ₙ) − xₙ)²_d             xₙ the data, zₙ their posterior means
    spread           = mean_{n,d} (f(zₙ)_d − mean_m f(zₘ)_d)²   the yardstick of relative limits of the output change

Everything goes in batches of at most 500 codes, fewer where a decoder's intermediate values are large; sums are float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...autoencoder import Autoencoder, Posterior
from ...data.dataset import DataSet
from ...latent.jacobian import inference_mode
from ...metrics.reconstruction import Decode, mean_squared_errors
from ..memory import decoding_rows
from .choice import CurvePoint
from .spaces import KeptSpace

__all__ = ["Meter", "batches_of", "reconstruction_errors", "timing_rows"]

TIMED_ROWS = 64


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
        first, total, squares = torch.zeros(1), torch.zeros(1), 0.0
        with inference_mode(self.model):
            for z, context, index in batches_of(self.model, self.reference, self.device):
                output = self.model.decode(z, context).double()
                if index[0] == 0:  # deviations from one output keep the digits of small spreads
                    first, total = output[:1], torch.zeros_like(output[0])
                total += (output - first).sum(dim=0)
                squares += float((output - first).square().sum())
        rows = len(self.reference)
        return max(0.0, squares / (rows * total.numel()) - float((total / rows).square().mean()))

    def output_change(self, space: KeptSpace) -> float:
        """Mean squared difference per output between the full decoder and itself with all held still that a space drops."""
        return self._output_changes([self._held(space)])[0]

    def _held(self, space: KeptSpace) -> Decode:
        return lambda z, context: self.model.decode(space.hold(z), context)

    def _output_changes(self, decoders: Sequence[Decode]) -> list[float]:
        totals, count = [0.0] * len(decoders), 0
        with inference_mode(self.model):
            for z, context, _ in batches_of(self.model, self.reference, self.device):
                full = self.model.decode(z, context)
                count += full.numel()
                for which, decode in enumerate(decoders):
                    totals[which] += float((decode(z, context) - full).square().sum(dtype=torch.float64))
        return [total / count for total in totals]


def reconstruction_errors(
    model: Autoencoder, data: DataSet, posterior: Posterior, decoders: Sequence[Decode], device: torch.device
) -> list[float]:
    """Mean squared errors per output of the reconstructions by some decoders from posterior means.

    Arguments:
        model: the one behind the decoders.
        posterior: of all samples of the data.
    """
    with inference_mode(model):
        batches = ((z, context, data.batch(index, device)) for z, context, index in batches_of(model, posterior, device))
        return mean_squared_errors(batches, decoders)


def batches_of(model: Autoencoder, codes: Posterior, device: torch.device | str) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """Posterior means, contexts and row numbers, as many samples at a time as fit; use it in `inference_mode`."""
    for index in torch.arange(len(codes)).split(_rows(model, codes, device)):
        context = None if codes.context is None else codes.context[index].to(device)
        yield codes.mean[index].to(device), context, index


def timing_rows(model: Autoencoder, codes: Posterior, device: torch.device | str) -> int:
    """How many codes to decode at a time to measure the time of one."""
    with inference_mode(model):
        return min(TIMED_ROWS, _rows(model, codes, device))


def _rows(model: Autoencoder, codes: Posterior, device: torch.device | str) -> int:
    first = codes.rows(slice(0, 1))
    return decoding_rows(model, first.mean.to(device), None if first.context is None else first.context.to(device))
