"""Draw squares, circles and triangles on textured ground, 64 to 96 pixels wide and high."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

from model_zoo.labels import IGNORE_INDEX, voc_palette
from training.datasets.drawn import DrawnDataset
from training.datasets.sample import LabelSpace

SHAPES_LABELS = LabelSpace("shapes", ("background", "square", "circle", "triangle"), voc_palette(4))


class Shapes(DrawnDataset):
    """Give generated samples of three classes, easy enough to learn in seconds."""

    labels = SHAPES_LABELS
    splits = {"train": 400, "val": 100}  # noqa: RUF012  # the base says that it is the class's
    sides = (64, 96)
    noise = 6

    def _draw_form(self, random: np.random.Generator, image: ImageDraw.ImageDraw, target: ImageDraw.ImageDraw) -> None:
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
