"""Take a share of a dataset that is the same every time, to learn what more of it would bring."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction

from training.datasets.sample import LabelSpace, Sample, SegmentationDataset


class Subset:
    """Give some samples of a dataset, in its order."""

    def __init__(self, dataset: SegmentationDataset, indices: list[int]) -> None:
        self._dataset = dataset
        self._indices = sorted(indices)
        self.ids = tuple(dataset.ids[index] for index in self._indices)

    @property
    def labels(self) -> LabelSpace:
        """Name the classes of the targets."""
        return self._dataset.labels

    @property
    def rules(self) -> Mapping[str, str]:
        """Say by which options the targets were made."""
        return self._dataset.rules

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """Read a sample."""
        return self._dataset[self._indices[index]]

    def image_sha256(self, index: int) -> str:
        """Hash what the image is made from, without decoding it."""
        return self._dataset.image_sha256(self._indices[index])


def take_share(dataset: SegmentationDataset, share: float) -> SegmentationDataset:
    """Give a share of the samples, rounded up, as if drawn by chance; those of a smaller share are all among them.

    Which ones depends on their ids alone, not on the seed of a run.
    """
    if share >= 1:
        return dataset
    by_chance = sorted(range(len(dataset)), key=lambda i: hashlib.sha256(dataset.ids[i].encode()).digest())
    return Subset(
        dataset, by_chance[: math.ceil(Fraction(str(share)) * len(dataset))]
    )  # a float's product may end above a whole
