"""Write a mask as Hugging Face's image-segmentation task answers: one grey PNG a class.

The shape is that of ``@huggingface/tasks``, ``image-segmentation/spec/output.json``, which
``huggingface_hub.InferenceClient.image_segmentation`` reads.
"""

from __future__ import annotations

from base64 import b64encode

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, RootModel

from service.masks.encoder import LabelledMask
from service.masks.png import grey_png
from service.masks.runs import runs_along

_TWICE = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)).repeat(2)).view(np.uint16)
"""Each byte with each of its bits twice, in the order of memory, ``[256]``."""


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
            mask=b64encode(_two_bits(labelled.mask == class_id)).decode("ascii"),
            score=labelled.probability(class_id, runs.area),
        )
        for class_id, runs in runs_along(labelled.mask).by_class()
    ]
    return HfAnswer(segments).model_dump_json().encode()


def _two_bits(is_inside: NDArray[np.bool_]) -> bytes:
    """Write a grey PNG of 2 bits a pixel: a quarter of the bytes, which readers make 0 and 255 of as well."""
    width = is_inside.shape[1]
    rows = _TWICE[np.packbits(is_inside, axis=1)].view(np.uint8)[:, : -(-width // 4)]
    return grey_png(rows, width, depth=2)
