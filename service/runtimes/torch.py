"""Run a network with PyTorch, eagerly."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from model_zoo.checkpoint import Checkpoint
from model_zoo.predict import predict
from model_zoo.preprocess import NetworkInput
from model_zoo.segmentation import Segmentation, Wanted
from model_zoo.spec import ModelSpec
from service.precision import DTYPES, precision_for
from service.runtimes.lowering import lowered, objection
from service.runtimes.runtime import Runtime
from service.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TorchRuntime:
    """Hold a network on its device."""

    network: nn.Module
    spec: ModelSpec
    precision: str = "float32"
    precision_note: str | None = None

    @property
    def weights_bytes(self) -> int:
        """Count the bytes of the network's weights, in the precision that they have now."""
        return sum(tensor.nbytes for tensor in (*self.network.parameters(), *self.network.buffers()))

    def __call__(self, inputs: Sequence[NetworkInput], wanted: Sequence[Wanted]) -> list[Segmentation]:
        """Segment a batch."""
        return predict(self.network, inputs, self.spec, wanted=wanted)


def build_torch(checkpoint: Checkpoint, device: torch.device, settings: Settings) -> Runtime:
    """Move a checkpoint's network to the device and give the runtime that runs it.

    It runs in the precision that the settings ask for or, where masks would suffer, in float32.

    Raises:
        BadSetting: The settings ask for a precision that does not exist.
    """
    spec = checkpoint.header.spec
    precision = precision_for(settings.precision, device)
    network = checkpoint.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    if precision == "float32":
        return TorchRuntime(network, spec)
    lower = lowered(network, DTYPES[precision])
    reason = objection(network, lower, spec)
    if reason is None:
        return TorchRuntime(lower, spec, precision)
    note = f"{precision} was asked for, but {reason}"
    log.warning("network falls back to float32", extra={"model": checkpoint.header.name, "reason": note})
    return TorchRuntime(network, spec, precision_note=note)
