"""Show images with their target and mask side by side, as small pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from model_zoo.labels import IGNORE_INDEX
from training.contact_sheet import BACKGROUND, blend
from training.datasets import LabelSpace
from training.evaluation.extremes import ScoredImage
from training.report_page.markup import Content, tag

LONGEST_SIDE = 320
QUALITY = 82


def draw_gallery(images: Sequence[ScoredImage], labels: LabelSpace) -> Element:
    """Show each image, its target and its mask, with its id, its score and the classes that are in either."""
    return tag("div", *(_draw_one(image, labels) for image in images), class_="gallery")


def swatch(color: tuple[int, int, int]) -> Element:
    """Show a colour as a small square."""
    return tag("i", class_="swatch", style=f"background:rgb({color[0]},{color[1]},{color[2]})")


def _draw_one(scored: ScoredImage, labels: LabelSpace) -> Element:
    sample = scored.sample
    pictures = {
        "image": sample.image,
        "target": blend(sample, labels),
        "mask": blend(scored.with_mask(), labels),
    }
    shown = [
        tag("div", tag("img", src=_data_uri(picture), alt=f"{name} of {sample.id}"), tag("small", name))
        for name, picture in pictures.items()
    ]
    head = tag("figcaption", tag("b", f"{scored.score:.4f}"), " ", tag("span", sample.id, class_="id"))
    return tag(
        "figure", head, tag("div", *shown, class_="triple"), tag("div", *_legend(scored, labels), class_="legend")
    )


def _legend(scored: ScoredImage, labels: LabelSpace) -> list[Content]:
    values = np.union1d(scored.sample.target, scored.mask).tolist()
    named = [(labels.palette[value], labels.classes[value]) for value in values if value != IGNORE_INDEX]
    return [tag("span", swatch(color), name) for color, name in named if name != BACKGROUND]


def _data_uri(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
