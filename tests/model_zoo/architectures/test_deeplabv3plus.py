from __future__ import annotations

import pytest
import torch
from torch import nn

from model_zoo.architectures import build
from model_zoo.architectures.deeplabv3plus import DeepLabV3Plus
from model_zoo.backbones import OutputStride


def test_row_10_and_trap_31_the_image_pool_branch_trains_on_the_smallest_batch_and_image() -> None:
    network = DeepLabV3Plus(3, decoder_channels=16).train()

    network(torch.randn(1, 3, 32, 32)).logits.sum().backward()

    pooled = network.pyramid.whole[0].weight.grad
    assert isinstance(pooled, torch.Tensor)
    assert pooled.any()


def test_row_10_and_trap_31_batch_norm_over_one_pixel_says_what_would_do() -> None:
    network = DeepLabV3Plus(3, decoder_channels=16, pool_norm="batch").train()

    with pytest.raises(ValueError, match="a batch of one image; more images, freeze_norms or pool_norm='layer'"):
        network(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("output_stride", [8, 16])
def test_trap_35_the_output_stride_switches_without_new_weights(output_stride: OutputStride) -> None:
    dense, coarse = DeepLabV3Plus(3, output_stride=output_stride), DeepLabV3Plus(3, output_stride=32)

    coarse.load_state_dict(dense.state_dict())

    assert dense.encoder.strides[-1] == output_stride
    assert coarse.encoder.strides[-1] == 32


def test_rates_follow_the_output_stride_unless_they_are_told() -> None:
    with torch.device("meta"):
        found = [DeepLabV3Plus(3), DeepLabV3Plus(3, output_stride=8), DeepLabV3Plus(3, atrous_rates="2-5-11")]

    rates = [[depthwise_rate(network, scale) for scale in (1, 2, 3)] for network in found]
    assert rates == [[6, 12, 18], [12, 24, 36], [2, 5, 11]]


@pytest.mark.parametrize("rates", ["", "6", "6-12", "6-12-18-24", "0-6-12", "6-12-100", "a-b-c"])
def test_rates_that_are_not_three_small_numbers_are_refused(rates: str) -> None:
    with pytest.raises(ValueError, match=r"deeplabv3plus has atrous_rates=[^\n]+ String should match pattern"):
        build("deeplabv3plus", 3, {"atrous_rates": rates})


def test_the_image_pool_can_have_batch_norm() -> None:
    with torch.device("meta"):
        network = DeepLabV3Plus(3, pool_norm="batch")

    assert isinstance(network.pyramid.whole[1], nn.BatchNorm2d)


def test_aligned_corners_keep_the_scores_of_corner_pixels() -> None:
    torch.manual_seed(0)
    network = DeepLabV3Plus(3, decoder_channels=8, align_corners=True).eval()
    scores: list[torch.Tensor] = []
    network.score.register_forward_hook(lambda _module, _inputs, output: scores.append(output))

    with torch.inference_mode():
        logits = network(torch.randn(1, 3, 64, 96)).logits

    torch.testing.assert_close(logits[..., ::63, ::95], scores[0][..., ::15, ::23])


def depthwise_rate(network: DeepLabV3Plus, scale: int) -> int:
    layer = network.pyramid.scales.get_submodule(f"{scale}.0")
    assert isinstance(layer, nn.Conv2d)
    return layer.dilation[0]
