"""Features that the user has computed: an `.npz` file with arrays of numbers, one row a sample.

    reference         features of the data, with shape (N, F)
    generated         of generated samples, (M, F)
    reconstructions   of reconstructions of the data
    floor             of other samples of the data: their distance from the reference is what a perfect model would have

`reference` and at least one of the others. All have the same F, at least two rows, and finite values; other arrays are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...data.dataset import name_of
from ...errors import DataError, reason_of
from .hashes import file_sha256

if TYPE_CHECKING:
    import numpy as np

__all__ = ["REFERENCE", "FeatureFile", "read_features"]

REFERENCE = "reference"
OTHERS = ("generated", "reconstructions", "floor")
HINT = "Write it with numpy.savez('features.npz', reference=…, generated=…), one row a sample."


@dataclass(frozen=True)
class FeatureFile:
    """Precomputed features.

    Attributes:
        label: the file's name and the first digits of its hash, as in `fd[features:1a2b3c4d]`.
        sha256: hash of the file.
        width: F.
        sets: features with shape (N, F) by name, float32 or float64.
    """

    label: str
    sha256: str
    width: int
    sets: dict[str, Tensor]

    def provenance(self) -> dict[str, Any]:
        """The convention, for the JSON beside a number; how the features were computed is the user's knowledge."""
        return {"extractor": f"file {self.label.rpartition(':')[0]}.npz", "features_sha256": self.sha256, "convention": "the user's own"}


def read_features(path: Path) -> FeatureFile:
    """The features in an `.npz` file.

    Raises:
        DataError: the file is missing or damaged, holds pickled objects, or its arrays are not as the table above says.
    """
    if not path.is_file():
        raise DataError(f"--features {path} {'is no file' if path.exists() else 'does not exist'}.", HINT)
    arrays, names = _read(path)
    if REFERENCE not in arrays or len(arrays) < 2:
        missing = f"array '{REFERENCE}'" if REFERENCE not in arrays else f"array beside '{REFERENCE}': one of {', '.join(OTHERS)}"
        raise DataError(f"{path} has no {missing}; found {', '.join(names) or 'nothing'}.", HINT)
    sets = {name: _features(f"The array '{name}' of {path}", array) for name, array in arrays.items()}
    width = sets[REFERENCE].shape[1]
    for name, features in sets.items():
        if features.shape[1] != width:
            raise DataError(
                f"{path}: '{name}' has {features.shape[1]} features a sample, '{REFERENCE}' has {width}.",
                "Compute both by the same network.",
            )
    sha256 = file_sha256(path)
    return FeatureFile(f"{name_of(path)}:{sha256[:8]}", sha256, width, sets)


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays with known names, and the names of all."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in (REFERENCE, *OTHERS) if name in archive.files}, list(archive.files)
    except Exception as error:  # damaged bytes make readers raise nearly anything
        if "pickle" in str(error):
            problem = "holds Python objects (a pickle) or is no .npz file; only plain numbers are read, pickles can run code"
        else:
            problem = f"cannot be read as an .npz file: {reason_of(error)}"
        raise DataError(f"{path} {problem}.", HINT) from error


def _features(where: str, array: np.ndarray) -> Tensor:
    """An array as finite features with shape (N, F), N ≥ 2."""
    if array.dtype.kind not in "biuf" or array.ndim != 2 or len(array) < 2 or array.shape[1] == 0:
        shape = "×".join(map(str, array.shape)) or "no dimensions"
        raise DataError(
            f"{where} holds values of type {array.dtype} with shape {shape}; expected real numbers (N, F) of at least two samples.", HINT
        )
    features = torch.from_numpy(array if array.dtype.name in ("float32", "float64") else array.astype("float32"))
    bad = ~features.isfinite().all(dim=1)
    if bad.any():
        row = int(bad.float().argmax())
        raise DataError(f"{where} is not finite in {int(bad.sum())} of {len(array)} rows, first in row {row} (counted from 0).", HINT)
    return features
