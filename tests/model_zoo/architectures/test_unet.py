from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.architectures.unet import UNet


def test_row_15_the_paper_network_has_23_convolutions_and_31_million_parameters() -> None:
    with torch.device("meta"):
        network = UNet(2, in_channels=1, padding="valid", norm="none")

    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    assert sum(p.numel() for p in network.parameters()) == 31_030_658


def test_row_15_the_paper_network_maps_572_to_388_with_150_giga_mult_adds() -> None:
    with torch.device("meta"):
        network = UNet(2, in_channels=1, padding="valid", norm="none").eval()

    with FlopCounterMode(display=False) as counter:
        logits = network.valid_logits(torch.empty(1, 1, 572, 572, device="meta"))

    assert logits.shape == (1, 2, 388, 388)
    assert counter.get_total_flops() / 2e9 == pytest.approx(150.43, abs=6e-3)


@pytest.mark.parametrize("size", [(32, 32), (107, 33), (108, 109), (97, 388), (572, 700)])
def test_trap_32_a_valid_network_mirrors_the_border_and_labels_every_pixel(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = UNet(3, base_channels=4, padding="valid")

    assert network(torch.empty(1, 3, *size, device="meta")).logits.shape == (1, 3, *size)


def test_a_tile_has_the_logits_of_the_whole_image() -> None:
    torch.manual_seed(0)
    network = UNet(3, base_channels=2, padding="valid").eval()
    image = torch.randn(1, 3, 210, 200)

    with torch.inference_mode():
        whole = network(image).logits
        tile = network.valid_logits(image[..., 4:192, 4:192])  # pixel 4 lies on the pooling grid of the padded image

    torch.testing.assert_close(tile, whole[..., 96:100, 96:100], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [571, 576, 172])
def test_valid_logits_refuses_a_size_whose_poolings_would_not_be_even(size: int) -> None:
    network = UNet(2, base_channels=1, padding="valid")

    with pytest.raises(ValueError, match=f"a side is {size} px"):
        network.valid_logits(torch.zeros(1, 3, size, size))


def test_valid_logits_needs_a_valid_network() -> None:
    with pytest.raises(ValueError, match="padding='valid'"):
        UNet(2, base_channels=1).valid_logits(torch.zeros(1, 3, 572, 572))
