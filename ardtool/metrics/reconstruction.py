r"""Reconstruction error, sample by sample, and as a function of how many axes are kept.

    SSE(x)  = Σ_d (x − x̂)²          squared units of x, ≥ 0; SSE / D is the mean squared error per output
    PSNR(x) = 10 log₁₀(range² / (SSE(x) / D))          in dB, higher is better; of each image, then averaged over images
    mse(k)  = mean_{n,d} (f(z̃ₙ) − xₙ)²_d          z̃ₙ the posterior means with all but the k most relevant axes held at the aggregate mean

Images are averaged in dB, as in image restoration: 10 log₁₀(range² / mean MSE) would be less, since −log is convex.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..latent.axes import LatentAxes
from ..latent.reduction import full_codes

__all__ = [
    "Decode",
    "curve_counts",
    "held_decoders",
    "mean_and_stderr",
    "mean_of_parts",
    "psnr",
    "squared_error",
    "squared_errors",
]

LARGEST_PSNR = 100.0
ALL_COUNTS = 64
GRID = 16

Decode = Callable[[Tensor, Tensor | None], Tensor]


def squared_error(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Sum of squared errors over all outputs of each sample with shape (N,), ≥ 0."""
    return (reconstruction - x).square().flatten(1).sum(dim=1)


def mean_and_stderr(per_sample: Tensor) -> tuple[float, float]:
    """Mean and standard error of per-sample values with shape (N,); the error of a single sample is infinite."""
    values = per_sample.double()
    stderr = float(values.std() / len(values) ** 0.5) if len(values) > 1 else math.inf
    return float(values.mean()), stderr


def psnr(mse: Tensor, data_range: float) -> Tensor:
    """Peak signal-to-noise ratio of each image with shape (N,), in dB, at most 100.

    At 100 dB the root of the mean squared error is 1e-5 of the range, little more than what float32 leaves of a network's output; an exact
    reconstruction would else make every mean infinite.

    Arguments:
        mse: mean squared error per output of each image with shape (N,).
        data_range: largest minus smallest possible value of the data, > 0: 1 for pixels in [0, 1], 2 for [−1, 1].
    """
    return (20 * math.log10(data_range) - 10 * mse.double().log10()).clamp(max=LARGEST_PSNR)


def squared_errors(decoders: Sequence[Decode], z: Tensor, context: Tensor | None, x: Tensor) -> list[float]:
    """Squared error of all outputs together by each of some decoders; a float64 sum."""
    return [float((decode(z, context) - x).square().sum(dtype=torch.float64)) for decode in decoders]


def mean_of_parts(parts: Iterable[tuple[Sequence[float], int]]) -> list[float]:
    """Means from the sums over some parts, and how many numbers were summed up in each."""
    sums, counts = zip(*parts, strict=True)
    return [sum(column) / sum(counts) for column in zip(*sums, strict=True)]


def held_decoders(
    decode: Decode, order: Sequence[int], mean: Tensor, counts: Sequence[int], axes: LatentAxes | None = None
) -> list[Decode]:
    """For each k of `counts` the decoder with the first k axes of an order free and all others held.

    Arguments:
        decode: the full decoder.
        order: all axes, most relevant first.
        mean: aggregate mean of the codes with shape (L,), at which axes are held.
        counts: numbers of axes, each from 0 to all, for instance `curve_counts`.
        axes: what counts as an axis; None for every element.
    """
    axes = axes or LatentAxes((len(mean),))

    def held(k: int) -> Decode:
        kept = axes.elements_of(order[:k])
        return lambda z, context: decode(full_codes(z[:, kept], kept, mean), context)

    return [held(k) for k in counts]


def curve_counts(count: int, *, include: Iterable[int] = ()) -> list[int]:
    """Numbers of axes k to measure a curve at, ascending: all from 1 up to 64 axes; of more about 16, evenly spaced in log k.

    Arguments:
        count: the largest k.
        include: further k that the curve is to have, such as the number of active axes.
    """
    grid = range(1, count + 1) if count <= ALL_COUNTS else (round(count ** (step / (GRID - 1))) for step in range(GRID))
    return sorted({*grid, *include})
