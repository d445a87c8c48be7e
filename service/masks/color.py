"""Write a mask as an RGB PNG in its classes' colours, for tools that know colours and no class ids."""

from __future__ import annotations

from service.masks.encoder import LabelledMask
from service.masks.png import indexed_image, png_bytes


def encode_color(labelled: LabelledMask) -> bytes:
    """Write 8 bits a channel; void has the VOC colour of 255."""
    return png_bytes(indexed_image(labelled.mask, labelled.palette).convert("RGB"))
