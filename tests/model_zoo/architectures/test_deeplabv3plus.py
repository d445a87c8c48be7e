from __future__ import annotations

import torch

from model_zoo.architectures.deeplabv3plus import DeepLabV3Plus


def test_trap_31_the_image_pool_branch_trains_on_the_smallest_batch_and_image() -> None:
    network = DeepLabV3Plus(3, decoder_channels=16).train()

    network(torch.randn(1, 3, 32, 32)).logits.sum().backward()

    pooled = network.pyramid.whole[0].weight.grad
    assert isinstance(pooled, torch.Tensor)
    assert pooled.any()


def test_the_output_stride_switches_without_new_weights() -> None:
    torch.manual_seed(0)
    dense, coarse = DeepLabV3Plus(3, output_stride=16), DeepLabV3Plus(3, output_stride=32)

    coarse.load_state_dict(dense.state_dict())

    assert dense.encoder.strides == (2, 4, 8, 16, 16)
    assert coarse.encoder.strides == (2, 4, 8, 16, 32)
