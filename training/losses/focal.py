"""Weigh down what the network is sure of already.

Lin, Goyal, Girshick, He, Dollar 2017, "Focal Loss for Dense Object Detection", https://arxiv.org/abs/1708.02002: its
multi-class form on the softmax, whose probabilities are those that are served. Torchvision's and
segmentation-models-pytorch's see every class as a yes or no of its own; kornia's is this one, at a price of 30 MB.
"""

from __future__ import annotations

from torch import Tensor

from training.losses.cross_entropy import pixel_cross_entropy

GAMMA = 2.0
"""How fast the weight falls with the probability of the true class: the paper's."""


def total_focal(logits: Tensor, targets: Tensor, _: Tensor | None = None) -> Tensor:
    """Give the sum of ``-(1 - p) ** GAMMA * log(p)`` over the labelled pixels, p that of the true class; float32."""
    losses = pixel_cross_entropy(logits, targets)
    doubt = -losses.neg().expm1()  # 1 - p, without cancellation where p is near 1
    return (doubt**GAMMA * losses).sum()
