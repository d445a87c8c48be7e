"""Draw datasets that need no files: forms on textured ground, every image made from its id alone.

So an image is the same everywhere. Colours say nothing of the class: only the form does.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw

from training.datasets.sample import LabelSpace, Sample
from training.errors import InvalidDataset


class DrawnDataset(ABC):
    """Give generated samples; those of different splits never meet.

    A kind names its classes, how many images its lists have when nothing else is said, what follows the name of the
    list in an id, the least and the largest side in pixels, and the deviation of the noise.
    """

    labels: LabelSpace
    splits: ClassVar[Mapping[str, int]]
    series: ClassVar[str] = ""
    sides: ClassVar[tuple[int, int]]
    noise: ClassVar[float]
    rules: Mapping[str, str] = {}

    def __init__(self, root: Path, split: str) -> None:
        """Choose the samples.

        Args:
            root: not a folder but how many images, such as ``64``; ``.`` for the usual number.
            split: ``train`` or ``val``.

        Raises:
            InvalidDataset: the split is neither, or the number is none.
        """
        name, text = self.labels.name, str(root)
        if split not in self.splits:
            raise InvalidDataset(f"{name} have no list {split!r}, only {' and '.join(self.splits)}")
        if text != "." and not (text.isdecimal() and int(text) > 0):
            raise InvalidDataset(f"{name}:{split}:{text} must end in a number of images, such as {name}:{split}:64")
        num_images = self.splits[split] if text == "." else int(text)
        self.ids = tuple(f"{split}{self.series}-{number}" for number in range(num_images))

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Draw an image of one to three forms and its target."""
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(self.ids[index].encode()).digest()[:8], "little"))
        width, height = random.integers(*self.sides, size=2, endpoint=True)
        image = _textured_ground(random, (int(width), int(height)))
        target = Image.new("L", image.size)
        for _ in range(int(random.integers(1, 4))):
            self._draw_form(random, ImageDraw.Draw(image), ImageDraw.Draw(target))
        noise = random.normal(0, self.noise, (image.height, image.width, 3))
        noisy = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
        return Sample(self.ids[index], Image.fromarray(noisy), np.array(target))

    def image_sha256(self, index: int) -> str:
        """Hash the id, which the image is made from."""
        return hashlib.sha256(self.ids[index].encode()).hexdigest()

    @abstractmethod
    def _draw_form(self, random: np.random.Generator, image: ImageDraw.ImageDraw, target: ImageDraw.ImageDraw) -> None:
        """Draw one form, its rim void in the target."""


def _textured_ground(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    ground = random.integers(60, 120, 3) + random.integers(-30, 31, (6, 6, 3))
    return Image.fromarray(ground.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
