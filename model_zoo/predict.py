"""Run a network over a batch and give masks: the one way that evaluation, self-test and service share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model_zoo.preprocess import NetworkInput, normalise
from model_zoo.spec import ModelSpec
from model_zoo.upsample import upsample_argmax


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Hold the mask of one image, on the CPU.

    ``mask`` is uint8 ``[H, W]``. ``probability_sums`` is float64 ``[C]``: the sum over each class's pixels of the
    softmax probability of that class, all zero when it was not asked for.
    """

    mask: Tensor
    probability_sums: Tensor


@torch.inference_mode()
def predict(
    network: nn.Module, inputs: Sequence[NetworkInput], spec: ModelSpec, *, probabilities: bool = False
) -> list[Segmentation]:
    """Segment images whose ``pixels`` all have one shape, on the device that the network is on.

    Args:
        network: in eval mode; maps ``[B, C, h, w]`` float32 to a ``Prediction``.
        inputs: one or more images as ``network_input`` gives them.
        spec: the spec that the network was built from.
        probabilities: whether the segmentations shall hold ``probability_sums``.
    """
    logits = forward(network, inputs, spec)
    return [_segmentation(one, item, probabilities) for one, item in zip(logits, inputs, strict=True)]


@torch.inference_mode()
def forward(network: nn.Module, inputs: Sequence[NetworkInput], spec: ModelSpec) -> Tensor:
    """Give the logits ``[B, C, h, w]`` of images whose ``pixels`` all have one shape, on the network's device."""
    logits: Tensor = network(network_batch(network, inputs, spec)).logits
    return logits


def network_batch(network: nn.Module, inputs: Sequence[NetworkInput], spec: ModelSpec) -> Tensor:
    """Give the normalised float32 ``[B, C, h, w]`` of images whose ``pixels`` all have one shape, on that device."""
    device = next(network.parameters()).device
    images = torch.stack([item.pixels for item in inputs]).to(device)  # [B, C, h, w] uint8
    return normalise(images, spec.input).contiguous(memory_format=torch.channels_last)


def _segmentation(logits: Tensor, item: NetworkInput, probabilities: bool) -> Segmentation:
    height, width = item.content
    mask, sums = upsample_argmax(logits[:, :height, :width], item.size, probabilities=probabilities)
    return Segmentation(mask.cpu(), sums.cpu())
