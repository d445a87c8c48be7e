"""Say what an encoder is: a way to write a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_zoo.spec import Color

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LabelledMask:
    """Hold a mask ``[H, W]`` and what its values mean.

    ``classes[i]`` and ``palette[i]`` are the name and colour of the pixels with value ``i``; ``probability_sums[i]``
    is the sum of their probabilities, zero where no encoder asked for it.
    """

    mask: Mask
    model: str
    classes: Sequence[str]
    palette: Sequence[Color]
    probability_sums: Sequence[float]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Hold one output format: its media type, how it is written, and whether it needs ``probability_sums``."""

    media_type: str
    encode: Callable[[LabelledMask], bytes]
    needs_probabilities: bool = False
