"""Build the trunks of EfficientNet-Lite 0, 1 and 2, which torchvision lacks.

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946; the Lite variant drops squeeze-and-excitation and swish for ReLU6.

Strided convolutions pad as TensorFlow's "SAME" does, because the ImageNet weights were trained so.
Letters: B batch, F features, H and W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

STEM_CHANNELS = 32

BLOCKS: tuple[tuple[int, int, int, int, int], ...] = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Repeats, kernel, stride of the first repeat, expansion and channels of each group of blocks, in Lite0."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Say how much wider and deeper than Lite0 a network is; the stem and the ends of its depth stay."""

    width: float
    depth: float

    def channels(self, channels: int) -> int:
        """Widen, to the multiple of 8 that is nearest but not below 90 %."""
        widened = self.width * channels
        rounded = max(8, int(widened + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * widened else rounded + 8

    def repeats(self, group: int) -> int:
        """Count the blocks of a group."""
        repeats = BLOCKS[group][0]
        return repeats if group in (0, len(BLOCKS) - 1) else math.ceil(self.depth * repeats)

    def ends(self) -> tuple[int, ...]:
        """Count the layers up to the end of each group of blocks, the stem included."""
        ends = [0]
        for group in range(len(BLOCKS)):
            ends.append(ends[-1] + self.repeats(group))
        return tuple(ends[1:])


LITE0, LITE1, LITE2 = Scaling(1.0, 1.0), Scaling(1.0, 1.1), Scaling(1.1, 1.2)

PUBLISHED_NAMES: Mapping[str, str] = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}
"""The layers of a block: their names in the published weights, and here."""


def efficientnet_lite_features(scaling: Scaling) -> nn.Sequential:
    """Build the stem and the blocks, without the last 1x1 convolution and the classifier."""
    layers: list[nn.Module] = [conv_norm(3, STEM_CHANNELS, kernel=3, stride=2)]
    channels = STEM_CHANNELS
    for group, (_, kernel, stride, expansion, lite0_channels) in enumerate(BLOCKS):
        out_channels = scaling.channels(lite0_channels)
        for repeat in range(scaling.repeats(group)):
            block = InvertedResidual(
                channels, out_channels, kernel=kernel, stride=stride if repeat == 0 else 1, expansion=expansion
            )
            layers.append(block)
            channels = out_channels
    return nn.Sequential(*layers)


def rename_published(name: str) -> str | None:
    """Translate a weight's name in the published file into its name here; None for the classifier's own weights."""
    first, *rest = name.split(".")
    if first in ("_conv_head", "_bn1", "_fc"):
        return None
    if first in ("_conv_stem", "_bn0"):
        return ".".join(["0", "0" if first == "_conv_stem" else "1", *rest])
    if first == "_blocks" and len(rest) == 3 and rest[0].isdecimal() and rest[1] in PUBLISHED_NAMES:
        return f"{int(rest[0]) + 1}.{PUBLISHED_NAMES[rest[1]]}.{rest[2]}"
    return name


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter each channel, narrow again, and add the input where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expand = conv_norm(in_channels, width) if expansion > 1 else nn.Identity()
        self.depthwise = conv_norm(width, width, kernel=kernel, stride=stride, groups=width)
        self.project = conv_norm(width, out_channels)[:2]  # a linear bottleneck: no activation
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, F, H, W]`` to ``[B, F', ceil(H/stride), ceil(W/stride)]``."""
        x: Tensor = self.project(self.depthwise(self.expand(features)))
        return x + features if self.is_residual else x


class SameConv2d(nn.Conv2d):
    """Convolve with just as much zero padding as gives ``ceil(size / stride)``, the odd pixel right and below."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name that nn.Conv2d uses
        """Map ``[B, F, H, W]`` to ``[B, F', ceil(H/stride), ceil(W/stride)]``."""
        height, width = input.shape[-2:]
        top, bottom = self._pad(height, axis=0)
        left, right = self._pad(width, axis=1)
        weight = self.weight
        if self.groups > 1 and not self.training and (bottom - top, right - left) == (1, 1):
            # Zero weights in a row and a column spare the copy of a wide map into a larger one; training is slower so
            weight = F.pad(weight, (1, 0, 1, 0))
        elif (top, left) != (bottom, right):
            return F.conv2d(
                F.pad(input, (left, right, top, bottom)), weight, self.bias, self.stride, 0, self.dilation, self.groups
            )
        return F.conv2d(input, weight, self.bias, self.stride, (bottom, right), self.dilation, self.groups)

    def _pad(self, size: int, *, axis: int) -> tuple[int, int]:
        stride, reach = self.stride[axis], self.dilation[axis] * (self.kernel_size[axis] - 1)
        total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
        return total // 2, total - total // 2


def conv_norm(
    in_channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution, its batch norm with TensorFlow's constants, and ReLU6."""
    convolution = SameConv2d(in_channels, out_channels, kernel, stride=stride, groups=groups, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01), nn.ReLU6(inplace=True))
