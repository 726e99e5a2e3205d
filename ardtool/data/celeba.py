"""CelebA: 202,599 photographs of faces, cropped and made smaller to 3×64×64 (Liu, Luo, Wang, Tang 2015).

Read from the aligned JPEG images, 218 pixels high and 178 wide, in the folder `img_align_celeba` or in `img_align_celeba.zip` as it is
downloaded. `list_eval_partition.txt` says with one line an image what it is for: 0 training (162,770), 1 validation (19,867), 2 test
(19,962); the comma-separated form that Kaggle offers is read too. The middle 140×140 pixels are resized to 64×64 by Pillow's Lanczos
filter, as in the code of WAE and RAE, which the ARD-VAE paper compares with; its own crop is not published. Values lie in [-1, 1].

No checksum of the archive is asked for: many pack the folder anew, and `.zip` checks each file.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .equal_images import decode_equal, image_names
from .named import NamedSet
from .originals import Original, first_file

if TYPE_CHECKING:
    from PIL import Image

    from .dataset import DataSet

__all__ = ["CELEBA", "open_celeba"]

FOLDERS = (".", "celeba", "CelebA", "Img", "CelebA/Img", "celeba/Img")
IMAGES = ("img_align_celeba", "img_align_celeba.zip")
LISTS = ("list_eval_partition.txt", "list_eval_partition.csv")
LIST_FOLDERS = (*FOLDERS, "Eval", "CelebA/Eval", "celeba/Eval")
TRAINING, VALIDATION, TEST = 0, 1, 2
COUNTS = {TRAINING: 162_770, VALIDATION: 19_867, TEST: 19_962}
STORED = (218, 178)
CROP, SIDE = 140, 64
HEADER = ("image_id", "partition")
SETTINGS = {"arch": "paper-celeba", "epochs": 50}  # ARD-VAE paper (arXiv 2501.10901), supp. Tables 4 and 6
ORIGINAL = Original(
    title="CelebA",
    files="img_align_celeba.zip (packed, or the folder that is in it) and list_eval_partition.txt",
    site="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    licence="non-commercial research only",
    folder="celeba",
    instead="--data takes any folder or .zip of photographs",
)


def open_celeba(data_root: Path, split: str) -> DataSet:
    """CelebA as uint8 images with shape (N, 3, 64, 64), in [-1, 1] in a batch.

    The split "train" has 182,637 images of which the last 19,867 are the validation split, "test" has 19,962.

    Raises:
        DataError: the files are damaged, incomplete, contradict each other, or are not found.
    """
    from .dataset import DataSet

    images, listed = _look(data_root).values()
    if images is None and listed is None:
        raise ORIGINAL.missing(data_root)
    if images is None or listed is None:
        there, lacking = (images, LISTS[0]) if listed is None else (listed, " or ".join(IMAGES))
        raise ORIGINAL.incomplete(data_root, f"{there} is there, {lacking} is not")
    parts = _parts(listed)
    found = {PurePosixPath(name).name: name for name in image_names(ORIGINAL, images)}
    _check_same(images, listed, found, parts)
    wanted = (TRAINING, VALIDATION) if split == "train" else (TEST,)
    names = [found[name] for part in wanted for name, own in sorted(parts.items()) if own == part]
    return DataSet(
        name="celeba",
        values=decode_equal(ORIGINAL, images, names, STORED, (SIDE, SIDE), _middle),
        value_range=(-1.0, 1.0),
        validation=COUNTS[VALIDATION] if split == "train" else 0,
        settings=dict(SETTINGS),
    )


def _look(data_root: Path) -> dict[str, Path | None]:
    """Where the images and their list are."""
    return {IMAGES[1]: first_file(data_root, FOLDERS, IMAGES), LISTS[0]: first_file(data_root, LIST_FOLDERS, LISTS)}


def _middle(image: Image.Image) -> Image.Image:
    """The middle 140×140 pixels in 64×64."""
    from PIL import Image

    left, top = (image.width - CROP) // 2, (image.height - CROP) // 2
    return image.crop((left, top, left + CROP, top + CROP)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _parts(path: Path) -> dict[str, int]:
    """What each image is for, by file name.

    Raises:
        DataError: a line says something else, or the parts have other numbers of images than published.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ORIGINAL.damaged(f"{path} cannot be read: {error}") from error
    parts: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        words = tuple(line.replace(",", " ").split())
        if not words or words == HEADER:
            continue
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise ORIGINAL.damaged(f"{path}, line {number}: expected a file name and 0, 1 or 2, found '{line[:40]}'")
        parts[words[0]] = int(words[1])
    counts = {part: sum(own == part for own in parts.values()) for part in COUNTS}
    if counts != COUNTS:
        found, expected = (", ".join(f"{each[part]:,}" for part in COUNTS) for each in (counts, COUNTS))
        raise ORIGINAL.damaged(f"{path} names {found} images for training, validation and test; expected {expected}")
    return parts


def _check_same(images: Path, listed: Path, found: dict[str, str], parts: dict[str, int]) -> None:
    """Raise `DataError` unless the images are those that the list names."""
    missing, unknown = sorted(parts.keys() - found.keys()), sorted(found.keys() - parts.keys())
    if missing:
        which = f"{len(missing):,} of the {len(parts):,} images that {listed.name} names, the first is {missing[0]}"
        raise ORIGINAL.damaged(f"{images} lacks {which}")
    if unknown:
        which = f"{len(unknown):,} image{'s' if len(unknown) > 1 else ''} without a line in {listed.name}, the first is {unknown[0]}"
        raise ORIGINAL.damaged(f"{images} holds {which}")


CELEBA = NamedSet(
    name="celeba",
    summary="photographs of faces",
    shape=(3, SIDE, SIDE),
    samples=sum(COUNTS.values()),
    opener=open_celeba,
    original=ORIGINAL,
    folders=LIST_FOLDERS,
    look=_look,
)
