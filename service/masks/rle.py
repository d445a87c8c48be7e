"""Write a mask as JSON with one COCO run-length encoding a class, as ``pycocotools.mask.decode`` reads it.

Runs go down the columns. A class's counts say in turn how many pixels are not of it and how many are; from the
fourth on, the text holds the difference to the count two before, five bits a character, the lowest first.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from service.masks.encoder import LabelledMask
from service.masks.runs import Counts, Runs, box_down, runs_down


class CocoRle(BaseModel):
    """Hold compressed COCO RLE; ``size`` is ``[height, width]``."""

    size: tuple[int, int] = Field(description="height and width", examples=[[375, 500]])
    counts: str = Field(examples=["R\\3=000000"])


class Segment(BaseModel):
    """Describe the pixels of one class."""

    class_id: int = Field(examples=[12])
    label: str = Field(examples=["dog"])
    area: int = Field(description="number of pixels", examples=[40213])
    bbox: tuple[int, int, int, int] = Field(description="x, y, width, height", examples=[[104, 58, 260, 270]])
    probability: float = Field(description="mean softmax probability over the segment's pixels", examples=[0.93])
    rle: CocoRle


class RleAnswer(BaseModel):
    """Hold a whole mask: one segment for every class that occurs in it, the background included."""

    model_config = ConfigDict(json_schema_extra={"description": "A mask, class by class."})

    model: str = Field(examples=["voc"])
    size: tuple[int, int] = Field(description="height and width", examples=[[375, 500]])
    segments: list[Segment]


def encode_rle(labelled: LabelledMask) -> bytes:
    """Write the segments of a mask, by class id."""
    segments = [segment_of(labelled, class_id, runs) for class_id, runs in runs_down(labelled.mask).by_class()]
    return RleAnswer(model=labelled.model, size=labelled.size, segments=segments).model_dump_json().encode()


def segment_of(labelled: LabelledMask, class_id: int, runs: Runs) -> Segment:
    """Describe the runs of a class, which go down the columns."""
    return Segment(
        class_id=class_id,
        label=labelled.classes[class_id],
        area=runs.area,
        bbox=box_down(runs),
        probability=labelled.probability(class_id, runs.area),
        rle=CocoRle(size=labelled.size, counts=compress(runs.counts())),
    )


def compress(counts: Counts) -> str:
    """Write counts as COCO's text."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    columns = []
    is_open = np.ones(len(values), dtype=bool)
    while is_open.any():
        low = values & 0x1F
        values >>= 5
        is_last = values == np.where(low & 0x10, -1, 0)  # what is left is only the sign
        columns.append(np.where(is_open, 48 + low + 0x20 * ~is_last, 0))
        is_open &= ~is_last
    characters = np.stack(columns, axis=1).astype(np.uint8).ravel()
    return bytes(characters[characters != 0]).decode("ascii")
