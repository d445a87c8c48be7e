"""Run a network with PyTorch, eagerly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from model_zoo.checkpoint import Checkpoint
from model_zoo.predict import Segmentation, predict
from model_zoo.preprocess import NetworkInput
from model_zoo.spec import ModelSpec
from service.runtimes.runtime import Runtime
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class TorchRuntime:
    """Hold a network on its device."""

    network: nn.Module
    spec: ModelSpec
    precision: str
    weights_bytes: int
    precision_note: str | None = None

    def __call__(self, inputs: Sequence[NetworkInput], *, probabilities: bool) -> list[Segmentation]:
        """Segment a batch."""
        return predict(self.network, inputs, self.spec, probabilities=probabilities)


def build_torch(checkpoint: Checkpoint, device: torch.device, _settings: Settings) -> Runtime:
    """Move a checkpoint's network to the device and give the runtime that runs it."""
    network = checkpoint.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    weights_bytes = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    return TorchRuntime(network, checkpoint.header.spec, "float32", weights_bytes)
