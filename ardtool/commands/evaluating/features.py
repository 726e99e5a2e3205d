"""Features of samples: what computes them, in which form it takes samples, and the loop over all of them.

Samples have one form, whether they are data, decoded or somebody else's, so that all sets that a distance compares are rounded alike:

    images    uint8 with shape (B, C, H, W): ⌊255·x + ½⌋ of pixels x that are brought to [0, 1] and clipped there
    vectors   real numbers with shape (B, D) in the user's own units

Features are float32 with shape (B, F).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ...data.dataset import DataSet, Scaling
from ...data.factors import DrawnImages
from ...errors import DataError, ModelFileError
from ...latent.chunks import in_pieces
from ...storage.images import to_levels

__all__ = ["BYTES", "Extractor", "as_samples", "features_of", "samples_of"]

BYTES = "bytes floor(255 x + 1/2) of x clipped to [0, 1]"


class Extractor(ABC):
    """Computes features of samples.

    Attributes:
        label: what stands in a metric's name, as in `fd[pixels]`; `inception` for the published Inception network alone.
        sha256: hash of the weights and whatever else the features depend on; None where that is not known or there is none.
        width: F, the number of features.
        rows: how many samples it takes at once.
    """

    label: str
    sha256: str | None = None
    width: int
    rows: int = 500

    @abstractmethod
    def __call__(self, samples: Tensor) -> Tensor:
        """Features with shape (B, F) on any device, of samples on any device."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """The convention, for the JSON beside a number: `extractor`, `weights_sha256`, `input`, `resize` and `convention`.

        Two sets of features may be compared where all of it is equal.
        """


def as_samples(decoded: Tensor, value_range: tuple[float, float], scaling: Scaling | None = None) -> Tensor:
    """What a decoder gives as samples: images as bytes on the same device, vectors in the user's units on the CPU.

    Arguments:
        decoded: images with shape (B, C, H, W) or vectors (B, D).
        value_range: the values of black and of full brightness, see `pixel_range`.
        scaling: the standardisation that vectors have, or None.

    Raises:
        ModelFileError: some values are not finite.
    """
    bad = int((~decoded.isfinite()).flatten(1).any(dim=1).sum())
    if bad:
        raise ModelFileError(
            f"The decoder gives values that are not finite for {bad} of {len(decoded)} samples.",
            "Look at its codes: they may lie far from those that it was trained on.",
        )
    if decoded.ndim == 4:
        return to_levels(decoded, value_range)
    vectors = decoded.detach().cpu()
    return vectors if scaling is None else scaling.undo(vectors)


def samples_of(data: DataSet, index: Tensor | slice) -> Tensor:
    """Samples of a data set, on the CPU: the bytes that it holds, or what `as_samples` makes of its numbers."""
    if isinstance(data.values, DrawnImages):
        return data.values.take(index)
    if data.values.dtype == torch.uint8 and data.is_images:
        return data.values[index].contiguous()
    if data.is_images:
        return as_samples(data.batch(index), data.value_range or (0.0, 1.0))
    return as_samples(data.values[index], (0.0, 1.0), data.scaling)


def features_of(extractor: Extractor, batches: Iterable[Tensor], n: int, progress: Callable[[int, int], None] | None = None) -> Tensor:
    """Features of all samples with shape (N, F), float32, on the CPU; beside these, memory for one batch is taken.

    Arguments:
        batches: samples, N in all; a batch of more than `extractor.rows` is split, and further where memory runs out.
        progress: is told after each step how many of the N samples are done.

    Raises:
        DataError: another number of features than the extractor says, or features that are not finite.
    """
    features = torch.empty(n, extractor.width)
    done, size = 0, extractor.rows
    for batch in batches:
        for part, found in in_pieces(len(batch), size, lambda part, batch=batch: extractor(batch[part]).detach().cpu()):
            samples = part.stop - part.start
            _check(extractor, found, samples, done)
            features[done : done + samples] = found
            done += samples
            size = samples if part.stop < len(batch) else size
            if progress is not None:
                progress(done, n)
    assert done == n, "the number of samples is known beforehand"
    return features


def _check(extractor: Extractor, found: Tensor, count: int, before: int) -> None:
    """Raise `DataError` unless these are finite features of `count` samples, which stand behind `before` others."""
    if found.shape != (count, extractor.width):
        shape = "×".join(map(str, found.shape)) or "a single number"
        raise DataError(
            f"The features '{extractor.label}' have the shape {shape} for {count} samples; expected {count}×{extractor.width}.",
            "Return one row of equally many numbers a sample.",
        )
    bad = ~found.isfinite().all(dim=1)
    if bad.any():
        raise DataError(
            f"The features '{extractor.label}' are not finite for sample {before + int(bad.float().argmax())} (counted from 0).",
            "Look at this sample, or choose other features with --features.",
        )
