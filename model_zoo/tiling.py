"""Run a network over an image in parts: overlapping windows that are averaged, or tiles that join without a seam.

Letters: B batch, K channels of the image, C classes, h and w size of the image, S side of a window.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Run = Callable[[Tensor], Tensor]
"""Maps images ``[B, K, h, w]`` to logits ``[B, C, h, w]``."""

_SIGMAS_PER_SIDE = 8
"""The weight of a window's pixels falls off by a Gaussian of an eighth of its side, as in nnU-Net."""


def sliding_window(run: Run, images: Tensor, *, side: int, overlap: float) -> Tensor:
    """Average the logits of square windows, each pixel weighted most where it is in the middle of its window.

    Args:
        run: gives the logits of one window; is called with windows of ``side``, or of the image where it is smaller.
        images: float ``[B, K, h, w]``.
        side: pixels of a window's side.
        overlap: the share of a window that it has in common with the next, at least 0 and below 1.
    """
    height, width = images.shape[-2:]
    tall, wide = min(side, height), min(side, width)
    weight = torch.outer(_bell(tall), _bell(wide)).to(images.device)  # [S, S]
    total = torch.zeros((), device=images.device)
    weights = images.new_zeros(height, width)
    for top in _starts(height, tall, overlap):
        for left in _starts(width, wide, overlap):
            place = (..., slice(top, top + tall), slice(left, left + wide))
            logits = run(images[place])
            if not total.dim():
                total = logits.new_zeros(*logits.shape[:2], height, width)
            total[place] += weight * logits
            weights[place] += weight
    return total / weights


def overlap_tile(run: Run, images: Tensor, *, side: int, margin: int) -> Tensor:
    """Give logits of tiles that touch, each seen with ``margin`` pixels around it, mirrored beyond the image.

    Ronneberger, Fischer, Brox 2015, https://arxiv.org/abs/1505.04597, figure 2. A network that looks no further than
    ``margin`` gives what it would for the whole image, where ``side`` and ``margin`` are multiples of its stride. The
    paper's ``side``, 388, is none of 16: there, tiles after the first are pooled at other places.

    Args:
        run: gives the logits of one tile and its margin; its result may be smaller, by the same on opposite sides.
        images: float ``[B, K, h, w]``.
        side: pixels of a tile's side, without the margin.
        margin: pixels around a tile.
    """
    height, width = images.shape[-2:]
    rows, columns = (_mirrored(size, margin, margin + -size % side).to(images.device) for size in (height, width))
    padded = images[..., rows, :][..., columns]
    seen = side + 2 * margin
    bands = [
        torch.cat(
            [_middle(run(padded[..., y : y + seen, x : x + seen]), side) for x in range(0, width, side)],
            dim=-1,
        )
        for y in range(0, height, side)
    ]
    return torch.cat(bands, dim=-2)[..., :height, :width]


def _starts(size: int, side: int, overlap: float) -> list[int]:
    step = max(1, round(side * (1 - overlap)))
    return [*range(0, size - side, step), size - side]


def _bell(side: int) -> Tensor:
    distance = torch.arange(side) - (side - 1) / 2
    bell: Tensor = torch.exp(-0.5 * (distance * _SIGMAS_PER_SIDE / side) ** 2)
    return bell


def _mirrored(size: int, before: int, after: int) -> Tensor:
    """Give the index of each pixel of an axis that is mirrored at both ends, as often as it takes."""
    period = max(1, 2 * (size - 1))
    place = torch.arange(-before, size + after) % period
    return torch.minimum(place, period - place).clamp(max=size - 1)


def _middle(logits: Tensor, side: int) -> Tensor:
    top, left = (logits.shape[-2] - side) // 2, (logits.shape[-1] - side) // 2
    return logits[..., top : top + side, left : left + side]
