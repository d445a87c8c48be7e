"""Write a mask as Hugging Face's image-segmentation task answers: one grey PNG a class.

The shape is that of ``@huggingface/tasks``, ``image-segmentation/spec/output.json``, which
``huggingface_hub.InferenceClient.image_segmentation`` reads.
"""

from __future__ import annotations

from base64 import b64encode

from PIL import Image
from pydantic import BaseModel, Field, RootModel

from service.masks.encoder import LabelledMask
from service.masks.png import png_bytes
from service.masks.runs import runs_along


class HfSegment(BaseModel):
    """Hold the pixels of one class."""

    label: str = Field(examples=["dog"])
    mask: str = Field(description="grey PNG in base64: 255 where the class is, 0 elsewhere", examples=["iVBORw0KGgo="])
    score: float = Field(description="mean softmax probability over the class's pixels", examples=[0.93])


class HfAnswer(RootModel[list[HfSegment]]):
    """Hold one segment for every class that occurs."""


def encode_hf(labelled: LabelledMask) -> bytes:
    """Write the segments of a mask, by class id."""
    segments = [
        HfSegment(
            label=labelled.classes[class_id],
            mask=b64encode(png_bytes(Image.fromarray(labelled.mask == class_id).convert("L"))).decode("ascii"),
            score=labelled.probability(class_id, runs.area),
        )
        for class_id, runs in runs_along(labelled.mask).by_class()
    ]
    return HfAnswer(segments).model_dump_json().encode()
