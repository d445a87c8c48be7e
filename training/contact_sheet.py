"""Draw samples of a dataset on one picture, each beside itself with its target laid over it, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from model_zoo.labels import IGNORE_INDEX
from training.datasets import LabelSpace, Sample, SegmentationDataset
from training.survey import Survey

COLUMNS = 4
CELL_WIDTH, IMAGE_HEIGHT, CAPTION_HEIGHT, LINE_HEIGHT, GAP = 440, 190, 48, 15, 8
OPACITY = 0.6
VOID_COLOR = (255, 255, 255)
BACKGROUND = "background"
"""A class of this name is not laid over the image."""


def draw_contact_sheet(dataset: SegmentationDataset, found: Survey, *, num_samples: int = 24) -> Image.Image:
    """Draw some samples that could be read; the rarest classes are among them first."""
    chosen = choose_samples(found, num_samples)
    rows = max(1, -(-len(chosen) // COLUMNS))
    width, height = CELL_WIDTH + GAP, IMAGE_HEIGHT + CAPTION_HEIGHT + GAP
    sheet = Image.new("RGB", (COLUMNS * width + GAP, rows * height + GAP), "white")
    for place, index in enumerate(chosen):
        row, column = divmod(place, COLUMNS)
        cell = _draw_cell(dataset[index], dataset.labels)
        sheet.paste(cell, (column * width + GAP, row * height + GAP))
    return sheet


def choose_samples(found: Survey, num_samples: int) -> list[int]:
    """Choose samples such that each class is in one, the rarest first; the others are spread over the set."""
    chosen: list[int] = []
    values = [value for value in np.argsort(found.images, kind="stable").tolist() if found.images[value]]
    for value in values:
        if len(chosen) < num_samples and not any(value in found.holders[index] for index in chosen):
            chosen.append(next(index for index, held in found.holders.items() if value in held))
    others = [index for index in found.holders if index not in chosen]
    num_missing = min(num_samples - len(chosen), len(others))
    chosen += [others[position * len(others) // num_missing] for position in range(num_missing)]
    return sorted(chosen)


def blend(sample: Sample, labels: LabelSpace) -> Image.Image:
    """Lay the colours of the target over the image; background stays as it is, void becomes white."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(labels.palette)] = labels.palette
    colors[IGNORE_INDEX] = VOID_COLOR
    pixels = np.asarray(sample.image)
    blended = (pixels * (1 - OPACITY) + colors[sample.target] * OPACITY).round().astype(np.uint8)
    if _is_background(0, labels):
        blended = np.where((sample.target == 0)[..., None], pixels, blended)
    return Image.fromarray(blended)


def _draw_cell(sample: Sample, labels: LabelSpace) -> Image.Image:
    cell = Image.new("RGB", (CELL_WIDTH, IMAGE_HEIGHT + CAPTION_HEIGHT), "white")
    half = (CELL_WIDTH - GAP) // 2
    for left, image in ((0, sample.image), (half + GAP, blend(sample, labels))):
        fitted = ImageOps.contain(image, (half, IMAGE_HEIGHT))
        cell.paste(fitted, (left, IMAGE_HEIGHT - fitted.height))
    draw = ImageDraw.Draw(cell)
    draw.text((0, IMAGE_HEIGHT + 2), f"{sample.id}  {sample.image.width}x{sample.image.height}", "black", _font())
    shown = [value for value in np.unique(sample.target).tolist() if not _is_background(value, labels)]
    _draw_classes(draw, shown, labels)
    return cell


def _draw_classes(draw: ImageDraw.ImageDraw, values: Sequence[int], labels: LabelSpace) -> None:
    """Write the classes behind squares of their colours, in two lines; what does not fit is cut off with dots."""
    left, top = 0, IMAGE_HEIGHT + 2 + LINE_HEIGHT
    for value in values:
        name = "void" if value == IGNORE_INDEX else labels.classes[value]
        color = VOID_COLOR if value == IGNORE_INDEX else labels.palette[value]
        width = LINE_HEIGHT + round(draw.textlength(name, _font())) + GAP
        if left + width > CELL_WIDTH - LINE_HEIGHT:
            left, top = 0, top + LINE_HEIGHT
        if top + LINE_HEIGHT > IMAGE_HEIGHT + CAPTION_HEIGHT:
            draw.text((CELL_WIDTH - LINE_HEIGHT, top - LINE_HEIGHT), "...", "black", _font())
            return
        draw.rectangle((left, top + 2, left + 10, top + 12), fill=color, outline="black")
        draw.text((left + LINE_HEIGHT, top), name, "black", _font())
        left += width


def _is_background(value: int, labels: LabelSpace) -> bool:
    return value == 0 and labels.classes[0] == BACKGROUND


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=11)
