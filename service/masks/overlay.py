"""Blend the colours of a mask over its image, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from model_zoo.spec import Color
from service.masks.encoder import Mask

_OPACITY = 0.6


def blend(image: Image.Image, mask: Mask, palette: Sequence[Color]) -> Image.Image:
    """Colour the pixels of an RGB image by their class; class 0, the background, stays as it is."""
    colors = np.array(palette, np.uint8)[mask]  # [H, W, 3]
    blended = Image.blend(image, Image.fromarray(colors), _OPACITY)
    return Image.composite(blended, image, Image.fromarray(mask != 0))
