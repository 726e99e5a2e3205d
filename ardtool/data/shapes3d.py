"""3D Shapes: 480,000 colour images 64×64 of a shape in a room, all combinations of six factors (Burgess, Kim 2018).

Read from `3dshapes.h5` (HDF5), in which `images` is uint8 with shape (480000, 64, 64, 3) and `labels` holds the values of the factors,
the last one changing fastest. Factors are counted from 0 here. As published the file is compressed (268 MB): its images are read in
blocks into 5.9 GB of memory. A copy whose images are neither compressed nor in chunks is mapped into memory instead, so that only what
is used is read, and other processes share it: `h5repack -l images:CONTI -f images:NONE 3dshapes.h5 unpacked.h5`, and then the copy in the
original's place. There is no test split.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .named import NamedSet
from .originals import Original, check_md5, first_file
from .shapes3d_render import GRID, SETTINGS, notes

if TYPE_CHECKING:
    from torch import Tensor

    from .dataset import DataSet

__all__ = ["SHAPES3D", "open_shapes3d"]

FILE = "3dshapes.h5"
FOLDERS = (".", "shapes3d", "3dshapes", "3d-shapes", "3d_shapes")
CHECKSUM = "099a2078d58cec4daad0702c55d06868"
SIDE = 64
BLOCK = 4096  # images read at once, or as many as a chunk of the file has: 50 MB
ORIGINAL = Original(
    title="3D Shapes",
    files=FILE,
    site="https://github.com/google-deepmind/3d-shapes",
    licence="Apache 2.0",
    folder="shapes3d",
    instead="--data shapes3d-render draws such images, and --data sprites-6 needs no files either",
)


def open_shapes3d(data_root: Path, split: str) -> DataSet:
    """3D Shapes as uint8 images with shape (480000, 3, 64, 64), and int64 factors with shape (480000, 6).

    Raises:
        DataError: the file is damaged, or not found; h5py is not installed.
    """
    from .dataset import DataSet

    path = first_file(data_root, FOLDERS, (FILE,))
    if path is None:
        raise ORIGINAL.missing(data_root)
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"Reading {path} needs h5py, which is not installed.", "`pip install h5py`.") from error
    try:
        with h5py.File(path, "r") as file:
            images, factors = _images(path, file), _factors(path, file)
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py's ways to say that bytes are wrong
        raise ORIGINAL.damaged(f"{path} cannot be read: {' '.join(str(error).split()).rstrip('.')}") from error
    return DataSet(
        name="shapes3d",
        values=images,
        value_range=(0.0, 1.0),
        factors=factors,
        factor_names=GRID.names,
        grid=GRID,
        notes=notes(split),
        settings=dict(SETTINGS),
    )


def _images(path: Path, file: Any) -> Tensor:
    """The images with shape (N, 3, 64, 64): mapped into memory where they lie in one piece, else read block by block."""
    import numpy as np
    import torch

    stored = _array(path, file, "images", (len(GRID), SIDE, SIDE, 3), "uint8")
    offset = stored.id.get_offset()
    if stored.chunks is None and offset is not None:
        mapped = np.memmap(path, np.uint8, mode="c", offset=offset, shape=stored.shape)  # private: nothing is written back
        return torch.from_numpy(mapped).permute(0, 3, 1, 2)
    check_md5(ORIGINAL, path, CHECKSUM)
    images = torch.empty(len(GRID), 3, SIDE, SIDE, dtype=torch.uint8)
    rows = stored.chunks[0] if stored.chunks else 1
    size = rows * -(-BLOCK // rows)  # whole chunks, so that none is unpacked twice
    for start in range(0, len(GRID), size):
        images[start : start + size] = torch.from_numpy(stored[start : start + size]).permute(0, 3, 1, 2)
    return images


def _factors(path: Path, file: Any) -> Tensor:
    """The factors with shape (N, 6), int64, counted from 0 in the order of their values."""
    import numpy as np
    import torch

    labels = _array(path, file, "labels", (len(GRID), len(GRID.sizes)), "float64")[:]
    counted = np.stack([np.unique(column, return_inverse=True)[1].reshape(-1) for column in labels.T], axis=1)
    factors = torch.from_numpy(counted)
    if not torch.equal(factors, GRID.factors_of(torch.arange(len(GRID)))):
        raise ORIGINAL.damaged(f"{path}: 'labels' is not the grid of {GRID}")
    return factors


def _array(path: Path, file: Any, key: str, shape: tuple[int, ...], kind: str) -> Any:
    """An array of the file.

    Raises:
        DataError: there is none of that name, type and shape.
    """
    if key not in file:
        raise ORIGINAL.damaged(f"{path} has no array '{key}'; found {', '.join(file) or 'nothing'}")
    found = file[key]
    if getattr(found, "shape", None) != shape or found.dtype.name != kind:
        is_ = f"{found.dtype} with shape {found.shape}" if hasattr(found, "dtype") else "a group"
        raise ORIGINAL.damaged(f"{path}: '{key}' is {is_}; expected {kind} with shape {shape}")
    return found


SHAPES3D = NamedSet(
    name="shapes3d",
    summary="a shape in a room; needs h5py",
    shape=(3, SIDE, SIDE),
    samples=len(GRID),
    opener=open_shapes3d,
    factors=GRID.values,
    original=ORIGINAL,
    folders=FOLDERS,
    look=lambda data_root: {FILE: first_file(data_root, FOLDERS, (FILE,))},
)
