"""Small pictures inside a page: rows of images, and vectors as rows of colours, written into the HTML itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from ...storage.images import image_grid, shown
from .markup import Markup, tag

__all__ = ["Picture", "heat_strip", "image_strip", "img"]

CELL = 52
COLOURED = 32  # images of more pixels a side, and with colours, are written as JPEG
HEAT_HEIGHT = 10  # pixels of a vector
LOW, MIDDLE, HIGH = (31, 95, 153), (247, 247, 247), (178, 24, 43)


@dataclass(frozen=True)
class Picture:
    """A picture as it stands in a page.

    Attributes:
        data: its bytes in base64; kind: png or jpeg.
        width, height: at which it is shown, in CSS pixels.
        alt: what it shows, for those who do not see it.
        is_heat: whether it is vectors as colours, to be stretched.
    """

    data: str
    kind: str
    width: int
    height: int
    alt: str
    is_heat: bool = False


def image_strip(images: np.ndarray, alt: str, *, columns: int | None = None, cell: int = CELL) -> Picture:
    """Images in a row, or in several of so many columns.

    Arguments:
        images: 8-bit with shape (N, H, W, C).
        cell: the longer side of an image as it is shown, in CSS pixels; the picture has about twice as many, for fine screens.
    """
    side = max(images.shape[1:3])
    step = max(1, side // (2 * cell))
    reduced = images[:, step // 2 :: step, step // 2 :: step]
    scale = max(1, round(2 * cell / max(reduced.shape[1:3])))
    picture = image_grid(reduced, columns or len(images), padding=2, scale=scale)
    photo = shown(images).shape[-1] == 3 and side > COLOURED
    ratio = cell / (scale * max(reduced.shape[1:3]))
    return Picture(_encoded(picture, photo), "jpeg" if photo else "png", round(ratio * picture.width), round(ratio * picture.height), alt)


def heat_strip(rows: np.ndarray, reach: float, alt: str) -> Picture:
    """Vectors as rows of colours: blue for −reach, white for 0, red for reach.

    Arguments:
        rows: with shape (N, D).
        reach: > 0; values beyond it have its colour.
    """
    from PIL import Image

    share = np.clip(np.nan_to_num(rows / reach), -1, 1)[..., None]
    middle = np.array(MIDDLE)
    colours = np.where(share < 0, middle + share * (middle - np.array(LOW)), middle + share * (np.array(HIGH) - middle))
    picture = Image.fromarray(colours.round().astype(np.uint8))
    return Picture(_encoded(picture, False), "png", 360, HEAT_HEIGHT * len(rows), alt, is_heat=True)


def img(picture: Picture) -> Markup:
    """The element that shows a picture."""
    source = f"data:image/{picture.kind};base64,"
    element = tag(
        "img", class_="heat" if picture.is_heat else None, src=source, width=picture.width, height=picture.height, alt=picture.alt
    )
    return Markup(element.replace(source, source + picture.data, 1))  # too long for an attribute of text


def _encoded(picture: object, photo: bool) -> str:
    buffer = io.BytesIO()
    if photo:
        picture.save(buffer, "JPEG", quality=88)  # type: ignore[attr-defined]
    else:
        picture.save(buffer, "PNG", optimize=True)  # type: ignore[attr-defined]
    return base64.b64encode(buffer.getvalue()).decode()
