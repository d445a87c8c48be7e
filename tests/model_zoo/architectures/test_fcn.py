from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.architectures import build
from model_zoo.architectures.fcn import (
    CAFFE_CROPS,
    CAFFE_SKIP_CROPS,
    FCN,
    VGG,
    FCN8s,
    FCN16s,
    FCN32s,
    FCNEncoder,
    Fusion,
    Upsampling,
)
from model_zoo.backbones import EncoderName
from model_zoo.norms import Norm
from model_zoo.spec import ModelSpec
from tests.model_zoo.blank import blank

NETWORKS = pytest.mark.parametrize("network_class", [FCN32s, FCN16s, FCN8s])


def fusions_of(network: FCN) -> list[Fusion]:
    return [fusion for fusion in network.fusions if isinstance(fusion, Fusion)]


def on_meta(network_class: type[FCN]) -> FCN:
    with torch.device("meta"):
        return network_class(3)


@NETWORKS
@settings(max_examples=20, deadline=None)
@given(height=st.integers(32, 700), width=st.integers(32, 700))
@example(height=37, width=691)
@example(height=32, width=700)
def test_row_1_an_image_of_any_size_gets_logits_of_that_size(network_class: type[FCN], height: int, width: int) -> None:
    logits = on_meta(network_class)(torch.empty(1, 3, height, width, device="meta")).logits

    assert logits.shape == (1, 3, height, width)


