from __future__ import annotations

import pytest
import torch

from model_zoo.architectures.deeplabv3plus import DeepLabV3Plus
from model_zoo.backbones import OutputStride


def test_row_10_and_trap_31_the_image_pool_branch_trains_on_the_smallest_batch_and_image() -> None:
    network = DeepLabV3Plus(3, decoder_channels=16).train()

    network(torch.randn(1, 3, 32, 32)).logits.sum().backward()

    pooled = network.pyramid.whole[0].weight.grad
    assert isinstance(pooled, torch.Tensor)
    assert pooled.any()


@pytest.mark.parametrize("output_stride", [8, 16])
def test_trap_35_the_output_stride_switches_without_new_weights(output_stride: OutputStride) -> None:
    dense, coarse = DeepLabV3Plus(3, output_stride=output_stride), DeepLabV3Plus(3, output_stride=32)

    coarse.load_state_dict(dense.state_dict())

    assert dense.encoder.strides[-1] == output_stride
    assert coarse.encoder.strides[-1] == 32
