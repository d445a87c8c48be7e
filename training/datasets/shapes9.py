"""Draw eight forms on textured ground, 64 by 64 pixels: small enough to compare ways of training in minutes on a CPU.

Forms hide each other. The outer rim of every form is void, as in VOC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import ImageDraw

from model_zoo.labels import IGNORE_INDEX, voc_palette
from training.datasets.drawn import DrawnDataset
from training.datasets.sample import LabelSpace

FORMS = ("square", "circle", "triangle", "diamond", "cross", "ring", "star", "bar")
SHAPES9_LABELS = LabelSpace("shapes9", ("background", *FORMS), voc_palette(1 + len(FORMS)))
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


class Shapes9(DrawnDataset):
    """Give generated samples of eight classes that hide each other."""

    labels = SHAPES9_LABELS
    splits = {"train": 1600, "val": 300}  # noqa: RUF012  # the base says that it is the class's
    series = "9"
    sides = (SIDE, SIDE)
    noise = 12

    def _draw_form(self, random: np.random.Generator, image: ImageDraw.ImageDraw, target: ImageDraw.ImageDraw) -> None:
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
