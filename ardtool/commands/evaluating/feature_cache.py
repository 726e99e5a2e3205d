"""Features of data, kept on disk: the same samples under the same network are computed once.

A file's name is a hash of the samples themselves and of the whole convention of the extractor, its weights included, so that whatever
changes a feature changes the name. Features of generated samples, which no later call sees again, are not kept; nor are those of an
extractor without a hash, which costs nothing or may change unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ...data import cache_file
from ...data.dataset import DataSet
from ...errors import reason_of
from .features import Extractor, features_of, samples_of

__all__ = ["data_features"]

VERSION = 1  # of how samples become features, beyond what an extractor says of itself
BLOCK = 500


def data_features(
    extractor: Extractor,
    data: DataSet,
    index: Tensor | None = None,
    *,
    cache: bool = True,
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Tensor:
    """Features of data with shape (N, F), float32, on the CPU, from the cache where they are there.

    Arguments:
        index: which samples, with shape (N,); None for all.
        cache: read them from the cache, and keep them there.
        progress: see `features_of`.
        tell: is told why they could not be kept.

    Raises:
        DataError: the features are not finite.
    """
    index = torch.arange(len(data)) if index is None else index
    path = _place(extractor, data, index) if cache else None
    found = None if path is None else cache_file.read(path, VERSION, "<f4", 2)
    if found is not None and found.array.shape == (len(index), extractor.width):
        return torch.from_numpy(found.array)
    features = features_of(extractor, (samples_of(data, part) for part in index.split(BLOCK)), len(index), progress)
    if path is not None:
        try:
            cache_file.write(path, features.numpy(), VERSION)
        except OSError as error:
            if tell is not None:
                tell(f"the features could not be kept in {path.parent}: {reason_of(error)}; the next call computes them again")
    return features


def _place(extractor: Extractor, data: DataSet, index: Tensor) -> Path | None:
    """Where the cache holds these features; nowhere where there is no cache, or nothing to know the extractor by."""
    folder = cache_file.cache_folder()
    if folder is None or extractor.sha256 is None:
        return None
    digest = hashlib.sha256()
    for part in index.split(BLOCK):
        samples = samples_of(data, part)
        digest.update(f"{samples.dtype}{tuple(samples.shape)}".encode())
        digest.update(samples.numpy().data)
    convention = json.dumps(extractor.provenance(), sort_keys=True)
    return folder / f"{cache_file.key_of([digest.hexdigest()], 'features', VERSION, convention)}.npy"
