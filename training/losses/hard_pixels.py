"""Learn from the pixels alone that the network has not learnt yet.

Shrivastava, Gupta, Girshick 2016, "Training Region-based Object Detectors with Online Hard Example Mining",
https://arxiv.org/abs/1604.03540, by pixels as in mmsegmentation, which cannot be had without its own framework.

Letters: B batch, K pixels of an image that are kept at least, P pixels of an image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX
from training.losses.cross_entropy import pixel_cross_entropy

SURE = 0.7
"""A pixel is hard where the true class is less probable than this: mmsegmentation's threshold."""
KEPT_SHARE = 1 / 16
"""What is kept of an image's labelled pixels at least, the hardest first: a share, so that it fits every crop."""


def total_hard_cross_entropy(logits: Tensor, targets: Tensor, _: Tensor | None = None) -> Tensor:
    """Give the sum over the images of the mean cross entropy of their hard pixels, float32.

    Pixels are kept image by image, so that no image decides what is learnt from another.
    """
    losses = pixel_cross_entropy(logits, targets).flatten(1)  # [B, P], 0 where unlabelled
    fewest = (targets.flatten(1) != IGNORE_INDEX).sum(1, keepdim=True).mul(KEPT_SHARE).ceil()  # [B, 1]
    kept = _are_hard(losses.detach(), fewest)
    return ((losses * kept).sum(1) / kept.sum(1).clamp(min=1)).sum()


def _are_hard(losses: Tensor, fewest: Tensor) -> Tensor:
    """Say which of ``losses`` ``[B, P]`` are kept, bool; of those that are equal no more than are wanted."""
    hard = losses > -math.log(SURE)
    hardest = losses.topk(math.ceil(losses.shape[1] * KEPT_SHARE)).indices  # [B, K]
    wanted = torch.arange(hardest.shape[1], device=losses.device) < fewest
    return hard.scatter(1, hardest, hard.gather(1, hardest) | wanted)
