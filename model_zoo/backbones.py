"""Give the feature maps of classification networks, the encoders.

The networks are torchvision's own modules, so that torchvision's weight files fit them; EfficientNet-Lite, group norm
in VGG, and the narrow VGG, for which there are no such files, are ours.
Letters: B batch, F features, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from model_zoo.efficientnet_lite import LITE0, LITE1, LITE2
from model_zoo.encoder_sources import (
    Source,
    efficientnet_lite,
    mobilenet_v2,
    mobilenet_v3_large,
    narrow_vgg,
    resnet,
    vgg16,
)

EncoderName = Literal[
    "vgg16", "vgg16_bn", "vgg16_gn", "narrow_vgg", "mobilenet_v2", "mobilenet_v3_large",
    "resnet18", "resnet34", "resnet50", "resnet101",
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2",
]  # fmt: skip
OutputStride = Literal[8, 16, 32]
DEPTH = 5


class Encoder(nn.Module):
    """Map images to feature maps at the strides 2, 4, 8, 16 and 32, or none above 16 or 8 where it was dilated.

    ``channels[i]`` and ``strides[i]`` belong to the i-th map. The size of a map is that of the image divided by its
    stride, rounded up or, in VGG, down.
    """

    def __init__(self, features: nn.Sequential, *, taps: Mapping[str, int], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.features = features
        self.taps = tuple(taps)
        self.channels = tuple(taps.values())
        self.strides = strides
        self.frozen_layers = 0

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``[B, 3, H, W]`` to feature maps ``[B, F, H/stride, W/stride]``, the finest first."""
        maps = []
        x = images
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self.taps:
                maps.append(x)
        return maps

    def freeze(self, stages: int | None = None) -> None:
        """Stop the learning of the first ``stages`` maps, of all unless said.

        Their layers get no gradients, and their batch norms keep their statistics after every later ``train()``.
        What was frozen before stays so.
        """
        names = [name for name, _ in self.features.named_children()]
        if stages is None:
            self.frozen_layers = len(names)
        elif stages:
            self.frozen_layers = max(self.frozen_layers, 1 + names.index(self.taps[stages - 1]))
        self._frozen().requires_grad_(requires_grad=False).eval()

    def train(self, mode: bool = True) -> Encoder:
        """Switch between training and evaluation; what is frozen stays in evaluation."""
        super().train(mode and self.frozen_layers < len(self.features))
        self._frozen().eval()
        return self

    def _frozen(self) -> nn.Sequential:
        return self.features[: self.frozen_layers]


def build_encoder(
    name: EncoderName,
    *,
    output_stride: OutputStride = 32,
    dilates_strided: bool = False,
    late_maps: bool = False,
    depth: int = DEPTH,
) -> Encoder:
    """Build an encoder with random weights that gives the first ``depth`` maps, and no layer after them.

    With ``output_stride=16`` the last stage keeps the resolution of the one before and its convolutions are dilated
    instead (Chen et al. 2017, https://arxiv.org/abs/1706.05587): the same weights, twice as dense. With 8, the last
    two do. With ``dilates_strided`` so is the convolution itself that has lost its stride. With ``late_maps`` each map
    is what the last layer at its stride gives: in VGG what the next pooling takes, not what the one before gives.

    Raises:
        ValueError: VGG, whose strides are poolings, cannot be dilated.
    """
    source = _SOURCES[name]
    features = source.build()
    if output_stride < 32:
        if source.coarse_stages is None:
            raise ValueError(f"{name} has no output stride of {output_stride}, only of 32")
        stages = source.coarse_stages[-1:] if output_stride == 16 else source.coarse_stages
        _dilate(features, stages, dilates_strided=dilates_strided or source.dilates_strided)
    late = source.late_maps if late_maps else {}
    taps = dict([late.get(layer, (layer, channels)) for layer, channels in source.taps.items()][:depth])
    end = [layer for layer, _ in features.named_children()].index(list(taps)[-1]) + 1
    return Encoder(features[:end], taps=taps, strides=tuple(min(2**i, output_stride) for i in range(1, depth + 1)))


def _dilate(features: nn.Sequential, stages: tuple[str, ...], *, dilates_strided: bool) -> None:
    """Take the stride out of each of the last stages, named by its first layer, and dilate what comes after it."""
    names = [name for name, _ in features.named_children()]
    starts = [names.index(stage) for stage in stages]
    dilation = 1
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        before, dilation = dilation, 2 * dilation
        for layer in features[start:end].modules():
            if not isinstance(layer, nn.Conv2d):
                continue
            is_strided = layer.stride != (1, 1)
            layer.stride = (1, 1)
            if layer.kernel_size != (1, 1):
                rate = before if is_strided and not dilates_strided else dilation
                layer.dilation = (rate, rate)
                layer.padding = tuple(rate * side for side in layer.padding if isinstance(side, int))


_SOURCES: Mapping[EncoderName, Source] = {
    "vgg16": vgg16("none"),
    "vgg16_bn": vgg16("batch"),
    "vgg16_gn": vgg16("group"),
    "narrow_vgg": narrow_vgg(),
    "mobilenet_v2": mobilenet_v2(),
    "mobilenet_v3_large": mobilenet_v3_large(),
    "resnet18": resnet("resnet18", (64, 128, 256, 512)),
    "resnet34": resnet("resnet34", (64, 128, 256, 512)),
    "resnet50": resnet("resnet50", (256, 512, 1024, 2048)),
    "resnet101": resnet("resnet101", (256, 512, 1024, 2048)),
    "efficientnet_lite0": efficientnet_lite(LITE0),
    "efficientnet_lite1": efficientnet_lite(LITE1),
    "efficientnet_lite2": efficientnet_lite(LITE2),
}
