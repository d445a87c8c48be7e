"""Keep those images of an evaluation that come out best and worst, to look at."""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass

from torch import Tensor

from training.datasets import Sample
from training.datasets.sample import Target
from training.evaluation.metrics import ConfusionMatrix


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """Hold a sample, the mask that was found for it, and its mIoU over the classes that its target has."""

    sample: Sample
    mask: Target
    score: float

    def with_mask(self) -> Sample:
        """Give the sample with the mask in the place of the target."""
        return Sample(self.sample.id, self.sample.image, self.mask)


class Extremes:
    """Take the images of an evaluation one by one and keep ``each`` of the best and of the worst, no image twice.

    An image without any labelled pixel has no score and is passed over.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._kept: list[ScoredImage] = []  # the worst first

    def watch(self, sample: Sample, mask: Tensor, matrix: ConfusionMatrix) -> None:
        """Look at one image: its mask, uint8 ``[H, W]``, and its counts."""
        if math.isnan(matrix.mean_iou):
            return
        insort(self._kept, ScoredImage(sample, mask.numpy(), matrix.mean_iou), key=lambda one: one.score)
        if len(self._kept) > 2 * self._each:
            del self._kept[self._each]  # neither among the worst nor among the best so far

    @property
    def best(self) -> list[ScoredImage]:
        """Give the best, the very best first."""
        return self._kept[::-1][: self._each]

    @property
    def worst(self) -> list[ScoredImage]:
        """Give the worst, the very worst first, but those that are among the best of a small set."""
        return self._kept[: max(0, len(self._kept) - self._each)]
