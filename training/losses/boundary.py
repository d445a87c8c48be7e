"""Teach the network to hold near objects apart: cross entropy, each pixel by its weight.

Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", equation 1,
https://arxiv.org/abs/1505.04597. The weights are those of ``training.losses.boundary_weights``.
"""

from __future__ import annotations

from torch import Tensor

from training.losses.cross_entropy import pixel_cross_entropy


def total_weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Give the sum of each labelled pixel's cross entropy times its weight, float32.

    Raises:
        ValueError: there are no weights.
    """
    if weights is None:
        raise ValueError("the boundary loss needs the weights of the pixels")
    return (pixel_cross_entropy(logits, targets) * weights).sum()
