"""Make masks without a network: for tests of the service, and for measuring what the service itself costs.

The class of a pixel is its red value modulo the number of classes, with the probability 1, so that every image gets a
mask of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_zoo.checkpoint import Checkpoint
from model_zoo.preprocess import NetworkInput
from model_zoo.segmentation import Segmentation, Wanted
from service.runtimes.runtime import Runtime
from service.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NullRuntime:
    """Take ``batch_seconds`` for a batch, and fail on one that holds an image whose first pixel is ``fail_color``."""

    num_classes: int
    batch_seconds: float
    fail_color: tuple[int, ...] | None
    precision: str = "none"
    precision_note: str | None = None
    weights_bytes: int = 0

    def __call__(self, inputs: Sequence[NetworkInput], wanted: Sequence[Wanted]) -> list[Segmentation]:
        """Give the masks of a batch."""
        time.sleep(self.batch_seconds)
        if self.fail_color and self.fail_color in [tuple(item.pixels[:, 0, 0].tolist()) for item in inputs]:
            raise RuntimeError("an image has the colour that makes the null runtime fail")
        return [self._segment(item, wish) for item, wish in zip(inputs, wanted, strict=True)]

    def _segment(self, item: NetworkInput, wanted: Wanted) -> Segmentation:
        red = item.pixels[0, : item.content[0], : item.content[1]].numpy()
        mask = _nearest(red, item.size) % self.num_classes
        counts = np.bincount(mask.ravel(), minlength=self.num_classes) if wanted.sums else np.zeros(self.num_classes)
        return Segmentation(
            torch.from_numpy(mask),
            torch.from_numpy(counts.astype(np.float64)),
            torch.full(mask.shape, 255, dtype=torch.uint8) if wanted.confidence else None,
            _one_hot(mask, self.num_classes) if wanted.probabilities else None,
        )


def build_null(checkpoint: Checkpoint, _device: torch.device, settings: Settings) -> Runtime:
    """Give a runtime that knows of the checkpoint only how many classes it has.

    Raises:
        RuntimeError: The settings say that no model can be loaded.
    """
    log.warning("THE NULL RUNTIME MAKES MASKS WITHOUT A NETWORK", extra={"model": checkpoint.header.name})
    if settings.null_fail_load:
        raise RuntimeError("null_fail_load is set")
    color = settings.null_fail_color
    return NullRuntime(
        checkpoint.header.spec.num_classes,
        settings.null_batch_seconds,
        None if color is None else tuple(bytes.fromhex(color)),
    )


def _one_hot(mask: NDArray[np.uint8], num_classes: int) -> Tensor:
    return torch.from_numpy(mask == np.arange(num_classes)[:, None, None]).half()


def _nearest(plane: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a plane ``[h, w]`` to ``size`` ``(H, W)``."""
    if plane.shape == size:
        return plane
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, plane.shape, strict=True))
    resized: NDArray[np.uint8] = plane[rows[:, None], columns]
    return resized
