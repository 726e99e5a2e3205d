"""One image file: what its header says, and its pixels as they are to be seen, in 8 bits, grey or RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Header", "decoded", "header_of"]

SIXTEEN_BIT = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})  # Pillow opens some 16-bit files as 32-bit "I"
GREY = SIXTEEN_BIT | {"1", "L"}
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap height and width


class Header(NamedTuple):
    """What a header says: pixels as they will be shown, whether there is no colour, whether anything may be transparent."""

    height: int
    width: int
    grey: bool
    transparent: bool


def header_of(image: Image.Image) -> Header:
    """What is known of an opened image before it is decoded."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, which have no known range; save such data as .npy")
    width, height = image.size
    if image.format != "PNG" and image.getexif().get(ORIENTATION, 1) >= 5:  # asking a PNG file would decode all of it
        width, height = height, width
    transparent = image.has_transparency_data
    return Header(height, width, image.mode in GREY and not transparent, transparent)


def decoded(image: Image.Image, height: int, width: int, grey: bool) -> Image.Image:
    """The image in mode L or RGB, turned upright, laid on white and resized."""
    from PIL import Image, ImageOps

    longer = 2 * max(height, width)
    image.draft(None, (longer, longer))  # lets JPEG skip detail far below the target size; a no-op for everything else
    image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN_BIT:
        image = _eight_bits(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    image = image.convert("L" if grey else "RGB")
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey image in mode L: 0 … 65535 to 0 … 255 (Pillow's own conversion would clip or cut off)."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64).clip(0, 65535)
    return Image.fromarray(np.round(values / 257).astype(np.uint8))
