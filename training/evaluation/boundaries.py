"""Score how well the outlines of classes are met: intersection over union near the boundaries alone.

Cheng, Girshick, Dollar, Berg, Kirillov 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
https://arxiv.org/abs/2103.16562.

Letters: C classes, H and W height and width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX
from training.evaluation.metrics import ConfusionMatrix

DILATION_RATIO = 0.02
"""The width of a boundary, as a share of the image's diagonal: the paper's."""


class BoundaryMatrix:
    """Count, over a whole set, the pixels of each class that lie near its boundary in target and in mask.

    A pixel without a label counts nowhere, and the target has no boundary there that the mask has not.
    """

    def __init__(self, num_classes: int, *, dilation_ratio: float = DILATION_RATIO) -> None:
        self._ratio = dilation_ratio
        self._matrix = ConfusionMatrix(num_classes + 1)  # the last class is what lies away from all boundaries

    def update(self, target: Tensor, mask: Tensor) -> None:
        """Count one image; ``target`` and ``mask`` are integer ``[H, W]``."""
        labelled = target != IGNORE_INDEX
        width = boundary_width(target.shape[0], target.shape[1], self._ratio)
        inside = len(self._matrix.counts) - 1
        true, found = torch.where(labelled, target.long(), mask.long()), mask.long()
        true = torch.where(near_boundary(true, width), true, inside)
        found = torch.where(near_boundary(found, width), found, inside)
        self._matrix.update(torch.where(labelled, true, IGNORE_INDEX), found)

    @property
    def iou(self) -> Tensor:
        """Give the boundary IoU of each class, float64 ``[C]``; NaN where the targets have no boundary of it."""
        return self._matrix.iou[:-1]

    @property
    def mean_iou(self) -> float:
        """Give the mean of ``iou``."""
        return float(self.iou.nanmean())


def boundary_width(height: int, width: int, ratio: float = DILATION_RATIO) -> int:
    """Give how many pixels from its outline a class's boundary reaches, at least one."""
    return max(1, round(ratio * math.hypot(height, width)))


def near_boundary(labels: Tensor, width: int) -> Tensor:
    """Say of each pixel of ``labels`` ``[H, W]`` whether another class or the border is within ``width``, bool."""
    padded = F.pad(labels.float(), (width,) * 4, value=-1)[None]  # [1, H + 2 width, W + 2 width]
    side = 2 * width + 1
    highest = F.max_pool2d(F.max_pool2d(padded, (side, 1), stride=1), (1, side), stride=1)[0]
    lowest = -F.max_pool2d(F.max_pool2d(-padded, (side, 1), stride=1), (1, side), stride=1)[0]
    return highest != lowest
