"""Write a mask as JSON with one COCO run-length encoding a class, as ``pycocotools.mask.decode`` reads it.

Runs go down the columns. A class's counts say in turn how many pixels are not of it and how many are; from the
fourth on, the text holds the difference to the count two before, five bits a character, the lowest first.
Letters: H and W height and width, N pixels, R runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.masks.encoder import LabelledMask, Mask

Counts = NDArray[np.int64]


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
    height, width = labelled.mask.shape
    runs = find_runs(labelled.mask)
    segments = [_segment(labelled, runs.of(class_id)) for class_id in np.unique(runs.labels).tolist()]
    return RleAnswer(model=labelled.model, size=(height, width), segments=segments).model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class Runs:
    """Hold runs of equal pixels, each ``[R]``, in column-major order: where they start and end, and their label."""

    starts: Counts
    ends: Counts
    labels: Mask
    size: tuple[int, int]

    def of(self, label: int) -> Runs:
        """Give the runs of one label."""
        chosen = self.labels == label
        return Runs(self.starts[chosen], self.ends[chosen], self.labels[chosen], self.size)

    @property
    def area(self) -> int:
        """Count the pixels."""
        return int((self.ends - self.starts).sum())


def find_runs(mask: Mask) -> Runs:
    """Find all runs of a mask ``[H, W]`` in one pass."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], changes)).astype(np.int64)
    ends = np.concatenate((changes, [flat.size])).astype(np.int64)
    return Runs(starts, ends, flat[starts], (mask.shape[0], mask.shape[1]))


def count_runs(runs: Runs) -> Counts:
    """Give the COCO counts of one label's runs: gaps and runs in turn, a gap first."""
    num_pixels = runs.size[0] * runs.size[1]
    borders = np.stack((runs.starts, runs.ends), axis=1).ravel()
    counts = np.diff(borders, prepend=0, append=num_pixels)
    return counts[:-1] if counts[-1] == 0 else counts


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


def bounding_box(runs: Runs) -> tuple[int, int, int, int]:
    """Give ``(x, y, width, height)`` of one label's runs."""
    height = runs.size[0]
    last = runs.ends - 1
    left, right = int(runs.starts[0]) // height, int(last[-1]) // height
    if (runs.starts // height != last // height).any():
        top, bottom = 0, height - 1  # a run that goes on in the next column touches both borders
    else:
        top, bottom = int((runs.starts % height).min()), int((last % height).max())
    return left, top, right - left + 1, bottom - top + 1


def _segment(labelled: LabelledMask, runs: Runs) -> Segment:
    class_id = int(runs.labels[0])
    return Segment(
        class_id=class_id,
        label=labelled.classes[class_id],
        area=runs.area,
        bbox=bounding_box(runs),
        probability=round(min(1.0, labelled.probability_sums[class_id] / runs.area), 6),
        rle=CocoRle(size=runs.size, counts=compress(count_runs(runs))),
    )
