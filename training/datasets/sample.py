"""Say what a dataset is: labelled samples by index, and the ids and labels they go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Target = NDArray[np.uint8]
"""The class of every pixel, uint8 ``[H, W]``; 255 where unlabelled."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold one upright RGB image and the target of the same size."""

    id: str
    image: Image.Image
    target: Target


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """Name the classes; ``classes[i]`` and ``palette[i]`` belong to the pixels with value ``i``."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


class SegmentationDataset(Protocol):
    """Give labelled samples by index; ``ids[i]`` is the id of the i-th."""

    @property
    def labels(self) -> LabelSpace:
        """Name the classes of the targets."""

    @property
    def ids(self) -> Sequence[str]:
        """List the samples' ids, which all differ."""

    @property
    def rules(self) -> Mapping[str, str]:
        """Say by which options the targets were made; empty where there is nothing to choose."""

    def __len__(self) -> int:
        """Count the samples."""

    def __getitem__(self, index: int) -> Sample:
        """Read a sample."""

    def image_sha256(self, index: int) -> str:
        """Hash what the image is made from, without decoding it."""
