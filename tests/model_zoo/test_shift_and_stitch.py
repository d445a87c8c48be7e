from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo.architectures.fcn import FCN32s
from model_zoo.architectures.layers import mirror_pad
from model_zoo.backbones import Encoder
from model_zoo.shift_and_stitch import shift_and_stitch

NARROW_VGG16: list[int | Literal["M"]] = [2, 2, "M", 4, 4, "M", 8, 8, 8, "M", 16, 16, 16, "M", 16, 16, 16, "M"]
"""The layers of VGG-16, 32 times narrower, so that a thousand passes take seconds."""


def narrow_fcn32s() -> FCN32s:
    """Build FCN-32s with a narrow VGG-16 and a 1x1 head: a score sees 212 pixels, not the 404 of a 7x7 head."""
    torch.manual_seed(0)
    network = FCN32s(3, head_kernel=1, head_width=512, score_init="he")
    taps = {"4": 2, "9": 4, "16": 8, "23": 16, "30": 16}
    network.encoder = Encoder(vgg.make_layers(NARROW_VGG16), taps=taps, strides=(2, 4, 8, 16, 32))
    network.fc6 = nn.Conv2d(16, 512, 1)
    return network.eval()


def two_poolings() -> nn.Sequential:
    """Build a network of stride 4 whose scores see 18 pixels."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(),
              nn.MaxPool2d(2), nn.Conv2d(8, 5, 3, padding=1)]  # fmt: skip
    return nn.Sequential(*layers).eval()


def rarefied(layers: nn.Sequential) -> nn.Sequential:
    """Give the same layers with the strides of the poolings removed, and all after them dilated: "a trous"."""
    dense: list[nn.Module] = []
    dilation = 1
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            dense.append(nn.MaxPool2d(2, stride=1, dilation=dilation))
            dilation *= 2
        elif isinstance(layer, nn.Conv2d):
            kernel, padding = layer.kernel_size[0], layer.kernel_size[0] // 2
            convolution = nn.Conv2d(
                layer.in_channels, layer.out_channels, kernel, padding=dilation * padding, dilation=dilation
            )
            convolution.load_state_dict(layer.state_dict())
            dense.append(convolution)
        else:
            dense.append(layer)
    return nn.Sequential(*dense)


def image_of(height: int, width: int, *, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_row_14_shift_and_stitch_of_fcn32s_equals_the_rarefied_network() -> None:
    network, image = narrow_fcn32s(), image_of(224, 224)
    layers = nn.Sequential(*network.encoder.features, network.fc6, nn.ReLU(), network.fc7, nn.ReLU(), network.score)
    dense = rarefied(layers)(mirror_pad(image, height=(16, 15), width=(16, 15)))

    stitched = shift_and_stitch(network.coarse_scores, image, stride=32, shifts_at_once=8)

    inside = (..., slice(96, 128), slice(96, 128))  # whose 212 pixels lie within all shifted images
    assert stitched.shape == dense.shape == (1, 3, 224, 224)
    assert dense[inside].std() > 0.01
    torch.testing.assert_close(stitched[inside], dense[inside], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_row_14_padding_inside_the_network_matters_at_the_border_alone() -> None:
    network, image = two_poolings(), image_of(48, 40)
    dense = rarefied(network)(mirror_pad(image, height=(2, 1), width=(2, 1)))

    stitched = shift_and_stitch(network, image, stride=4)

    inside = (..., slice(12, -12), slice(12, -12))
    torch.testing.assert_close(stitched[inside], dense[inside], atol=1e-5, rtol=0)
    assert (stitched - dense).abs().max() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(8, 8), (13, 18), (5, 33), (1, 2)])
@pytest.mark.parametrize("shifts_at_once", [1, 3, 100])
def test_every_pixel_is_once_the_middle_of_a_cell(height: int, width: int, shifts_at_once: int) -> None:
    images = image_of(height, width, batch=2)
    before = mirror_pad(images, height=(2, 1), width=(2, 1))

    stitched = shift_and_stitch(nn.AvgPool2d(4), images, stride=4, shifts_at_once=shifts_at_once)

    torch.testing.assert_close(stitched, F.avg_pool2d(before, 4, stride=1))


def test_a_network_of_another_stride_is_refused() -> None:
    with pytest.raises(ValueError, match=r"run gave \[5, 4\] scores for 20x16 px, which is no stride of 2"):
        shift_and_stitch(nn.AvgPool2d(4), image_of(20, 16), stride=2)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (13, 18), (9, 33)])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_wider_step_gives_the_scores_around_the_middle_of_each_of_its_squares(
    height: int, width: int, step: int
) -> None:
    images = image_of(height, width, batch=2)
    before = mirror_pad(images, height=(2 - step // 2, 5), width=(2 - step // 2, 5))
    expected = F.avg_pool2d(before, 4, stride=1)[..., ::step, ::step]

    stitched = shift_and_stitch(nn.AvgPool2d(4), images, stride=4, step=step, shifts_at_once=3)

    assert stitched.shape[-2:] == (-(-height // step), -(-width // step))
    torch.testing.assert_close(stitched, expected[..., : stitched.shape[-2], : stitched.shape[-1]])


def test_scores_of_a_ramp_lie_where_the_ramp_is() -> None:
    ramp = torch.arange(64.0).expand(1, 1, 64, 64)

    stitched = shift_and_stitch(nn.AvgPool2d(8), ramp, stride=8, step=4)

    torch.testing.assert_close(stitched[0, 0, 0, 2:-2], torch.arange(9.5, 56, 4))


@pytest.mark.parametrize("step", [0, 3, 8])
def test_a_step_that_does_not_divide_the_stride_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match=f"a step of {step} px does not divide the stride of 4 px"):
        shift_and_stitch(nn.AvgPool2d(4), image_of(8, 8), stride=4, step=step)
