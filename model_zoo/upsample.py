"""Bring logits to the size of the image and take the argmax, without ever holding full-size logits.

Upsampling C channels to a large image costs more memory and time than a small network, so it is done in bands of
rows: the memory in use stays under a bound whatever the image.

Letters: C classes, h and w size of the logits, H and W size of the mask, R rows of a band.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.labels import IGNORE_INDEX
from model_zoo.segmentation import PLAIN, Segmentation, Wanted
from model_zoo.sparse_argmax import Step, one_image, sparse_argmax

_WHOLE_VALUES = 1 << 23
"""Up to so many logits, 32 MiB, are computed at once, which takes half as long as band by band."""

_BAND_VALUES = 1 << 20
"""The most logits that one band may hold: 4 MiB in float32, which processors keep in their caches."""


def segmented(scores: Tensor, steps: Sequence[Step], wanted: Wanted = PLAIN) -> Segmentation:
    """Give the mask of one image and what else is wanted of it, from scores ``[C, h, w]`` that all steps enlarge.

    Plain masks are found on a CPU by ``sparse_argmax`` wherever it can, which takes a fraction of the time.
    """
    if wanted.is_plain and scores.device.type == "cpu":
        mask = sparse_argmax(scores, steps)
        if mask is not None:
            return Segmentation(mask, torch.zeros(len(scores), dtype=torch.float64))
    if not steps or not steps[-1].is_plain:
        logits = _after(scores, steps)
        return upsample_argmax(logits, (logits.shape[1], logits.shape[2]), wanted)
    return upsample_argmax(_after(scores, steps[:-1]), steps[-1].grid, wanted)


def _after(scores: Tensor, steps: Sequence[Step]) -> Tensor:
    for step in steps:
        scores = step.apply(scores)
    return scores


def upsample_argmax(logits: Tensor, size: tuple[int, int], wanted: Wanted = PLAIN) -> Segmentation:
    """Give the mask of one image and what else is wanted of it.

    The same as ``F.interpolate(logits, size, mode="bilinear", align_corners=False)`` followed by ``argmax``. All but
    the plain mask costs a softmax per pixel.

    Args:
        logits: float ``[C, h, w]``.
        size: ``(H, W)`` of the mask.
        wanted: what is to be found; whether the logits are those of a mirrored image, too, is not seen here.

    Returns:
        The segmentation, on the device of the logits.
    """
    found = _empty(logits, size, wanted)
    for rows, band in _bands(logits, size):
        best, label = band.max(dim=2)  # [R, W] each
        if wanted.is_plain:
            found.mask[rows] = label
            continue
        total = band.logsumexp(dim=2)  # [R, W]
        certainty = torch.exp(best - total)
        is_sure = certainty >= wanted.threshold
        found.mask[rows] = torch.where(is_sure, label, IGNORE_INDEX)
        if wanted.sums:
            found.probability_sums.scatter_add_(0, label.flatten(), (certainty * is_sure).flatten().double())
        if found.confidence is not None:
            found.confidence[rows] = certainty.mul(255).round_()
        if found.probabilities is not None:
            found.probabilities[:, rows] = torch.exp(band - total[..., None]).permute(2, 0, 1)
    return found


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


def _empty(logits: Tensor, size: tuple[int, int], wanted: Wanted) -> Segmentation:
    def bytes_of() -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=logits.device)

    return Segmentation(
        mask=bytes_of(),
        probability_sums=torch.zeros(len(logits), dtype=torch.float64, device=logits.device),
        confidence=bytes_of() if wanted.confidence else None,
        probabilities=logits.new_empty((len(logits), *size), dtype=torch.float16) if wanted.probabilities else None,
    )


def _bands(logits: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
    """Give which rows and their upsampled scores, float32 ``[R, W, C]``, band by band."""
    height, width = size
    if height * width * len(logits) <= _WHOLE_VALUES:
        whole = F.interpolate(one_image(logits), size, mode="bilinear", align_corners=False)
        yield slice(0, height), whole[0].permute(1, 2, 0)
        return
    scores = logits.permute(1, 2, 0).contiguous()  # [h, w, C]: argmax runs along memory
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
