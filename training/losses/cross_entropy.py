"""Measure cross entropy: how surprised the softmax is by the true class.

Letters: B batch, C classes, H and W height and width.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from model_zoo.labels import IGNORE_INDEX


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Give the mean over the labelled pixels, in float32; 0 where there are none.

    Args:
        logits: ``[B, C, H, W]``, before any softmax.
        targets: int64 ``[B, H, W]``, 255 where unlabelled.
    """
    return total_cross_entropy(logits, targets) / (targets != IGNORE_INDEX).sum().clamp(min=1)


def total_cross_entropy(logits: Tensor, targets: Tensor, _: Tensor | None = None) -> Tensor:
    """Give the sum over the labelled pixels, float32."""
    return F.cross_entropy(_by_pixel(logits), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")


def pixel_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Give that of every pixel, float32 ``[B, H, W]``; 0 where unlabelled."""
    losses = F.cross_entropy(_by_pixel(logits), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="none")
    return losses.reshape(targets.shape)


def _by_pixel(logits: Tensor) -> Tensor:
    return logits.float().permute(0, 2, 3, 1).flatten(0, 2)  # [B*H*W, C]: softmax runs along memory in channels_last
