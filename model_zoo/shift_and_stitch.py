"""Get a score for every pixel from a network with coarse scores, by running it on every shift of the image.

Long, Shelhamer, Darrell 2015, https://arxiv.org/abs/1411.4038, section 3.2. The result is that of the same network with
its strides removed and its later layers dilated, for as many passes as a cell of its grid has pixels.

Letters: B batch, K channels of the image, C classes, h and w size of the image, f stride of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from model_zoo.architectures.layers import mirror_pad

CoarseRun = Callable[[Tensor], Tensor]
"""Maps images ``[B, K, h, w]``, their sides multiples of f, to scores ``[B, C, h/f, w/f]``."""


def shift_and_stitch(run: CoarseRun, images: Tensor, *, stride: int, shifts_at_once: int = 1) -> Tensor:
    """Give scores ``[B, C, h, w]`` of images ``[B, K, h, w]``, each pixel being once the middle of a cell.

    The image is mirrored at its border, where a network that pads inside differs a little from the dilated one.

    Args:
        run: gives the coarse scores, as ``FCN.coarse_scores`` does; is called for ``stride**2`` shifts of each image.
        images: float ``[B, K, h, w]``.
        stride: pixels of the image for each score of ``run``.
        shifts_at_once: how many shifted images are stacked to one batch.

    Raises:
        ValueError: ``run`` has another stride, or pads as ``FCN(padding="caffe")`` does.
    """
    height, width = images.shape[-2:]
    tall, wide = height + -height % stride, width + -width % stride
    before = stride // 2
    padded = mirror_pad(
        images,
        height=(before, tall + stride - 1 - height - before),
        width=(before, wide + stride - 1 - width - before),
    )
    shifts = list(product(range(stride), repeat=2))
    parts = []
    for start in range(0, len(shifts), shifts_at_once):
        some = shifts[start : start + shifts_at_once]
        shifted = torch.cat([padded[..., y : y + tall, x : x + wide] for y, x in some])
        parts.append(run(shifted))  # [shifts * B, C, h/f, w/f]
    scores = torch.cat(parts)
    if scores.shape[-2:] != (tall // stride, wide // stride):
        raise ValueError(
            f"run gave {list(scores.shape[-2:])} scores for {tall}x{wide} px, which is no stride of {stride}"
        )
    scores = scores.view(stride, stride, -1, *scores.shape[1:])  # [f, f, B, C, h/f, w/f]
    stitched = scores.permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)  # [B, C, h, w]
    return stitched[..., :height, :width]
