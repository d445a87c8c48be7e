"""Build DeepLabV3+: atrous pyramid pooling over an encoder, and a light decoder at a quarter of the resolution.

Chen, Zhu, Papandreou, Schroff, Adam 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation", https://arxiv.org/abs/1802.02611.

Letters: B batch, C classes, F features, H and W height and width.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import StringConstraints
from torch import Tensor, nn

from model_zoo.architectures.layers import (
    ImagePool,
    PoolNorm,
    Rate,
    Width,
    coarse_prediction,
    conv_norm,
    he_initialised,
    upsampled,
)
from model_zoo.backbones import OutputStride, build_encoder
from model_zoo.spec import Prediction

DilatableEncoder = Literal[
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2", "mobilenet_v3_large",
    "resnet18", "resnet34", "resnet50", "resnet101",
]  # fmt: skip
Rates = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]?-){2}[1-9][0-9]?$")]

SKIP_CHANNELS = 48
ATROUS_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}


class DeepLabV3Plus(nn.Module):
    """Label pixels with context at several scales; edges come from the encoder's map of stride 4.

    ``atrous_rates``, such as ``6-12-18``, are the pyramid's; unless said, they follow from the output stride.
    ``pool_norm`` is that of ``ImagePool``, ``align_corners`` that of both upsamplings, ``dilates_strided`` that of
    ``build_encoder``.
    """

    def __init__(  # noqa: PLR0913  # each is a word of the checkpoint's spec
        self,
        num_classes: int,
        *,
        encoder: DilatableEncoder = "efficientnet_lite0",
        output_stride: OutputStride = 16,
        dilates_strided: bool = False,
        atrous_rates: Rates | None = None,
        decoder_channels: Width = 256,
        pool_norm: PoolNorm = "layer",
        align_corners: bool = False,
        drop_rate: Rate = 0.5,
    ) -> None:
        super().__init__()
        width = decoder_channels
        rates: tuple[int, ...] = ATROUS_RATES[output_stride]
        if atrous_rates is not None:
            rates = tuple(int(rate) for rate in atrous_rates.split("-"))
        self.align_corners = align_corners
        self.encoder = build_encoder(encoder, output_stride=output_stride, dilates_strided=dilates_strided)
        self.pyramid = AtrousPyramid(
            self.encoder.channels[-1], width, rates=rates, pool_norm=pool_norm, drop_rate=drop_rate
        )
        self.refine = separable_conv(width, width)
        self.skip = conv_norm(self.encoder.channels[1], SKIP_CHANNELS)
        self.fuse = separable_conv(width + SKIP_CHANNELS, width)
        self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, H, W]`` to scores ``[B, C, H/4, W/4]``."""
        _, fine, _, _, coarse = self.encoder(images)
        context = self.refine(self.pyramid(coarse))  # [B, F, H/16, W/16]
        context = upsampled(context, like=fine, align_corners=self.align_corners)
        features = self.fuse(torch.cat([context, self.skip(fine)], dim=1))  # [B, F, H/4, W/4]
        return coarse_prediction(self.score(features), like=images, align_corners=self.align_corners)


class AtrousPyramid(nn.Module):
    """See each place at several scales at once, the whole image included."""

    def __init__(
        self, in_channels: int, channels: int, *, rates: tuple[int, ...], pool_norm: PoolNorm, drop_rate: float
    ) -> None:
        super().__init__()
        atrous = [separable_conv(in_channels, channels, dilation=rate) for rate in rates]
        self.scales = nn.ModuleList([conv_norm(in_channels, channels), *atrous])
        self.whole = ImagePool(nn.Conv2d(in_channels, channels, 1, bias=False), pool_norm)
        self.project = conv_norm((len(rates) + 2) * channels, channels)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``[B, F, H, W]`` to ``[B, F', H, W]``."""
        whole = self.whole(features)
        seen: Tensor = self.project(torch.cat([*(scale(features) for scale in self.scales), whole], dim=1))
        dropped: Tensor = self.drop(seen)
        return dropped


def separable_conv(in_channels: int, out_channels: int, *, dilation: int = 1) -> nn.Sequential:
    """Build a 3x3 convolution of each channel for itself, then ``conv_norm`` to mix them."""
    depthwise = nn.Conv2d(
        in_channels, in_channels, 3, padding=dilation, dilation=dilation, groups=in_channels, bias=False
    )
    return nn.Sequential(he_initialised(depthwise), *conv_norm(in_channels, out_channels))
