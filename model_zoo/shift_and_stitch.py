"""Get a score for every pixel from a network with coarse scores, by running it on every shift of the image.

Long, Shelhamer, Darrell 2015, https://arxiv.org/abs/1411.4038, section 3.2. The result is that of the same network with
its strides removed and its later layers dilated, for as many passes as a cell of its grid has pixels.

Letters: B batch, K channels of the image, C classes, h and w size of the image, f stride of the network, s step of the
shifts.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from model_zoo.architectures.layers import mirror_pad

CoarseRun = Callable[[Tensor], Tensor]
"""Maps images ``[B, K, h, w]``, their sides multiples of f, to scores ``[B, C, h/f, w/f]``."""


def shift_and_stitch(run: CoarseRun, images: Tensor, *, stride: int, step: int = 1, shifts_at_once: int = 1) -> Tensor:
    """Give scores ``[B, C, h/s, w/s]`` of images ``[B, K, h, w]``, by cells whose middles are a step apart.

    The image is mirrored at its border, where a network that pads inside differs a little from the dilated one. Where
    the step does not divide the sides, the last scores lie half outside of the image.

    Args:
        run: gives the coarse scores, as ``FCN.coarse_scores`` does; is called for ``(f/s)**2`` shifts of each image.
        images: float ``[B, K, h, w]``.
        stride: pixels of the image for each score of ``run``.
        step: pixels from one shift to the next, a divisor of ``stride``; 1 gives a score for every pixel.
        shifts_at_once: how many shifted images are stacked to one batch.

    Raises:
        ValueError: ``run`` has another stride, or pads as ``FCN(padding="caffe")`` does; or the step does not fit.
    """
    if step < 1 or stride % step:
        raise ValueError(f"a step of {step} px does not divide the stride of {stride} px")
    height, width = images.shape[-2:]
    tall, wide = height + -height % stride, width + -width % stride
    before, most = stride // 2 - step // 2, stride - step
    padded = mirror_pad(
        images, height=(before, tall + most - height - before), width=(before, wide + most - width - before)
    )
    shifts = list(product(range(0, stride, step), repeat=2))
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
    scores = scores.view(stride // step, stride // step, -1, *scores.shape[1:])  # [f/s, f/s, B, C, h/f, w/f]
    stitched = scores.permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)  # [B, C, h/s, w/s]
    return stitched[..., : -(-height // step), : -(-width // step)]
