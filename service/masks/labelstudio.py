"""Write a mask as a prediction of Label Studio: one brush region a class.

The regions are run lengths of the RGBA picture of a class, 255 in all channels where it is, bit by bit as
``label_studio_sdk.converter.brush.decode_rle`` reads them (thi.ng's ``rle-pack``): 32 bits say how many values there
are, 5 how wide one is less 1, four times 4 how wide the lengths are less 1; then comes for each run a 1, which of
the four widths its length has, the length less 1, and the value.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from service.masks.encoder import LabelledMask
from service.masks.runs import Counts, Runs, runs_along

_CHANNELS = 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST = 1 << _LENGTH_BITS[-1]

Bits = NDArray[np.uint8]


class BrushValue(BaseModel):
    """Hold the pixels of one class."""

    format: Literal["rle"] = "rle"
    rle: list[int] = Field(description="bytes", examples=[[0, 0, 0, 16, 57, 27, 248, 31, 224]])
    brushlabels: list[str] = Field(examples=[["dog"]])


class BrushRegion(BaseModel):
    """Hold one region, as Label Studio imports and exports it."""

    id: str = Field(examples=["segment-12"])
    type: Literal["brushlabels"] = "brushlabels"
    from_name: str = Field(examples=["tag"])
    to_name: str = Field(examples=["image"])
    origin: Literal["prediction"] = "prediction"
    image_rotation: int = 0
    original_width: int = Field(examples=[500])
    original_height: int = Field(examples=[375])
    score: float = Field(description="mean softmax probability over the region's pixels", examples=[0.93])
    value: BrushValue


class LabelStudioAnswer(BaseModel):
    """Hold a prediction: put it into the list ``predictions`` of a task, or upload it as it is."""

    model_version: str = Field(examples=["voc@0.1.0"])
    score: float = Field(description="mean softmax probability over the regions' pixels", examples=[0.93])
    result: list[BrushRegion]


def encode_labelstudio(labelled: LabelledMask) -> bytes:
    """Write the regions of a mask, by class id."""
    drawn = [(class_id, runs) for class_id, runs in runs_along(labelled.mask).by_class() if labelled.is_drawn(class_id)]
    num_pixels = sum(runs.area for _, runs in drawn)
    total = sum(labelled.probability_sums[class_id] for class_id, _ in drawn)
    answer = LabelStudioAnswer(
        model_version=f"{labelled.model}@{labelled.version}",
        score=round(min(1.0, total / num_pixels), 6) if num_pixels else 0.0,
        result=[_region(labelled, class_id, runs) for class_id, runs in drawn],
    )
    return answer.model_dump_json().encode()


def _region(labelled: LabelledMask, class_id: int, runs: Runs) -> BrushRegion:
    height, width = labelled.size
    return BrushRegion(
        id=f"segment-{class_id}",
        from_name=labelled.target.from_name,
        to_name=labelled.target.to_name,
        original_width=width,
        original_height=height,
        score=labelled.probability(class_id, runs.area),
        value=BrushValue(rle=list(pack(runs.counts())), brushlabels=[labelled.classes[class_id]]),
    )


def pack(counts: Counts) -> bytes:
    """Write the run lengths of a class, in pixels, a gap first, as Label Studio's bytes."""
    lengths, values = _split(counts * _CHANNELS)
    head = _bits(np.array([lengths.sum()]), 32), _bits(np.array([_VALUE_BITS - 1]), 5)
    widths = _bits(np.array(_LENGTH_BITS) - 1, 4)
    records = _records(lengths, values)
    return np.packbits(np.concatenate([*(part.ravel() for part in (*head, widths)), records])).tobytes()


def _split(lengths: Counts) -> tuple[Counts, Bits]:
    """Give the lengths that are not 0, those that are too long in parts, and whether each is of the class."""
    num_parts = -(-lengths // _LONGEST)
    values = np.repeat((np.arange(len(lengths)) % 2).astype(np.uint8), num_parts)
    parts = np.full(len(values), _LONGEST, np.int64)
    last = np.cumsum(num_parts)[num_parts > 0] - 1
    parts[last] = (lengths - (num_parts - 1) * _LONGEST)[num_parts > 0]
    return parts, values


def _records(lengths: Counts, values: Bits) -> Bits:
    """Give the bits of all runs."""
    kinds = np.searchsorted(2 ** np.array(_LENGTH_BITS), lengths)  # the first width that holds a length
    num_bits = np.array([1 + 2 + bits + _VALUE_BITS for bits in _LENGTH_BITS])[kinds]
    places = np.cumsum(num_bits) - num_bits
    bits = np.empty(int(num_bits.sum()), np.uint8)
    for kind, width in enumerate(_LENGTH_BITS):
        chosen = kinds == kind
        start = places[chosen][:, None]
        number = (0b100 | kind) << width | (lengths[chosen] - 1)
        record = np.concatenate((_bits(number, 3 + width), _bits(values[chosen] * 255, _VALUE_BITS)), axis=1)
        bits[start + np.arange(3 + width + _VALUE_BITS)] = record
    return bits


def _bits(numbers: NDArray[np.integer], width: int) -> Bits:
    """Give numbers ``[N]`` as bits ``[N, width]``, the highest first."""
    return (numbers[:, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8)
