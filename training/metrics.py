"""Count which class was taken for which, once over a whole set, and derive every score from that one matrix.

Letters: C classes, H and W height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX


class ConfusionMatrix:
    """Hold how many pixels of each class (row) were given each class (column), int64 ``[C, C]``.

    A class of which the set has no pixel scores NaN and is left out of every mean.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def update(self, target: Tensor, mask: Tensor) -> None:
        """Count the labelled pixels of one image or more.

        Args:
            target: integer ``[H, W]`` or ``[B, H, W]``, 255 where unlabelled.
            mask: integer, of the same shape.

        Raises:
            ValueError: the shapes differ, or a class is outside the table.
        """
        if target.shape != mask.shape:
            raise ValueError(f"target is {list(target.shape)}, mask is {list(mask.shape)}")
        num_classes = len(self.counts)
        labelled = target != IGNORE_INDEX
        true, found = target[labelled].long(), mask[labelled].long()
        if true.numel() == 0:
            return
        for name, values in (("target", true), ("mask", found)):
            low, high = (int(bound) for bound in torch.aminmax(values))
            if low < 0 or high >= num_classes:
                raise ValueError(f"{name} has class {low if low < 0 else high}, classes are 0 to {num_classes - 1}")
        pairs = torch.bincount(num_classes * true + found, minlength=num_classes**2)
        self.counts += pairs.view(num_classes, num_classes).to(self.counts.device)

    @property
    def iou(self) -> Tensor:
        """Give the intersection over union of each class, float64 ``[C]``."""
        hits = self.counts.diagonal().double()
        union = (self.counts.sum(0) + self.counts.sum(1)).double() - hits
        return torch.where(self._is_present, hits / union, torch.nan)

    @property
    def accuracy(self) -> Tensor:
        """Give the share of each class's pixels that were found, float64 ``[C]``."""
        return torch.where(self._is_present, self.counts.diagonal() / self.counts.sum(1).double(), torch.nan)

    @property
    def mean_iou(self) -> float:
        """Give the mean of ``iou``."""
        return float(self.iou.nanmean())

    @property
    def mean_accuracy(self) -> float:
        """Give the mean of ``accuracy``."""
        return float(self.accuracy.nanmean())

    @property
    def pixel_accuracy(self) -> float:
        """Give the share of all labelled pixels that have their own class; NaN where there are none."""
        return float(self.counts.diagonal().sum().double() / self.counts.sum())

    @property
    def frequency_weighted_iou(self) -> float:
        """Give the mean of ``iou``, each class weighted with its share of the pixels; NaN where there are none."""
        frequency = self.counts.sum(1).double() / self.counts.sum()
        return float((frequency * self.iou).nansum()) if self._is_present.any() else float("nan")

    @property
    def _is_present(self) -> Tensor:
        return self.counts.sum(1) > 0
