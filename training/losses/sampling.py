"""Learn from a random share of the pixels.

Long, Shelhamer, Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", section 3.4: to sample the loss
is what patchwise training comes to. https://arxiv.org/abs/1411.4038.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX


def sample_pixels(targets: Tensor, share: float) -> Tensor:
    """Keep each label with the chance ``share``, drawn from torch's default generator; the others become 255.

    Args:
        targets: integer ``[B, H, W]``, 255 where unlabelled.
        share: 0 to 1.
    """
    return targets.masked_fill(torch.rand(targets.shape, device=targets.device) >= share, IGNORE_INDEX)
