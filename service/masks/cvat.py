"""Write a mask as CVAT's shapes of the type ``mask``, one a class, as ``cvat_sdk`` uploads and reads them.

``points`` holds run lengths along the rows of the smallest box around the class, a gap first, and then that box: left,
top, right and bottom, all inclusive.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from service.masks.encoder import LabelledMask
from service.masks.runs import Runs, runs_along


class CvatShape(BaseModel):
    """Hold the pixels of one class."""

    type: Literal["mask"] = "mask"
    label: str = Field(examples=["dog"])
    label_id: int = Field(description="the class id; put the id of your project's label here", examples=[12])
    frame: int = 0
    points: list[int] = Field(description="run lengths in the box, then the box", examples=[[3, 4, 2, 0, 0, 2, 2]])
    occluded: bool = False
    z_order: int = 0
    source: Literal["auto"] = "auto"
    attributes: list[None] = Field(default=[], max_length=0)


class CvatAnswer(BaseModel):
    """Hold one shape for every class that is drawn."""

    model: str = Field(examples=["voc"])
    size: tuple[int, int] = Field(description="height and width", examples=[[375, 500]])
    shapes: list[CvatShape]


def encode_cvat(labelled: LabelledMask) -> bytes:
    """Write the shapes of a mask, by class id."""
    shapes = [
        CvatShape(label=labelled.classes[class_id], label_id=class_id, points=_points(runs))
        for class_id, runs in runs_along(labelled.mask).by_class()
        if labelled.is_drawn(class_id)
    ]
    return CvatAnswer(model=labelled.model, size=labelled.size, shapes=shapes).model_dump_json().encode()


def _points(runs: Runs) -> list[int]:
    top, bottom, left, right = runs.extent()
    return [*runs.cropped().counts().tolist(), left, top, right, bottom]
