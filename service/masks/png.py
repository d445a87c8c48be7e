"""Write a mask as an indexed PNG: the value of a pixel IS its class id, its colour is the class's."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import chain

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from model_zoo.labels import voc_palette
from model_zoo.spec import Color
from service.masks.encoder import LabelledMask, Mask

_RUN_LENGTHS = 3
"""zlib's Z_RLE strategy: for masks faster than its default, and smaller."""


def encode_png(labelled: LabelledMask) -> bytes:
    """Write a mask of 8 bits a pixel; ids beyond the classes keep the VOC colours."""
    return png_bytes(indexed_image(labelled.mask, labelled.palette))


def indexed_image(mask: Mask, palette: Sequence[Color]) -> Image.Image:
    """Give a mask ``[H, W]`` as a picture of mode P with all 256 colours, so that it is always 8 bits deep."""
    image = Image.fromarray(mask)
    image.putpalette(bytes(chain.from_iterable((*palette, *voc_palette()[len(palette) :]))))
    return image


def png_bytes(image: Image.Image) -> bytes:
    """Write a picture that is made of areas of one colour."""
    output = BytesIO()
    image.save(output, PngImageFile.format, compress_level=1, compress_type=_RUN_LENGTHS)
    return output.getvalue()
