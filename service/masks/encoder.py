"""Say what an encoder is: a way to write a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from model_zoo.segmentation import PLAIN, Wanted
from model_zoo.spec import Color

Mask = NDArray[np.uint8]
Probabilities = NDArray[np.float16]

ClassPixels = Sequence[tuple[str, float]]
"""Names of classes, and how many pixels each has."""

_GRID_PIXELS = 1 << 14

BACKGROUND = "background"
"""The class that is no thing: formats that tools draw leave it out, unless it is asked for by name."""


@dataclass(frozen=True, slots=True)
class Target:
    """Name the parts of a labelling tool's project that an answer is for, as Label Studio's own templates do."""

    from_name: str = "tag"
    to_name: str = "image"


@dataclass(frozen=True, slots=True)
class LabelledMask:
    """Hold a mask ``[H, W]`` and what its values mean; 255 is void: too unsure, too small, or not asked for.

    ``classes[i]`` and ``palette[i]`` are the name and colour of the pixels with value ``i``, ``probability_sums[i]`` is
    the sum of their probabilities, zero where no encoder wants it. ``asked`` holds the ids of the classes that were
    asked for by name, if any were. ``confidence`` ``[H, W]``, ``probabilities`` ``[C, H, W]`` and the RGB ``image`` of
    the mask's size are there for encoders that want them.
    """

    mask: Mask
    model: str
    version: str
    classes: Sequence[str]
    palette: Sequence[Color]
    probability_sums: Sequence[float]
    asked: frozenset[int] = frozenset()
    confidence: Mask | None = None
    probabilities: Probabilities | None = None
    image: Image.Image | None = None
    target: Target = field(default_factory=Target)

    @property
    def size(self) -> tuple[int, int]:
        """Give ``(H, W)``."""
        return self.mask.shape[0], self.mask.shape[1]

    def estimated_pixels(self) -> ClassPixels:
        """Give about how many pixels each class has that occurs: from a grid of them, so that it takes no time."""
        step = 1 + math.isqrt(self.mask.size // _GRID_PIXELS)
        grid = self.mask[::step, ::step]
        counts = np.bincount(grid.ravel(), minlength=len(self.classes))[: len(self.classes)]
        scale = self.mask.size / grid.size
        return [(self.classes[i], float(counts[i]) * scale) for i in np.flatnonzero(counts).tolist()]

    def is_drawn(self, class_id: int) -> bool:
        """Tell whether a tool shall draw a class: all but the background, or what was asked for by name."""
        return class_id in self.asked if self.asked else self.classes[class_id] != BACKGROUND

    def probability(self, class_id: int, num_pixels: int) -> float:
        """Give the mean probability of a class over its pixels."""
        return round(min(1.0, self.probability_sums[class_id] / num_pixels), 6)


@dataclass(frozen=True, slots=True)
class Encoder:
    """Hold one output format: its media type, how it is written, and what it needs beside the mask.

    ``answer`` is the shape of what is JSON, for the documentation.
    """

    media_type: str
    encode: Callable[[LabelledMask], bytes]
    wanted: Wanted = PLAIN
    needs_image: bool = False
    answer: type[BaseModel] | None = None
