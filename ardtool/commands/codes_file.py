"""Reading codes from files: what `encode` writes, or arrays of the user's own, for `decode` and `--latents`.

    .npz    mean (also codes, z or arr_0) with shape (N, K), optionally log_variance (N, K), axes (K,) and context (N, ...)
    .npy    means with shape (N, K)
    .csv    a header such as axis_3,axis_7, then one code a line

K axes of the model; without `axes`, all of them. Latent maps have shape (N, K, H, W), K of them the model's channels; or they are flat,
(N, L), with `axes` counting elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from ..autoencoder import Posterior
from ..errors import DataError, reason_of
from ..latent.axes import LatentAxes

if TYPE_CHECKING:
    import numpy as np

__all__ = ["StoredCodes", "read_codes"]

KEYS = ("mean", "codes", "z", "arr_0")
FORMATS = ".npz, .npy or .csv"


@dataclass(frozen=True)
class StoredCodes:
    """Codes of a file, flat.

    Attributes:
        path: the file.
        mean: posterior means with shape (N, K), float32, N ≥ 1.
        log_variance: log variances with shape (N, K), or None.
        axes: the axes that the file names: channels of maps, else elements.
        elements: the K different elements of the code that the columns of `mean` are.
        latent_dim: L of the model.
        context: what the decoder needs beside codes, first dimension N, or None.
    """

    path: Path
    mean: Tensor
    log_variance: Tensor | None
    axes: list[int]
    elements: list[int]
    latent_dim: int
    context: Tensor | None = None

    def posterior(self) -> Posterior:
        """The codes on all L elements in the model's order, to measure variances by.

        Raises:
            DataError: some axes are missing, or there is only one code.
        """
        if len(self.elements) < self.latent_dim:
            axes = ", ".join(map(str, self.axes))
            raise DataError(
                f"--latents {self.path} holds {len(self.elements)} of the model's {self.latent_dim} axes ({axes}); all are needed.",
                "Encode with --axes all.",
            )
        if len(self.mean) < 2:
            raise DataError(f"--latents {self.path} holds 1 code; at least 2 are needed to measure variances.", "Encode more samples.")
        order = torch.tensor(self.elements).argsort().tolist()
        return Posterior(self.mean, self.log_variance, self.context).axes(order)


def read_codes(path: str | Path, latent: LatentAxes) -> StoredCodes:
    """The codes of a file, checked against a model's axes.

    Raises:
        DataError: the file is missing, cannot be read, or does not hold finite codes of these axes.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} {'is no file' if path.exists() else 'does not exist'}.", "Make it with `ardtool encode`.")
    arrays = _read_csv(path) if path.suffix.lower() == ".csv" else _read_numpy(path)
    mean = next((arrays[name] for name in KEYS if name in arrays), None)
    if mean is None:
        raise DataError(f"{path} holds no array `mean`; found {', '.join(arrays) or 'nothing'}.", "Make the file with `ardtool encode`.")
    _check_numbers(path, "codes", mean)
    as_maps = mean.ndim > 2 and mean.shape[2:] == latent.shape[1:]
    total = latent.shape[0] if as_maps else latent.elements
    found = "×".join(map(str, mean.shape)) or "a single number"
    axes = _axes(path, arrays["axes"], total) if "axes" in arrays else list(range(total))
    if (mean.ndim != 2 and not as_maps) or len(mean) == 0 or ("axes" not in arrays and mean.shape[1] != total):
        has = f"{latent.elements} axes" if len(latent.shape) == 1 else f"codes of {'×'.join(map(str, latent.shape))}"
        raise DataError(f"{path} holds codes of {found}; the model has {has}.", "Encode with the same model.")
    if mean.shape[1] != len(axes):
        raise DataError(f"{path} holds codes of {found}, but names {len(axes)} axes.", "Make the file with `ardtool encode`.")
    log_variance = arrays.get("log_variance")
    if log_variance is not None:
        _check_numbers(path, "log variances", log_variance)
        if log_variance.shape != mean.shape:
            other = "×".join(map(str, log_variance.shape)) or "a single number"
            raise DataError(f"{path} holds codes of {found}, but log variances of {other}.", "Give both the same shape.")
    elements = LatentAxes(latent.shape, "channel").elements_of(axes) if as_maps else axes
    spread = None if log_variance is None else _tensor(log_variance).flatten(1)
    return StoredCodes(path, _tensor(mean).flatten(1), spread, axes, elements, latent.elements, _context(path, arrays, len(mean)))


