"""Measure the overlap of what is predicted and what is true, class by class: Dice and Lovasz-Softmax.

Milletari, Navab, Ahmadi 2016, "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation",
https://arxiv.org/abs/1606.04797; Berman, Rannen Triki, Blaschko 2018, "The Lovasz-Softmax loss",
https://arxiv.org/abs/1705.08790.

An image's loss is the mean over the classes that it has: one that is absent has no overlap to miss. No library has both
so: segmentation-models-pytorch's Dice is one of the whole batch and divides by the absent classes too, and its Lovasz
breaks on an image without labels; kornia's Dice gives 1 for such an image, and its Lovasz knows no void.

Letters: B batch, C classes, H and W height and width, P pixels of an image, R rows: a class in an image that has it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX


class Rows(NamedTuple):
    """Hold every class in every image that has it."""

    probabilities: Tensor  # float32 [R, P], 0 where unlabelled
    truth: Tensor  # bool [R, P], the pixels of the class
    share: Tensor  # float32 [R], one by the number of classes in the image


def total_dice(logits: Tensor, targets: Tensor, _: Tensor | None = None) -> Tensor:
    """Give the sum over the images of one minus the soft Dice score, without smoothing; float32."""
    rows = _present_classes(logits, targets)
    shared = (rows.probabilities * rows.truth).sum(1)
    sizes = rows.probabilities.sum(1) + rows.truth.sum(1)  # never 0: the class is there
    return (rows.share * (1 - 2 * shared / sizes)).sum()


def total_lovasz(logits: Tensor, targets: Tensor, _: Tensor | None = None) -> Tensor:
    """Give the sum over the images of the Lovasz extension of one minus the IoU, at the softmax's errors; float32."""
    rows = _present_classes(logits, targets)
    errors = (rows.truth.float() - rows.probabilities).abs()  # 0 where unlabelled, which then weighs nothing
    errors, order = errors.sort(1, descending=True)
    return (rows.share[:, None] * errors * _jaccard_steps(rows.truth.gather(1, order))).sum()


def _present_classes(logits: Tensor, targets: Tensor) -> Rows:
    classes = targets.flatten(1)  # [B, P]
    present = torch.zeros(len(targets), IGNORE_INDEX + 1, dtype=torch.bool, device=targets.device)
    present = present.scatter_(1, classes, value=True)[:, : logits.shape[1]]  # [B, C]
    image, label = present.nonzero(as_tuple=True)
    probabilities = logits.float().flatten(2).softmax(1)[image, label]  # [R, P]
    classes = classes[image]
    return Rows(
        probabilities=probabilities.masked_fill(classes == IGNORE_INDEX, 0),
        truth=classes == label[:, None],
        share=1 / present.sum(1)[image],
    )


def _jaccard_steps(truth: Tensor) -> Tensor:
    """Give how much the Jaccard loss grows with each pixel of ``truth`` that is got wrong, in order, ``[R, P]``."""
    hits = truth.cumsum(1, dtype=torch.int32)
    misses = torch.arange(1, truth.shape[1] + 1, dtype=torch.int32, device=truth.device) - hits
    size = hits[:, -1:]
    losses = 1 - (size - hits) / (size + misses)
    return torch.cat([losses[:, :1], losses.diff(dim=1)], dim=1)
