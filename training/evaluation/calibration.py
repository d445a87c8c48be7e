"""Score whether a network is as sure as it is right.

Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.

Letters: H and W height and width, N bins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX

NUM_BINS = 15
"""The paper's."""


class Calibration:
    """Count, over a whole set, how often pixels of each range of confidence have the right class.

    The ranges are of one width; each takes its upper bound in and leaves its lower bound out.
    """

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self._bounds = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)[1:-1]
        self.pixels = torch.zeros(num_bins, dtype=torch.int64)
        self.hits = torch.zeros(num_bins, dtype=torch.int64)
        self.confidence = torch.zeros(num_bins, dtype=torch.float64)

    def update(self, target: Tensor, mask: Tensor, confidence: Tensor) -> None:
        """Count the labelled pixels of one image: integer ``[H, W]`` twice, and each pixel's probability ``[H, W]``."""
        labelled = target != IGNORE_INDEX
        sure = confidence[labelled].double()
        place = torch.bucketize(sure, self._bounds)
        right = place[target[labelled].long() == mask[labelled].long()]
        num_bins = len(self.pixels)
        self.pixels += torch.bincount(place, minlength=num_bins)
        self.hits += torch.bincount(right, minlength=num_bins)
        self.confidence += torch.bincount(place, weights=sure, minlength=num_bins)

    @property
    def expected_error(self) -> float:
        """Give the mean gap between confidence and accuracy, each range weighted by its pixels; NaN of none."""
        return float((self.hits - self.confidence).abs().sum() / self.pixels.sum())
