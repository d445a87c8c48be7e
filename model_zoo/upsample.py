"""Bring logits to the size of the image and take the argmax, without ever holding full-size logits.

Upsampling C channels to a large image costs more memory and time than a small network, so it is done in bands of
rows: the memory in use stays under a bound whatever the image.

Letters: C classes, h and w size of the logits, H and W size of the mask, R rows of a band.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BAND_VALUES = 1 << 22
"""The most logits that one band may hold: 16 MiB in float32."""


def upsample_argmax(logits: Tensor, size: tuple[int, int], *, probabilities: bool = False) -> tuple[Tensor, Tensor]:
    """Give the mask of one image and, if asked, how sure the network is of each class in it.

    The same as ``F.interpolate(logits, size, mode="bilinear", align_corners=False)`` followed by ``argmax``.

    Args:
        logits: float ``[C, h, w]``.
        size: ``(H, W)`` of the mask.
        probabilities: whether to compute the second result, which costs a softmax per pixel.

    Returns:
        The mask, uint8 ``[H, W]``, and float64 ``[C]``: the sum over a class's pixels of its softmax probability
        (all zero when not asked for), both on the device of the logits.
    """
    mask = torch.empty(size, dtype=torch.uint8, device=logits.device)
    sums = torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
    for rows, band in _bands(logits, size):
        best, label = band.max(dim=2)
        mask[rows] = label
        if probabilities:
            certainty = torch.exp(best - band.logsumexp(dim=2)).double()
            sums.scatter_add_(0, label.flatten(), certainty.flatten())
    return mask, sums


def upsample_confidence(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Give the mask of one image, as ``upsample_argmax`` does, and the softmax probability of each pixel's class.

    Args:
        logits: float ``[C, h, w]``.
        size: ``(H, W)`` of the mask.

    Returns:
        uint8 ``[H, W]`` and float32 ``[H, W]``, both on the device of the logits.
    """
    mask = torch.empty(size, dtype=torch.uint8, device=logits.device)
    confidence = torch.empty(size, device=logits.device)
    for rows, band in _bands(logits, size):
        best, label = band.max(dim=2)
        mask[rows] = label
        confidence[rows] = torch.exp(best - band.logsumexp(dim=2))
    return mask, confidence


def _bands(logits: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
    """Give which rows and their upsampled scores, float32 ``[R, W, C]``, band by band."""
    scores = logits.permute(1, 2, 0).contiguous()  # [h, w, C]: argmax runs along memory
    height, width = size
    rows = max(1, _BAND_VALUES // (width * scores.shape[2]))
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        yield slice(start, stop), _upsample_rows(scores, size, start, stop).float()


def _upsample_rows(scores: Tensor, size: tuple[int, int], start: int, stop: int) -> Tensor:
    """Give rows ``start`` to ``stop`` of the bilinearly upsampled scores, ``[R, W, C]``."""
    if scores.shape[:2] == size:
        return scores[start:stop]
    y0, y1, y = _neighbours(scores.shape[0], size[0], scores, start, stop)
    x0, x1, x = _neighbours(scores.shape[1], size[1], scores, 0, size[1])
    rows = torch.lerp(scores[y0], scores[y1], y[:, None, None])  # [R, w, C]
    return torch.lerp(rows[:, x0], rows[:, x1], x[:, None])  # [R, W, C]


def _neighbours(source: int, target: int, like: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give for each output index the two inputs it lies between and the share of the second (half-pixel centres)."""
    index = torch.arange(start, stop, device=like.device, dtype=torch.float32)
    position = ((index + 0.5) * (source / target) - 0.5).clamp_(min=0)
    first = position.long().clamp_(max=source - 1)
    second = (first + 1).clamp_(max=source - 1)
    return first, second, (position - first).to(like.dtype)
