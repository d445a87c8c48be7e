"""Draw eight forms on textured ground, 64 by 64 pixels: small enough to compare ways of training in minutes on a CPU.

Every image is made from its id alone. Colours say nothing of the class: only the form does, and forms hide each other.
The outer rim of every form is void, as in VOC.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from model_zoo.labels import IGNORE_INDEX, voc_palette
from training.datasets.sample import LabelSpace, Sample
from training.datasets.shapes import num_images, textured_ground

FORMS = ("square", "circle", "triangle", "diamond", "cross", "ring", "star", "bar")
SHAPES9_LABELS = LabelSpace("shapes9", ("background", *FORMS), voc_palette(1 + len(FORMS)))
SPLITS = {"train": 1600, "val": 300}
"""The lists, and how many images each has when nothing else is said."""

SIDE = 64
Point = tuple[float, float]

OUTLINES: Mapping[str, Sequence[Point]] = {
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "triangle": [(0, -1), (1, 0.8), (-1, 0.8)],
    "diamond": [(0, -1), (1, 0), (0, 1), (-1, 0)],
    "cross": [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
              (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
    "star": [((1, 0.45)[i % 2] * math.sin(math.pi * i / 5), -(1, 0.45)[i % 2] * math.cos(math.pi * i / 5))
             for i in range(10)],
    "bar": [(-1, -0.4), (1, -0.4), (1, 0.4), (-1, 0.4)],
}  # fmt: skip
"""The corners of forms that have some, in a square from -1 to 1."""


class Shapes9:
    """Give generated samples; those of different splits never meet."""

    def __init__(self, root: Path, split: str) -> None:
        """Choose the samples.

        Args:
            root: not a folder but how many images, such as ``64``; ``.`` for the usual number.
            split: ``train`` or ``val``.

        Raises:
            InvalidDataset: the split is neither, or the number is none.
        """
        self.labels = SHAPES9_LABELS
        self.rules: Mapping[str, str] = {}
        self.ids = tuple(f"{split}9-{number}" for number in range(num_images("shapes9", split, root, SPLITS)))

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Draw an image and its target."""
        random = np.random.default_rng(int.from_bytes(hashlib.sha256(self.ids[index].encode()).digest()[:8], "little"))
        image = textured_ground(random, (SIDE, SIDE))
        target = Image.new("L", image.size)
        for _ in range(int(random.integers(1, 4))):
            _draw_form(random, ImageDraw.Draw(image), ImageDraw.Draw(target))
        noise = random.normal(0, 12, (SIDE, SIDE, 3))
        noisy = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
        return Sample(self.ids[index], Image.fromarray(noisy), np.array(target))

    def image_sha256(self, index: int) -> str:
        """Hash the id, which the image is made from."""
        return hashlib.sha256(self.ids[index].encode()).hexdigest()


def _draw_form(random: np.random.Generator, image: ImageDraw.ImageDraw, target: ImageDraw.ImageDraw) -> None:
    radius = int(random.integers(7, 14))
    x, y = (int(random.integers(radius, SIDE - radius)) for _ in range(2))
    color = tuple(int(value) for value in random.integers(110, 256, 3))
    label = int(random.integers(1, 1 + len(FORMS)))
    form = FORMS[label - 1]
    box = (x - radius, y - radius, x + radius, y + radius)
    corners = [(x + radius * right, y + radius * down) for right, down in OUTLINES.get(form, [])]
    for draw, fill, rim in ((image, color, color), (target, label, IGNORE_INDEX)):
        match form:
            case "circle":
                draw.ellipse(box, fill=fill, outline=rim)
            case "ring":
                draw.ellipse(box, outline=fill, width=4)
                draw.ellipse(box, outline=rim)
            case _:
                draw.polygon(corners, fill=fill, outline=rim)
