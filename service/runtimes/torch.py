"""Run a network with PyTorch, eagerly."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model_zoo.checkpoint import Checkpoint
from model_zoo.predict import Segmentation, predict
from model_zoo.preprocess import NetworkInput
from service.runtimes.runtime import Runtime


def build_torch(checkpoint: Checkpoint, device: torch.device) -> Runtime:
    """Move a checkpoint's network to the device and give the runtime that runs it."""
    network = checkpoint.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    spec = checkpoint.header.spec

    def run(inputs: Sequence[NetworkInput], *, probabilities: bool) -> list[Segmentation]:
        return predict(network, inputs, spec, probabilities=probabilities)

    return run
