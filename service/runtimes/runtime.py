"""Say what a runtime is: a way to run a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from model_zoo.checkpoint import Checkpoint
from model_zoo.preprocess import NetworkInput
from model_zoo.segmentation import Segmentation, Wanted
from service.settings import Settings


class Runtime(Protocol):
    """Segment images whose ``pixels`` have one shape; called from the device's thread only."""

    @property
    def precision(self) -> str:
        """Say in what the network computes: float32, bfloat16, float16, or none."""
        ...

    @property
    def precision_note(self) -> str | None:
        """Say in public words why this is not what was asked for, if it is not."""
        ...

    @property
    def weights_bytes(self) -> int:
        """Say how much of the device's memory the weights take."""
        ...

    def __call__(self, inputs: Sequence[NetworkInput], wanted: Sequence[Wanted]) -> list[Segmentation]:
        """Give one segmentation an image, in their order, with what is wanted of each."""
        ...


RuntimeBuilder = Callable[[Checkpoint, torch.device, Settings], Runtime]
