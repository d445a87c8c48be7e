"""Measure how far logits are from targets.

Letters: B batch, C classes, H and W height and width.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from model_zoo.labels import IGNORE_INDEX
from model_zoo.spec import Prediction


def segmentation_loss(prediction: Prediction, targets: Tensor, *, auxiliary_weight: float) -> Tensor:
    """Give the cross entropy of the logits plus that of all auxiliary logits times their weight."""
    loss = cross_entropy(prediction.logits, targets)
    for logits in prediction.auxiliary.values():
        loss = loss + auxiliary_weight * cross_entropy(logits, targets)
    return loss


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Give the mean cross entropy over the labelled pixels, in float32; 0 where there are none.

    Args:
        logits: ``[B, C, H, W]``, before any softmax.
        targets: int64 ``[B, H, W]``, 255 where unlabelled.
    """
    scores = logits.float().permute(0, 2, 3, 1).flatten(0, 2)  # [B*H*W, C]: softmax runs along memory in channels_last
    total = F.cross_entropy(scores, targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (targets != IGNORE_INDEX).sum().clamp(min=1)
