"""Draw squares, circles and triangles on textured ground: a dataset that needs no files.

Every image is made from its id alone, so it is the same everywhere. Colours say nothing of the class: only the form
does. The rim of every shape is void, as in VOC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from model_zoo.labels import IGNORE_INDEX, voc_palette
from training.datasets.sample import LabelSpace, Sample
from training.errors import InvalidDataset

SHAPES_LABELS = LabelSpace("shapes", ("background", "square", "circle", "triangle"), voc_palette(4))
SPLITS = {"train": 400, "val": 100}
"""The lists, and how many images each has when nothing else is said."""


class Shapes:
    """Give generated samples; those of different splits never meet."""

    def __init__(self, root: Path, split: str) -> None:
        """Choose the samples.

        Args:
            root: not a folder but how many images, such as ``64``; ``.`` for the usual number.
            split: ``train`` or ``val``.

        Raises:
            InvalidDataset: the split is neither, or the number is none.
        """
        self.labels = SHAPES_LABELS
        self.rules: Mapping[str, str] = {}
        self.ids = tuple(f"{split}-{number}" for number in range(num_images("shapes", split, root, SPLITS)))

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Draw an image, 64 to 96 pixels wide and high, and its target."""
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(self.ids[index].encode()).digest()[:8], "little"))
        width, height = (int(side) for side in random.integers(64, 97, size=2))
        image = textured_ground(random, (width, height))
        target = Image.new("L", image.size)
        for _ in range(int(random.integers(1, 4))):
            _draw_shape(random, ImageDraw.Draw(image), ImageDraw.Draw(target))
        noise = random.normal(0, 6, (height, width, 3))
        noisy = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
        return Sample(self.ids[index], Image.fromarray(noisy), np.array(target))

    def image_sha256(self, index: int) -> str:
        """Hash the id, which the image is made from."""
        return hashlib.sha256(self.ids[index].encode()).hexdigest()


def num_images(reader: str, split: str, root: Path, usual: Mapping[str, int]) -> int:
    """Read how many images a list of drawn ones has, in place of a folder; ``.`` stands for the usual number.

    Raises:
        InvalidDataset: there is no such list, or the number is none.
    """
    if split not in usual:
        raise InvalidDataset(f"{reader} have no list {split!r}, only {' and '.join(usual)}")
    text = str(root)
    if text != "." and not (text.isdecimal() and int(text) > 0):
        raise InvalidDataset(f"{reader}:{split}:{text} must end in a number of images, such as {reader}:{split}:64")
    return usual[split] if text == "." else int(text)


def textured_ground(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Blend a coarse random pattern; ``size`` is ``(width, height)``."""
    ground = random.integers(60, 120, 3) + random.integers(-30, 31, (6, 6, 3))
    return Image.fromarray(ground.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def _draw_shape(random: np.random.Generator, image: ImageDraw.ImageDraw, target: ImageDraw.ImageDraw) -> None:
    width, height = image.im.size
    radius = int(random.integers(10, 20))
    x, y = int(random.integers(radius, width - radius)), int(random.integers(radius, height - radius))
    color = tuple(int(value) for value in random.integers(150, 256, 3))
    label = int(random.integers(1, len(SHAPES_LABELS.classes)))
    box = (x - radius, y - radius, x + radius, y + radius)
    for draw, fill, rim in ((image, color, color), (target, label, IGNORE_INDEX)):
        match SHAPES_LABELS.classes[label]:
            case "square":
                draw.rectangle(box, fill=fill, outline=rim)
            case "circle":
                draw.ellipse(box, fill=fill, outline=rim)
            case _:
                draw.polygon([(x, box[1]), (box[0], box[3]), (box[2], box[3])], fill=fill, outline=rim)
