"""Blend the colours of a mask over its image, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from model_zoo.labels import IGNORE_INDEX
from model_zoo.spec import Color
from service.masks.encoder import LabelledMask, Mask
from service.masks.png import indexed_image

_OPACITY = 0.6
_QUALITY = 90


def encode_overlay(labelled: LabelledMask) -> bytes:
    """Write a JPEG: a PNG of a photo would be five times as large and take longer than the mask did."""
    assert labelled.image is not None
    output = BytesIO()
    blend(labelled.image, labelled.mask, labelled.palette).save(output, JpegImageFile.format, quality=_QUALITY)
    return output.getvalue()


def blend(image: Image.Image, mask: Mask, palette: Sequence[Color]) -> Image.Image:
    """Colour the pixels of an RGB image by their class; class 0, the background, and void stay as they are."""
    blended = Image.blend(image, indexed_image(mask, palette).convert("RGB"), _OPACITY)
    blended.paste(image, mask=Image.fromarray((mask == 0) | (mask == IGNORE_INDEX)))
    return blended