def _context(path: Path, arrays: dict[str, np.ndarray], rows: int) -> Tensor | None:
    """The decoder's context that `encode` stored beside the codes."""
    if "context" not in arrays:
        return None
    context = arrays["context"]
    _check_numbers(path, "contexts", context)
    if context.ndim == 0 or len(context) != rows:
        raise DataError(f"{path} holds {rows} codes and a context of another length.", "Make the file with `ardtool encode`.")
    return torch.from_numpy(context.astype(context.dtype.newbyteorder("="), copy=False))


def _read_numpy(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, or an .npy as `mean`."""
    import numpy as np

    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            return {"mean": file}
        with file as archive:
            return {name: archive[name] for name in archive.files if name in (*KEYS, "log_variance", "axes", "context")}
    except Exception as error:  # damaged bytes make readers raise nearly anything
        if "pickle" in str(error):
            raise DataError(
                f"{path} holds Python objects (a pickle) or is no file of codes; only plain numbers are read.", f"Give an {FORMATS}."
            ) from error
        _unreadable(path, error)


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    """Means and axes of a .csv with a header of names axis_N."""
    import numpy as np

    try:
        header, *rows = path.read_text(encoding="utf-8").strip().splitlines() or [""]
        names = [name.strip() for name in header.split(",")]
        if not all(name.removeprefix("axis_").isdecimal() and name.startswith("axis_") for name in names):
            raise DataError(f"{path}: its first line names no axes; expected axis_0,axis_1,…", "Write it with `ardtool encode`.")
        values = np.array([[float(value) for value in row.split(",")] for row in rows])
    except (OSError, ValueError) as error:
        _unreadable(path, error)
    return {
        "mean": values.reshape(len(rows), -1) if rows else np.zeros((0, len(names))),
        "axes": np.array([int(name[5:]) for name in names]),
    }


def _axes(path: Path, axes: np.ndarray, latent_dim: int) -> list[int]:
    """The indices of different axes of the model.

    Raises:
        DataError: they are no such list.
    """
    hint = "Encode with the same model."
    if axes.ndim != 1 or axes.dtype.kind not in "iu":
        shape = "×".join(map(str, axes.shape)) or "a single number"
        raise DataError(f"{path}: `axes` is {shape} of type {axes.dtype}; expected a list of whole numbers.", hint)
    found = [int(axis) for axis in axes]
    if any(not 0 <= axis < latent_dim for axis in found):
        raise DataError(f"{path} holds codes of the axes {found}; the model has axes 0 to {latent_dim - 1}.", hint)
    if len(set(found)) < len(found):
        raise DataError(f"{path} names an axis twice: {found}.", hint)
    return found


def _check_numbers(path: Path, what: str, array: np.ndarray) -> None:
    """Raise `DataError` unless the array holds finite real numbers, as float32 too."""
    import numpy as np

    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} holds {what} of type {array.dtype}; expected real numbers.", "Make the file with `ardtool encode`.")
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32))
    if not finite.all():
        raise DataError(f"{path} holds {what} that are not finite: {int((~finite).sum())} of {array.size}.", "Encode the data again.")


def _tensor(array: np.ndarray) -> Tensor:
    """A float32 tensor."""
    import numpy as np

    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _unreadable(path: Path, error: Exception) -> NoReturn:
    raise DataError(f"{path} cannot be read: {reason_of(error)}.", f"Give an {FORMATS} that `ardtool encode` wrote.") from error