@NETWORKS
def test_row_2_scores_are_as_coarse_as_the_name_says(network_class: type[FCN]) -> None:
    network = on_meta(network_class)

    scores = network.coarse_scores(torch.empty(1, 3, 96, 160, device="meta"))

    assert network_class.__name__ == f"FCN{network.stride}s"
    assert scores.shape == (1, 3, 96 // network.stride, 160 // network.stride)


@pytest.mark.parametrize("encoder", get_args(FCNEncoder))
@pytest.mark.parametrize("decoder", ["score", "wide"])
def test_any_encoder_gives_scores_at_three_strides(encoder: FCNEncoder, decoder: Literal["score", "wide"]) -> None:
    with torch.device("meta"):
        network = FCN8s(5, encoder=encoder, decoder=decoder, head_width=128, head_kernel=1)
    images = torch.zeros(2, 3, 33, 61)

    with torch.inference_mode():
        logits, scores = blank(network)(images).logits, network.coarse_scores(images)

    assert logits.shape == (2, 5, 33, 61)
    assert scores.shape[-2:] == (64 // 8, 64 // 8)


@pytest.mark.parametrize(
    ("encoder", "widths"),
    [("efficientnet_lite0", [112, 40, 5]), ("resnet18", [256, 128, 5]), ("narrow_vgg", [64, 48, 5])],
)
def test_a_wide_decoder_carries_what_the_encoder_has_to_add(encoder: FCNEncoder, widths: list[int]) -> None:
    with torch.device("meta"):
        network = FCN8s(5, encoder=encoder, decoder="wide", head_width=128, head_kernel=1)

    assert [layer.out_channels for layer in network.modules() if isinstance(layer, Upsampling)] == widths


@pytest.mark.parametrize(
    ("encoder", "norm", "padding", "message"),
    [
        ("resnet18", "batch", "same", "norm='batch' is made for encoder='vgg16', resnet18 has its own"),
        ("narrow_vgg", "group", "same", "norm='group' is made for encoder='vgg16', narrow_vgg has its own"),
        ("resnet18", "none", "caffe", "padding='caffe' is made for VGG-16, not for resnet18"),
    ],
)
def test_what_is_made_for_vgg_is_refused_for_others(
    encoder: FCNEncoder, norm: Norm, padding: Literal["caffe", "same"], message: str
) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        FCN8s(3, encoder=encoder, norm=norm, padding=padding)


def test_every_encoder_has_one_name_here_and_vgg_16_takes_its_norm_besides() -> None:
    assert {*get_args(FCNEncoder), *VGG.values()} == set(get_args(EncoderName))
    assert set(get_args(FCNEncoder)) & set(VGG.values()) == {"vgg16"}
    with pytest.raises(ValueError, match="fcn8s has encoder='vgg16_bn': Input should be 'vgg16', 'narrow_vgg'"):
        build("fcn8s", 3, {"encoder": "vgg16_bn"})


def test_the_names_of_tensors_do_not_depend_on_the_encoder_but_inside_it() -> None:
    with torch.device("meta"):
        vgg, lite = FCN8s(3), FCN8s(3, encoder="efficientnet_lite0")

    ours, theirs = ({name for name in network.state_dict() if "encoder" not in name} for network in (vgg, lite))

    assert ours == theirs


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_row_5_and_trap_30_upsampling_starts_as_bilinear_interpolation_but_at_the_border(factor: int) -> None:
    up = Upsampling(3, 3, factor, padding="same", is_wide=False)
    scores = torch.randn(1, 3, 6, 5)

    ours = up(scores)
    reference = F.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)

    inside = (..., slice(factor, -factor), slice(factor, -factor))
    torch.testing.assert_close(ours[inside], reference[inside], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, reference, rtol=1e-5, atol=1e-5)


def test_trap_30_classes_are_upsampled_each_for_itself() -> None:
    weight = Upsampling(4, 4, 2, padding="same", is_wide=False).weight

    mixed = weight.sum(dim=(2, 3))

    torch.testing.assert_close(mixed, 4 * torch.eye(4))


def test_row_5_upsampling_is_fixed_when_told_so() -> None:
    with torch.device("meta"):
        network = FCN8s(3, learn_upsampling=False)

    fixed = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert fixed == ["fusions.0.up.weight", "fusions.1.up.weight", "upscore.8.weight"]


def test_a_wide_decoder_refuses_fixed_upsampling() -> None:
    with pytest.raises(ValueError, match="learn_upsampling must be true"), torch.device("meta"):
        FCN8s(3, decoder="wide", learn_upsampling=False)


def test_trap_27_the_caffe_crops_are_those_that_the_coordinates_give() -> None:
    # The centre of the first pixel of each map, in image pixels: pad 100 before a 3x3, then 2x2 poolings, then a 7x7
    pool3 = -99 + 0.5 * (1 + 2 + 4)
    pool4 = pool3 + 0.5 * 8
    scores = pool4 + 0.5 * 16 + 3 * 32
    fused4 = scores - 1.5 * 16  # a transposed 4x4 of stride 2 begins 1.5 of its pixels before its input
    fused3 = fused4 - 1.5 * 8

    assert (fused4 - pool4) / 16 == CAFFE_SKIP_CROPS[0]
    assert (fused3 - pool3) / 8 == CAFFE_SKIP_CROPS[1]
    assert {32: 31.5 - scores, 16: 15.5 - fused4, 8: 7.5 - fused3} == CAFFE_CROPS


@NETWORKS
@pytest.mark.parametrize("size", [(32, 32), (33, 97), (61, 64), (375, 500)])
def test_trap_27_caffe_padding_gives_the_same_shapes(network_class: type[FCN], size: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = network_class(21, padding="caffe")

    assert network(torch.empty(1, 3, *size, device="meta")).logits.shape == (1, 21, *size)


@pytest.mark.parametrize(("padding", "sides"), [("caffe", [287, 144, 72, 36, 18]), ("same", [187, 93, 46, 23, 11])])
def test_trap_26_caffe_rounds_sizes_up_and_torchvision_down(
    padding: Literal["caffe", "same"], sides: list[int]
) -> None:
    with torch.device("meta"):
        encoder = FCN8s(21, padding=padding).encoder
        maps = encoder(torch.empty(1, 3, 375, 375))

    assert [features.shape[-1] for features in maps] == sides


@pytest.mark.parametrize(("skip_scale", "scales"), [("at_once", [0.01, 0.0001]), ("none", [1.0, 1.0])])
def test_row_4_at_once_scales_the_skips_and_the_spec_says_so(skip_scale: str, scales: list[float]) -> None:
    spec = ModelSpec(architecture="fcn8s", arguments={"skip_scale": skip_scale}, classes=("a",), palette=((0, 0, 0),))

    read = ModelSpec.model_validate_json(spec.model_dump_json())
    with torch.device("meta"):
        network = build(read.architecture, read.num_classes, read.arguments)

    assert isinstance(network, FCN)
    assert [fusion.scale for fusion in fusions_of(network)] == scales


@pytest.mark.parametrize(("decoder", "widths"), [("score", [21, 21, 21]), ("wide", [512, 256, 21])])
def test_row_7_the_decoder_carries_class_scores_or_features(
    decoder: Literal["score", "wide"], widths: list[int]
) -> None:
    with torch.device("meta"):
        network = FCN8s(21, decoder=decoder)

    assert [layer.out_channels for layer in network.modules() if isinstance(layer, Upsampling)] == widths


@pytest.mark.parametrize("width", [4096, 1024, 512, 256, 128])
@pytest.mark.parametrize("kernel", [7, 1])
def test_row_11_kernel_and_width_of_the_head_are_words_of_the_spec(
    kernel: Literal[7, 1], width: Literal[4096, 1024, 512, 256, 128]
) -> None:
    with torch.device("meta"):
        network = FCN8s(21, head_kernel=kernel, head_width=width)

    assert network.fc6.weight.shape == (width, 512, kernel, kernel)
    assert network.fc7.weight.shape == (width, width, 1, 1)
    assert network.score.weight.shape == (21, width, 1, 1)


def test_row_3_fcn8s_starts_from_the_weights_of_fcn16s() -> None:
    with torch.device("meta"):
        fcn16s, fcn8s = FCN16s(3), FCN8s(3)

    ours, theirs = fcn8s.state_dict(), fcn16s.state_dict()

    assert theirs.keys() - ours.keys() == {"upscore.16.weight"}
    new = {"fusions.1.up.weight", "fusions.1.score.weight", "fusions.1.score.bias", "upscore.8.weight"}
    assert ours.keys() - theirs.keys() == new
    assert all(ours[name].shape == theirs[name].shape for name in ours.keys() & theirs.keys())


def test_row_1_and_trap_29_fc6_from_a_fully_connected_weight_equals_the_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 512)).eval()
    path = tmp_path / "vgg16.safetensors"
    save_file({f"classifier.{name}": value for name, value in classifier.state_dict().items()}, path)
    network = FCN32s(3, head_width=512).eval()
    image = torch.randn(1, 3, 224, 224)

    network.load_head_from_classifier(path)

    with torch.inference_mode():
        pool5 = network.encoder(image)[-1]  # [1, 512, 7, 7]
        expected = classifier(pool5.flatten(1))
        ours = network.fc7(network.fc6(pool5).relu())[..., 3, 3]  # the one place where the 7x7 window is the whole map
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "has no classifier.0, from which to make the head of FCN"),
        (
            {"classifier.0.weight": torch.zeros(2, 3), "classifier.0.bias": torch.zeros(2)},
            r"classifier.0 in .*\[2, 3\]",
        ),
    ],
)
def test_a_file_without_a_fitting_classifier_is_refused(
    tmp_path: Path, weights: dict[str, Tensor], message: str
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(weights, path)
    with torch.device("meta"):
        network = FCN32s(3)

    with pytest.raises(ValueError, match=message):
        network.load_head_from_classifier(path)
