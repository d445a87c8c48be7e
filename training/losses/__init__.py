"""Measure how far logits are from targets: the losses, by name, and how they are added and divided.

Every loss is a sum over pixels or over images. Sums add up: divided by what the whole step counts, over all its
micro-batches and processes, they give what one large batch would give, wherever the void pixels lie.

Letters: B batch, C classes, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from model_zoo.labels import IGNORE_INDEX
from model_zoo.spec import Prediction
from training.losses.boundary import total_weighted_cross_entropy
from training.losses.cross_entropy import cross_entropy, total_cross_entropy
from training.losses.focal import total_focal
from training.losses.hard_pixels import total_hard_cross_entropy
from training.losses.overlap import total_dice, total_lovasz
from training.losses.sampling import sample_pixels

__all__ = ["LOSSES", "Counts", "Loss", "Unit", "count", "cross_entropy", "sample_pixels", "segmentation_loss"]

Unit = Literal["pixel", "image"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Say how a loss is summed over a batch, and by what the sum is divided.

    ``total`` maps logits ``[B, C, H, W]``, targets int64 ``[B, H, W]``, 255 where unlabelled, and the pixels' weights,
    float32 ``[B, H, W]``, to a float32 scalar. ``unit`` is what is counted: the labelled pixels, or the images that
    have any. Weights are read by losses that are ``weighted`` alone, and these need them.
    """

    total: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    unit: Unit
    weighted: bool = False


LOSSES: Mapping[str, Loss] = {
    "boundary": Loss(total_weighted_cross_entropy, "pixel", weighted=True),
    "cross_entropy": Loss(total_cross_entropy, "pixel"),
    "dice": Loss(total_dice, "image"),
    "focal": Loss(total_focal, "pixel"),
    "lovasz": Loss(total_lovasz, "image"),
    "ohem": Loss(total_hard_cross_entropy, "image"),
}
CROSS_ENTROPY: Mapping[str, float] = {"cross_entropy": 1.0}


class Counts(NamedTuple):
    """Hold what the sums of a step are divided by, over all its micro-batches and processes."""

    pixels: float
    images: float


def count(targets: Tensor) -> Counts:
    """Count the labelled pixels of ``targets``, integer ``[B, H, W]``, and the images that have any."""
    pixels = (targets != IGNORE_INDEX).flatten(1).sum(1)  # [B]
    return Counts(int(pixels.sum()), int(pixels.count_nonzero()))


def segmentation_loss(  # noqa: PLR0913  # what is compared, how, and over what
    prediction: Prediction,
    targets: Tensor,
    *,
    terms: Mapping[str, float] = CROSS_ENTROPY,
    auxiliary_weight: float,
    counts: Counts | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Give the weighted sum of the terms, float32, plus that of all auxiliary logits times ``auxiliary_weight``.

    It is 0, and so is its gradient, where nothing is labelled.

    Args:
        prediction: logits ``[B, C, H, W]``, before any softmax.
        targets: int64 ``[B, H, W]``, 255 where unlabelled.
        terms: the weights of the losses, by their names in ``LOSSES``; one at least is not 0.
        auxiliary_weight: the weight of auxiliary logits.
        counts: what the sums are divided by; of this batch alone if it is not given.
        pixel_weights: float32 ``[B, H, W]``, for losses that are weighted.
    """
    counts = count(targets) if counts is None else counts
    units = {"pixel": max(1, counts.pixels), "image": max(1, counts.images)}

    def loss(logits: Tensor) -> Tensor:
        parts = [(LOSSES[name], weight) for name, weight in terms.items() if weight]
        return torch.stack([w / units[p.unit] * p.total(logits, targets, pixel_weights) for p, w in parts]).sum()

    auxiliary = [auxiliary_weight * loss(logits) for logits in prediction.auxiliary.values()]
    return torch.stack([loss(prediction.logits), *auxiliary]).sum()
