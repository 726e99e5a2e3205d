"""The known factors of data, as disentanglement metrics draw from them, with codes that are computed once.

Factors come from the data (a grid, or one row a sample) or from a file of the user's. A grid's samples are encoded when a metric first
needs them, and their codes are kept on disk: the next call on the same model and data encodes nothing. Images are never kept.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...data import cache_file
from ...data.catalogue import open_data
from ...errors import DataError, reason_of
from ...metrics.disentanglement.encoded import EncodedOnce
from ...metrics.disentanglement.table import FactorTable
from ..opening import encode_all
from .subject import Subject

__all__ = ["factor_problem", "factor_table"]

VERSION = 1  # of how codes are kept
BLOCK = 5_000
HINT = "Write it with numpy.savez('factors.npz', factors=…, names=[…]), one row a sample."


def factor_problem(subject: Subject) -> str:
    """What data lack to have known factors; "" where nothing."""
    data = subject.unscaled
    known = data.grid is not None or data.factors is not None or subject.request.factors is not None
    return "" if known else "data with known factors"


def factor_table(subject: Subject) -> FactorTable:
    """The samples of the data with their factors and codes: posterior means, the representation of the protocols.

    Raises:
        DataError: the data have no known factors, fewer than two vary, or a file does not fit the data.
    """
    data = subject.unscaled
    codes = _codes(subject)
    if subject.request.factors is not None:
        factors, names = _read(Path(subject.request.factors).expanduser())
        if len(factors) != len(data):
            raise DataError(
                f"--factors {subject.request.factors} has {len(factors):,} rows; '{data.name}' holds {len(data):,} samples.",
                "Give one row for every sample, in the same order.",
            )
        return FactorTable.of_samples(factors, codes, names)
    if data.grid is not None:
        return FactorTable.of_grid(data.grid.sizes, codes, data.grid.names)
    if data.factors is not None:
        return FactorTable.of_samples(data.factors, codes, data.factor_names)
    raise DataError(
        f"'{data.name}' has no known factors, so disentanglement cannot be measured on it.",
        "Give --factors FILE.npz, or data that have them: shapes3d-render, dsprites-render, sprites.",
    )


def _codes(subject: Subject) -> EncodedOnce:
    """Codes of all samples, encoded when first needed; with a cache, those of earlier calls are there already."""
    path = _place(subject)
    shape = (len(subject.data), subject.network.latent_shape[0])
    kept = None if path is None else cache_file.read(path, VERSION, "<f4", 2)
    found = kept is not None and kept.array.shape == shape
    lacking = subject.processes.any(not found)  # all or none: they encode together
    known = torch.full(shape, torch.nan) if lacking or kept is None else torch.from_numpy(kept.array)

    def encode(index: Tensor) -> Tensor:
        missing = index[known[index, 0].isnan()]
        if not len(missing):
            return known[index]
        for done, part in enumerate(missing.split(BLOCK)):
            subject.progress("encoding the factors' images", done * BLOCK, len(missing))
            known[part] = encode_all(subject.network, subject.data, subject.device, part, processes=subject.processes).mean
        if path is not None and subject.processes.is_first:
            try:
                cache_file.write(path, known.numpy(), VERSION)
            except OSError as error:
                subject.notes.append(f"The codes could not be kept in {path.parent}: {reason_of(error)}.")
        return known[index]

    return EncodedOnce(len(subject.data), encode)


def _place(subject: Subject) -> Path | None:
    """Where the cache holds these codes; nowhere where there is no cache, or no hash to know the model by."""
    folder = cache_file.cache_folder() if subject.request.cache else None
    content = subject.model.metadata.get("content_sha256")
    if folder is None or content is None:
        return None
    return folder / f"{cache_file.key_of([str(content), subject.data_sha256], 'codes', VERSION)}.npy"


def _read(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Factors (N, K) and their names from an .npz file with the array factors, or from the columns of an .npy or .csv file."""
    import numpy as np

    if not path.is_file():
        raise DataError(f"--factors {path} does not exist.", HINT)
    if path.suffix.lower() != ".npz":
        values = open_data(str(path.absolute()), for_training=False).tensor
        if values.ndim != 2:
            raise DataError(f"--factors {path} has the shape {tuple(values.shape)}; expected one row of factors a sample.", HINT)
        return values, ()
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "factors" not in archive.files:
                raise DataError(f"--factors {path} has no array 'factors'; found {', '.join(archive.files) or 'nothing'}.", HINT)
            factors = archive["factors"]
            names = tuple(map(str, archive["names"])) if "names" in archive.files else ()
    except DataError:
        raise
    except Exception as error:  # damaged bytes make readers raise nearly anything
        raise DataError(f"--factors {path} cannot be read as an .npz file: {reason_of(error)}.", HINT) from error
    if factors.dtype.kind not in "biuf" or factors.ndim != 2:
        raise DataError(f"--factors {path}: 'factors' is {factors.dtype} with shape {factors.shape}; expected numbers (N, K).", HINT)
    if names and len(names) != factors.shape[1]:
        raise DataError(f"--factors {path} has {len(names)} names for {factors.shape[1]} factors.", HINT)
    if len(set(names)) < len(names):
        raise DataError(f"--factors {path} names two factors '{next(name for name in names if names.count(name) > 1)}'.", HINT)
    own = factors.dtype.newbyteorder("=") if factors.dtype.kind in "iu" else np.float64
    return torch.from_numpy(factors.astype(own, copy=False)), names
