"""Write how many pixels each class has, and no mask: for statistics."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.masks.encoder import LabelledMask
from service.masks.runs import runs_along


class ClassCount(BaseModel):
    """Say how much of an image is of one class."""

    class_id: int = Field(examples=[12])
    label: str = Field(examples=["dog"])
    pixels: int = Field(examples=[40213])
    share: float = Field(description="of the image's pixels, 0 to 1", examples=[0.2145])
    probability: float = Field(description="mean softmax probability over these pixels", examples=[0.93])


class CountsAnswer(BaseModel):
    """Hold one count for every class that occurs; what they lack of the whole is void."""

    model: str = Field(examples=["voc"])
    size: tuple[int, int] = Field(description="height and width", examples=[[375, 500]])
    counts: list[ClassCount]


def encode_counts(labelled: LabelledMask) -> bytes:
    """Write the counts, by class id."""
    counts = [
        ClassCount(
            class_id=class_id,
            label=labelled.classes[class_id],
            pixels=runs.area,
            share=round(runs.area / labelled.mask.size, 6),
            probability=labelled.probability(class_id, runs.area),
        )
        for class_id, runs in runs_along(labelled.mask).by_class()
    ]
    return CountsAnswer(model=labelled.model, size=labelled.size, counts=counts).model_dump_json().encode()
