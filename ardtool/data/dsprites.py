"""dSprites: 737,280 black and white images 64×64 of a square, ellipse or heart, all combinations of five factors (Matthey et al. 2017).

Read from the published `.npz`, in which `imgs` is uint8 with values 0 and 1 and shape (737280, 64, 64) and `latents_classes` holds the
factors, counted from 0: colour (constant: white), shape, scale, orientation, x and y position. The images are compressed to 27 MB and
take 3.0 GB in memory; they are unpacked in blocks straight into place, so that no second copy is made. There is no test split.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from .dsprites_render import GRID, SETTINGS, notes
from .known_arrays import UNREADABLE, known_array, known_bytes
from .named import NamedSet
from .originals import Original, check_md5, first_file

if TYPE_CHECKING:
    from torch import Tensor

    from .dataset import DataSet

__all__ = ["DSPRITES", "open_dsprites"]

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
FOLDERS = (".", "dsprites", "dSprites", "dsprites-dataset")
CHECKSUM = "7da33b31b13a06f4b04a70402ce90c2e"
COUNT = 737_280
SIDE = 64
BLOCK = 4096  # images unpacked at once: 17 MB
ORIGINAL = Original(
    title="dSprites",
    files=FILE,
    site="https://github.com/google-deepmind/dsprites-dataset",
    licence="Apache 2.0",
    folder="dsprites",
    instead="--data dsprites-render draws such images, and --data sprites needs no files either",
)


def open_dsprites(data_root: Path, split: str) -> DataSet:
    """dSprites as uint8 images with shape (737280, 1, 64, 64) and values 0 and 255, and int64 factors with shape (737280, 6).

    Raises:
        DataError: the file is damaged, or not found.
    """
    from .dataset import DataSet

    path = first_file(data_root, FOLDERS, (FILE,))
    if path is None:
        raise ORIGINAL.missing(data_root)
    check_md5(ORIGINAL, path, CHECKSUM)
    try:
        with zipfile.ZipFile(path) as archive:
            images, factors = _images(path, archive), _factors(path, archive)
    except UNREADABLE as error:
        raise ORIGINAL.damaged(f"{path} cannot be read: {str(error).rstrip('.')}") from error
    return DataSet(
        name="dsprites",
        values=images,
        value_range=(0.0, 1.0),
        factors=factors,
        factor_names=GRID.names,
        grid=GRID,
        notes=notes(split),
        settings=dict(SETTINGS),
        pixel_map=(0.0, 1.0),
    )


def _images(path: Path, archive: zipfile.ZipFile) -> Tensor:
    """The images with shape (N, 1, 64, 64), 0 and 255, unpacked block by block."""
    import torch

    images = torch.empty(COUNT, 1, SIDE, SIDE, dtype=torch.uint8)
    with known_bytes(ORIGINAL, path, archive, "imgs", (COUNT, SIDE, SIDE), "uint8") as stream:
        for block in images.split(BLOCK):
            content = bytearray(stream.read(block.numel()))
            if len(content) != block.numel():
                raise ORIGINAL.damaged(f"{path} is truncated: 'imgs' ends too early")
            block.copy_(torch.frombuffer(content, dtype=torch.uint8).reshape(block.shape))
            if int(block.max()) > 1:
                raise ORIGINAL.damaged(f"{path}: 'imgs' holds {int(block.max())}; expected 0 and 1 only")
            block.mul_(255)
    return images


def _factors(path: Path, archive: zipfile.ZipFile) -> Tensor:
    """The factors with shape (N, 6), int64."""
    import torch

    factors = known_array(ORIGINAL, path, archive, "latents_classes", (COUNT, len(GRID.names)), "int64")
    return torch.from_numpy(factors.copy())


DSPRITES = NamedSet(
    name="dsprites",
    summary="a white shape on black",
    shape=(1, SIDE, SIDE),
    samples=COUNT,
    opener=open_dsprites,
    factors=GRID.values,
    original=ORIGINAL,
    folders=FOLDERS,
    look=lambda data_root: {FILE: first_file(data_root, FOLDERS, (FILE,))},
)
