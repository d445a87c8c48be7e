"""Look through a whole dataset: sizes, classes, broken samples, and what it shares with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from model_zoo.labels import IGNORE_INDEX
from training.datasets import Sample, SegmentationDataset
from training.errors import InvalidDataset

NUM_VALUES = 256


@dataclass(slots=True)
class Survey:
    """Hold what a dataset was found to be.

    ``pixels`` and ``images`` count, for every value 0..255, the pixels and the images that have it; ``sizes`` are
    ``(width, height)``; ``holders`` are the indices of the samples that could be read, with the values in each.
    """

    sizes: list[tuple[int, int]] = field(default_factory=list)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_VALUES, np.int64))
    images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_VALUES, np.int64))
    holders: dict[int, frozenset[int]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    twins: list[tuple[str, str]] = field(default_factory=list)

    def add(self, index: int, sample: Sample) -> None:
        """Count a sample."""
        counts = np.bincount(sample.target.ravel(), minlength=NUM_VALUES)
        self.sizes.append(sample.image.size)
        self.pixels += counts
        self.images += counts > 0
        self.holders[index] = frozenset(np.flatnonzero(counts).tolist())


def survey(dataset: SegmentationDataset) -> Survey:
    """Read every sample; those that cannot be read are listed, with the reason, and the others counted."""
    found = Survey()
    first_of: dict[str, str] = {}
    for index, sample_id in enumerate(tqdm(dataset.ids, desc="read images", leave=False, disable=None)):
        try:
            found.add(index, dataset[index])
        except InvalidDataset as error:
            found.broken.append(str(error))
        twin = first_of.setdefault(dataset.image_sha256(index), sample_id)
        if twin != sample_id:
            found.twins.append((twin, sample_id))
    return found


def shared_images(one: SegmentationDataset, other: SegmentationDataset) -> list[tuple[str, str]]:
    """Give the ids, in both, of the images that both have, by id or by content."""
    ids = set(other.ids)
    by_hash = {other.image_sha256(index): sample_id for index, sample_id in enumerate(other.ids)}
    shared = []
    for index, sample_id in enumerate(one.ids):
        twin = sample_id if sample_id in ids else by_hash.get(one.image_sha256(index))
        if twin is not None:
            shared.append((sample_id, twin))
    return shared


def survey_lines(dataset: SegmentationDataset, found: Survey) -> list[str]:
    """Tell a survey: how many images, how large, and how much there is of every class."""
    rules = ", ".join(f"{rule} {value}" for rule, value in dataset.rules.items())
    classes = dataset.labels.classes
    lines = [f"{len(dataset)} images, {len(classes)} classes ({dataset.labels.name})" + (f"; {rules}" if rules else "")]
    lines += _size_lines(found.sizes)
    total = max(1, int(found.pixels.sum()))
    lines.append(f"{'class':24}{'pixels':>9}{'images':>8}")
    for value, name in (*enumerate(classes), (IGNORE_INDEX, "(void)")):
        share, count = found.pixels[value] / total, int(found.images[value])
        lines.append(
            f"{name:24}{share:9.2%}{count:8}" + ("" if count or value == IGNORE_INDEX else "  no image has it")
        )
    lines += [f"{second} is the same image as {first}" for first, second in found.twins]
    return lines + [f"broken: {complaint}" for complaint in found.broken]


def _size_lines(sizes: Sequence[tuple[int, int]]) -> list[str]:
    if not sizes:
        return []
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    smallest, middle, largest = (f"{size[0]}x{size[1]}" for size in (by_area[0], by_area[len(sizes) // 2], by_area[-1]))
    return [f"{len(set(sizes))} sizes: smallest {smallest}, median {middle}, largest {largest}"]
