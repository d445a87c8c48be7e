import copy

import pytest
import torch
from torch import nn

from model_zoo.efficientnet_lite import SameConv2d
from training.depthwise import keep_depthwise_float32, undilate_depthwise


def make_network() -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))
    keep_depthwise_float32(network)
    return network


def test_only_depthwise_convolutions_leave_bfloat16() -> None:
    network = make_network()
    x = torch.randn(1, 4, 8, 8)

    dtypes = []
    with torch.autocast("cpu", torch.bfloat16):
        for layer in network:
            x = layer(x)
            dtypes.append(x.dtype)

    assert dtypes == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_names_and_numbers_stay_as_they_were() -> None:
    network = make_network()
    plain = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 2, 1))

    plain.load_state_dict(network.state_dict(), strict=True)

    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(network(x), plain(x))


def test_a_copy_uses_its_own_weights() -> None:
    network = make_network()
    copied = copy.deepcopy(network)
    x = torch.randn(1, 4, 8, 8)
    before = network(x)

    nn.init.zeros_(copied[1].get_parameter("weight"))

    assert torch.equal(network(x), before)
    assert not torch.equal(copied(x), before)


@pytest.mark.parametrize("size", [(12, 12), (13, 17), (3, 5)])
@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(6, 6, 3, padding=6, dilation=6, groups=6),
        nn.Conv2d(6, 6, (3, 5), padding=(2, 6), dilation=(2, 3), groups=6, bias=False),
        SameConv2d(6, 6, 5, dilation=2, groups=6),
    ],
)
def test_undilated_convolutions_give_the_same_maps_and_gradients(convolution: nn.Conv2d, size: tuple[int, int]) -> None:
    other = nn.Sequential(copy.deepcopy(convolution))
    undilate_depthwise(other)
    images = torch.randn(2, 6, *size, requires_grad=True)
    images_too = images.detach().clone().requires_grad_()
    gradient = torch.randn(2, 6, *size)

    expected, found = convolution(images), other(images_too)
    convolution.zero_grad()
    expected.backward(gradient)
    found.backward(gradient)

    assert "forward" in vars(other[0])  # or nothing was changed
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(images_too.grad, images.grad)
    for parameter, parameter_too in zip(convolution.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter_too.grad, parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 6, 3, padding=1, dilation=2, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, stride=2, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3),
        nn.Conv2d(6, 6, 2, padding=2, dilation=2, groups=6),
    ],
)
def test_other_convolutions_stay_as_they_are(convolution: nn.Conv2d) -> None:
    undilate_depthwise(convolution)

    assert "forward" not in vars(convolution)
