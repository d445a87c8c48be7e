"""Say of each kind of encoder how its layers are made, after which of them maps are taken, and how it dilates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Literal, cast

from torch import nn

from model_zoo.efficientnet_lite import BLOCKS, STEM_CHANNELS, Scaling, efficientnet_lite_features
from model_zoo.norms import Norm, group_norm
from model_zoo.torchvision_models import Name, build_classifier

VggPlan = Sequence[int | Literal["M"]]
"""The widths of a VGG's convolutions, with an ``M`` wherever the resolution is halved."""

VGG16: VggPlan = (
    64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M",
)  # fmt: skip
NARROW_VGG: VggPlan = (16, 16, "M", 32, 32, "M", 48, 48, "M", 64, 64, "M", 96, 96, "M")


@dataclass(frozen=True, slots=True)
class Source:
    """Say how the layers of an encoder are made, after which of them its five maps are taken, and how it dilates.

    ``taps`` are these layers and their channels; ``late_maps`` the layers, and their channels, to take in place of
    those that are not the last at their stride. ``coarse_stages`` are the first layers at strides 16 and 32.
    """

    build: Callable[[], nn.Sequential]
    taps: Mapping[str, int]
    late_maps: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    coarse_stages: tuple[str, str] | None = None
    dilates_strided: bool = False


def vgg16(norm: Norm) -> Source:
    """Give VGG-16 as torchvision has it, or with group norm in place of batch norm."""
    return _vgg(VGG16, norm=norm, fan="fan_out")


def narrow_vgg() -> Source:
    """Give two 3x3 convolutions with batch norm a level, 16 to 96 wide: for small images and a CPU."""
    return _vgg(NARROW_VGG, norm="batch", fan="fan_in")


def mobilenet_v2() -> Source:
    """Give MobileNetV2; its maps are the narrow ends of blocks, each of which the next expands sixfold."""
    taps = {"1": 16, "3": 24, "6": 32, "13": 96, "18": 1280}
    return Source(partial(_mobilenet, "mobilenet_v2"), taps, coarse_stages=("7", "14"))


def mobilenet_v3_large() -> Source:
    """Give MobileNetV3-Large; what lost its stride is dilated, as torchvision's LR-ASPP weights were trained."""
    return Source(
        partial(_mobilenet, "mobilenet_v3_large"),
        {"1": 16, "3": 24, "4": 40, "12": 112, "16": 960},  # 4, not 6: where LR-ASPP takes its fine features
        late_maps={"4": ("6", 40)},
        coarse_stages=("7", "13"),
        dilates_strided=True,
    )


def resnet(name: Name, channels: tuple[int, int, int, int]) -> Source:
    """Give one of torchvision's ResNets, with the channels of its four stages."""
    stages = ("layer1", "layer2", "layer3", "layer4")
    taps = {"relu": 64, **dict(zip(stages, channels, strict=True))}
    return Source(partial(_resnet, name), taps, coarse_stages=("layer3", "layer4"))


def efficientnet_lite(scaling: Scaling) -> Source:
    """Take the maps after the stem and after the groups of blocks at whose end the stride is 4, 8, 16 and 32."""
    _, stride4, stride8, _, stride16, _, stride32 = scaling.ends()
    channels = [scaling.channels(group[-1]) for group in BLOCKS]
    taps = {
        "0": STEM_CHANNELS,
        **{str(e): channels[g] for g, e in ((1, stride4), (2, stride8), (4, stride16), (6, stride32))},
    }
    return Source(
        partial(efficientnet_lite_features, scaling),
        taps,
        late_maps={"0": ("1", channels[0])},
        coarse_stages=(str(stride8 + 1), str(stride16 + 1)),
    )


def _vgg(plan: VggPlan, *, norm: Norm, fan: Literal["fan_in", "fan_out"]) -> Source:
    """Take the maps after the poolings, or before the next ones: those hold what the next pooling leaves out."""
    poolings: list[tuple[int, int]] = []
    place, width = -1, 0
    for word in plan:
        if word == "M":
            place += 1
            poolings.append((place, width))
        else:
            place += 2 if norm == "none" else 3
            width = word
    late_maps = {str(pooling): (str(following - 1), wide) for (pooling, _), (following, wide) in pairwise(poolings)}
    taps = {str(pooling): width for pooling, width in poolings}
    return Source(partial(_vgg_features, plan, norm=norm, fan=fan), taps, late_maps=late_maps)


def _vgg_features(plan: VggPlan, *, norm: Norm, fan: Literal["fan_in", "fan_out"]) -> nn.Sequential:
    """Build the convolutions of a VGG alone, named as torchvision's.

    The weights start so that the variance is kept on the way forward (``fan_in``) or back (``fan_out``).
    """
    layers: list[nn.Module] = []
    channels = 3
    for word in plan:
        if word == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers.append(nn.Conv2d(channels, word, kernel_size=3, padding=1))
        if norm != "none":
            layers.append(nn.BatchNorm2d(word) if norm == "batch" else group_norm(word))
        layers.append(nn.ReLU(inplace=True))
        channels = word
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=fan, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # every one of them has a bias
    return nn.Sequential(*layers)


def _mobilenet(name: Name) -> nn.Sequential:
    """Build the feature layers of a MobileNet."""
    return cast("nn.Sequential", build_classifier(name).features)


def _resnet(name: Name) -> nn.Sequential:
    """Build the layers of a ResNet up to its pooling."""
    layers = build_classifier(name).named_children()
    return nn.Sequential(OrderedDict((name, layer) for name, layer in layers if name not in ("avgpool", "fc")))
