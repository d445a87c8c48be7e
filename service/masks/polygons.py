"""Write a mask as COCO's polygons, one annotation a class: what ``pycocotools`` reads as a dataset.

COCO's polygons know no holes. Here an outline goes to each of its holes and comes back the same way, so that the hole
stays open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from service.masks.encoder import LabelledMask
from service.masks.outlines import Area, Ring, find_areas
from service.masks.runs import Box, box_along, runs_along


class CocoImage(BaseModel):
    """Name the image."""

    id: int = 1
    width: int = Field(examples=[500])
    height: int = Field(examples=[375])
    file_name: str = ""


class CocoCategory(BaseModel):
    """Name a class."""

    id: int = Field(examples=[12])
    name: str = Field(examples=["dog"])


class CocoAnnotation(BaseModel):
    """Hold the pixels of one class."""

    id: int = Field(examples=[1])
    image_id: int = 1
    category_id: int = Field(description="the class id", examples=[12])
    segmentation: list[list[int]] = Field(
        description="of each connected area x1, y1, x2, y2, ... along the edges of its pixels",
        examples=[[[104, 58, 364, 58, 364, 328, 104, 328]]],
    )
    area: int = Field(description="number of pixels", examples=[40213])
    bbox: tuple[int, int, int, int] = Field(description="x, y, width, height", examples=[[104, 58, 260, 270]])
    iscrowd: int = 0
    score: float = Field(description="mean softmax probability over the pixels", examples=[0.93])


class PolygonsAnswer(BaseModel):
    """Hold a COCO dataset of one image, with one annotation for every class that is drawn."""

    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoAnnotation]


def encode_polygons(labelled: LabelledMask) -> bytes:
    """Write the annotations of a mask, by class id."""
    height, width = labelled.size
    annotations: list[CocoAnnotation] = []
    for class_id, runs in runs_along(labelled.mask).by_class():
        if labelled.is_drawn(class_id):
            box = box_along(runs)
            annotations.append(
                CocoAnnotation(
                    id=len(annotations) + 1,
                    category_id=class_id,
                    segmentation=[joined(area).ravel().tolist() for area in areas_of(labelled, class_id, box)],
                    area=runs.area,
                    bbox=box,
                    score=labelled.probability(class_id, runs.area),
                )
            )
    answer = PolygonsAnswer(
        images=[CocoImage(width=width, height=height)],
        categories=[CocoCategory(id=class_id, name=name) for class_id, name in enumerate(labelled.classes)],
        annotations=annotations,
    )
    return answer.model_dump_json().encode()


def areas_of(labelled: LabelledMask, class_id: int, box: Box) -> Sequence[Area]:
    """Give the connected areas of a class that lies within a box."""
    left, top, width, height = box
    corner = np.array((left, top))
    found = find_areas(labelled.mask[top : top + height, left : left + width] == class_id)
    return [Area(area.outline + corner, tuple(hole + corner for hole in area.holes)) for area in found]


def joined(area: Area) -> Ring:
    """Give one ring that runs round an area and, there and back, round each of its holes."""
    parts = [area.outline]
    for hole in area.holes:
        parts += [hole, hole[:1], area.outline[-1:]]
    return np.concatenate(parts)
