from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from model_zoo.backbones import Encoder, EncoderName, OutputStride, build_encoder
from model_zoo.efficientnet_lite import SameConv2d
from tests.model_zoo.blank import blank

PHOTOS = Path("voc/VOCdevkit/VOC2012/JPEGImages")
OUR_NAMES = ("vgg16_gn", "narrow_vgg", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TORCHVISION_NAMES = [name for name in get_args(EncoderName) if name not in OUR_NAMES]
DILATABLE_NAMES = [name for name in get_args(EncoderName) if "vgg" not in name]


@pytest.mark.parametrize("name", get_args(EncoderName))
def test_maps_have_the_channels_and_strides_that_the_encoder_tells(name: EncoderName) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name)

    with torch.inference_mode():
        maps = blank(encoder)(torch.zeros(1, 3, 64, 96))

    assert [m.shape[1] for m in maps] == list(encoder.channels)
    assert [(64 // m.shape[2], 96 // m.shape[3]) for m in maps] == [(s, s) for s in encoder.strides]
    assert encoder.strides == (2, 4, 8, 16, 32)


@pytest.mark.parametrize("name", DILATABLE_NAMES)
@pytest.mark.parametrize(("output_stride", "strides"), [(16, (2, 4, 8, 16, 16)), (8, (2, 4, 8, 8, 8))])
def test_trap_35_another_output_stride_needs_no_new_weights(
    name: EncoderName, output_stride: OutputStride, strides: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        coarse, dense = build_encoder(name), build_encoder(name, output_stride=output_stride)

    with torch.inference_mode():
        maps = blank(dense)(torch.zeros(1, 3, 64, 64))

    assert {n: w.shape for n, w in dense.state_dict().items()} == {n: w.shape for n, w in coarse.state_dict().items()}
    assert tuple(64 // m.shape[-1] for m in maps) == dense.strides == strides


@pytest.mark.parametrize(
    ("name", "output_stride", "first"),
    [
        ("mobilenet_v2", 16, 0),
        ("mobilenet_v2", 8, 0),
        ("resnet18", 16, 0),
        ("resnet18", 8, 0),
        ("resnet50", 16, 0),
        ("resnet50", 8, 0),
        ("efficientnet_lite0", 16, 1),  # its windows lie right and below, so that a coarse one is the last of its cell
        ("efficientnet_lite0", 8, 3),
    ],
)
def test_trap_35_a_dilated_stage_computes_the_same_features_more_densely(
    name: EncoderName, output_stride: OutputStride, first: int
) -> None:
    torch.manual_seed(0)
    coarse = build_encoder(name).eval()
    dense = build_encoder(name, output_stride=output_stride).eval()
    dense.load_state_dict(coarse.state_dict())
    images = torch.randn(1, 3, 96, 96)
    step = 32 // output_stride

    with torch.inference_mode():
        expected, found = coarse(images)[-1], dense(images)[-1]

    torch.testing.assert_close(found[..., first::step, first::step], expected, rtol=1e-3, atol=1e-3)


def test_trap_35_a_resnet_strides_in_its_3x3_convolutions_and_has_one_dilation_a_stage() -> None:
    with torch.device("meta"):
        coarse, dense = build_encoder("resnet50").features, build_encoder("resnet50", output_stride=8).features

    strided = [name for name, layer in coarse.named_modules() if getattr(layer, "stride", 1) == (2, 2)]
    rates = [layer.dilation[0] for name, layer in dense.named_modules() if name.endswith("conv2")]
    assert [name for name in strided if "conv" in name] == [
        "conv1",
        "layer2.0.conv2",
        "layer3.0.conv2",
        "layer4.0.conv2",
    ]
    assert rates == [1] * 3 + [1] * 4 + [1, 2, 2, 2, 2, 2] + [2, 4, 4]


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet34", "efficientnet_lite0"])
def test_a_convolution_that_lost_its_stride_can_be_dilated_too(name: EncoderName) -> None:
    with torch.device("meta"):
        dense = build_encoder(name, output_stride=8)
        wide = build_encoder(name, output_stride=8, dilates_strided=True)

    assert [rates_by_stage(dense), rates_by_stage(wide)] == [[{1}, {1, 2}, {2, 4}], [{1}, {2}, {4}]]


@pytest.mark.parametrize("name", get_args(EncoderName))
def test_late_maps_come_from_the_last_layer_at_their_stride(name: EncoderName) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name, late_maps=True)

    x, last = torch.zeros(1, 3, 64, 64), {}
    with torch.inference_mode():
        for name_of_layer, layer in blank(encoder.features).named_children():
            x = layer(x)
            last[64 // x.shape[-1]] = (name_of_layer, x.shape[1])

    assert dict(zip(encoder.taps, encoder.channels, strict=True)) == dict(last[stride] for stride in (2, 4, 8, 16, 32))


@pytest.mark.no_cover
@pytest.mark.parametrize("name", get_args(EncoderName))
@pytest.mark.parametrize("late_maps", [False, True])
def test_a_shallow_encoder_gives_the_first_maps_of_a_deep_one_and_ends_there(
    name: EncoderName, late_maps: bool
) -> None:
    with torch.device("meta"):
        deep, shallow = build_encoder(name, late_maps=late_maps), build_encoder(name, late_maps=late_maps, depth=3)

    with torch.inference_mode():
        maps = [blank(encoder)(torch.zeros(1, 3, 64, 96)) for encoder in (deep, shallow)]

    assert [m.shape for m in maps[1]] == [m.shape for m in maps[0]][:3]
    assert shallow.strides == (2, 4, 8)
    assert list(dict(shallow.features.named_children()))[-1] == shallow.taps[-1]


@pytest.mark.parametrize("name", ["vgg16", "narrow_vgg"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_vgg_refuses_another_output_stride(name: EncoderName, output_stride: OutputStride) -> None:
    refusal = f"{name} has no output stride of {output_stride}, only of 32"
    with pytest.raises(ValueError, match=refusal), torch.device("meta"):
        build_encoder(name, output_stride=output_stride)


def test_vgg_with_group_norm_has_one_in_place_of_each_batch_norm() -> None:
    with torch.device("meta"):
        batch, group = build_encoder("vgg16_bn").features, build_encoder("vgg16_gn").features

    places = [i for i, layer in enumerate(batch) if isinstance(layer, nn.BatchNorm2d)]
    assert [i for i, layer in enumerate(group) if isinstance(layer, nn.GroupNorm)] == places
    assert [type(layer) for i, layer in enumerate(group) if i not in places] == [
        type(layer) for i, layer in enumerate(batch) if i not in places
    ]


def test_trap_31_a_frozen_encoder_keeps_its_statistics_through_training() -> None:
    encoder = build_encoder("mobilenet_v2")
    encoder.freeze()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    encoder.train()
    encoder(torch.randn(2, 3, 64, 64))

    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_trap_31_frozen_stages_keep_their_statistics_and_the_others_learn() -> None:
    encoder = build_encoder("resnet18")
    encoder.freeze(stages=2)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    encoder.train()
    encoder(torch.randn(2, 3, 64, 64))

    frozen = ("conv1.", "bn1.", "layer1.")
    learning = {name for name, parameter in encoder.features.named_parameters() if parameter.requires_grad}
    changed = {
        name for name, value in encoder.features.state_dict().items() if not value.equal(before[f"features.{name}"])
    }
    assert learning == {name for name, _ in encoder.features.named_parameters() if not name.startswith(frozen)}
    assert changed == {name for name, _ in encoder.features.named_buffers() if not name.startswith(frozen)}


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("size", "kernel"), [(8, 3), (9, 3), (8, 5), (9, 5), (32, 5)])
def test_same_convolution_pads_the_odd_pixel_right_and_below(
    size: int, kernel: int, groups: int, is_training: bool
) -> None:
    convolution = SameConv2d(2, 2, kernel, stride=2, groups=groups).train(is_training)
    images = torch.randn(1, 2, size, size)
    before = (kernel - 2 + size % 2) // 2
    padded = F.pad(images, (before, kernel, before, kernel))

    ours = convolution(images)
    reference = F.conv2d(padded, convolution.weight, convolution.bias, stride=2, groups=groups)

    assert ours.shape[-1] == (size + 1) // 2
    torch.testing.assert_close(ours, reference[..., : ours.shape[-2], : ours.shape[-1]])


def rates_by_stage(encoder: Encoder) -> list[set[int]]:
    """Give the dilations of the wide kernels at strides up to 8, then at what were strides 16 and 32."""
    layers = list(encoder.features.named_children())
    last_fine, last_middle = (next(i for i, (n, _) in enumerate(layers) if n == tap) for tap in encoder.taps[2:4])
    stages = [layers[: last_fine + 1], layers[last_fine + 1 : last_middle + 1], layers[last_middle + 1 :]]
    return [
        {
            layer.dilation[0]
            for _, stage_layer in stage
            for layer in stage_layer.modules()
            if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
        }
        for stage in stages
    ]
