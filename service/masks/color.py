"""Write a mask as an RGB PNG in its classes' colours, for tools that know colours and no class ids."""

from __future__ import annotations

import numpy as np

from model_zoo.labels import voc_palette
from service.masks.encoder import LabelledMask
from service.masks.png import UP, filtered_png

_RGB = 2


def encode_color(labelled: LabelledMask) -> bytes:
    """Write 8 bits a channel; void has the VOC colour of 255.

    Told as the difference from the row above, nearly all is 0: what is not is where a class begins or ends.
    """
    mask, (height, width) = labelled.mask.ravel(), labelled.size
    colors = np.array((*labelled.palette, *voc_palette()[len(labelled.palette) :]), np.uint8)  # [256, 3]
    lines = np.zeros((height, 1 + 3 * width), np.uint8)
    lines[:, 0] = UP
    lines[0, 1:] = colors[mask[:width]].ravel()
    pixels = np.flatnonzero(mask[width:] != mask[:-width]) + width
    places = 1 + 3 * pixels + pixels // width
    lines.reshape(-1)[places[:, None] + np.arange(3)] = colors[mask[pixels]] - colors[mask[pixels - width]]
    return filtered_png(lines, width, color_type=_RGB)
